/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The options about bases behind a network: from texts to struct bases, with libnbd and without. */
#include "tools/bases/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bases/bases.h"
#include "tools/words/text.h"

#define BASES_SECONDS_MAX (7u * 86400)

static int bases_add(const char ***list, size_t *n, const char *text, struct bpull_error *error)
{
	const char **more = reallocarray(*list, *n + 1, sizeof(*more));

	if (!more)
		return text_error(error, -ENOMEM, "out of memory");
	*list = more;
	more[(*n)++] = text;
	return 0;
}

static int bases_seconds(uint32_t *seconds, const char *text, struct bpull_error *error)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || number < 1 || number > BASES_SECONDS_MAX)
		return text_error(error, -EINVAL, "'%s' is no number of seconds from 1 to %u", text,
				  BASES_SECONDS_MAX);
	*seconds = number;
	return 0;
}

static int bases_text(const char **to, const char *text, struct bpull_error *error)
{
	if (!*text)
		return text_error(error, -EINVAL, "a name is missing");
	*to = text;
	return 0;
}

int bases_take_known(struct bases *bases, const char *option, const char *text,
		     struct bpull_error *error)
{
	if (!strcmp(option, "allow-remote"))
		return bases_add(&bases->allow, &bases->n_allow, text, error);
	if (!strcmp(option, "map-backing"))
		return bases_add(&bases->map, &bases->n_map, text, error);
	if (!strcmp(option, "open-timeout"))
		return bases_seconds(&bases->open_timeout_s, text, error);
	if (!strcmp(option, "remote-timeout"))
		return bases_seconds(&bases->remote_timeout_s, text, error);
	if (!strcmp(option, "guest-timeout"))
		return bases_seconds(&bases->guest_timeout_s, text, error);
	if (!strcmp(option, "tls-certificates"))
		return bases_text(&bases->tls_certificates, text, error);
	if (!strcmp(option, "tls-psk-file"))
		return bases_text(&bases->tls_psk_file, text, error);
	if (!strcmp(option, "tls-user"))
		return bases_text(&bases->tls_user, text, error);
	if (!strcmp(option, "expect"))
		return expect_take(&bases->expects, text, error);
	return text_error(error, -ENOENT, "there is no such option");
}

bool bases_are_wanted(const struct bases *bases)
{
	return bases->n_allow || bases->n_map;
}

const char *bases_pointless(const struct bases *bases)
{
	if (bases_are_wanted(bases))
		return NULL;
	if (bases->open_timeout_s)
		return "open-timeout";
	if (bases->remote_timeout_s)
		return "remote-timeout";
	if (bases->guest_timeout_s)
		return "guest-timeout";
	if (bases->tls_certificates)
		return "tls-certificates";
	if (bases->tls_psk_file)
		return "tls-psk-file";
	if (bases->tls_user)
		return "tls-user";
	return bases->expects.n ? "expect" : NULL;
}

int bases_judge(const struct bases *bases, struct bpull_error *error)
{
	return expect_judge(&bases->expects, error);
}

const char *bases_state_word(enum bpull_nbd_state state)
{
	switch (state) {
	case BPULL_NBD_OPENING: return "opening";
	case BPULL_NBD_CONNECTED: return "connected";
	case BPULL_NBD_RECONNECTING: return "reconnecting";
	case BPULL_NBD_AWAY: return "away";
	case BPULL_NBD_GONE: return "gone";
	case BPULL_NBD_CLOSED: return "closed";
	}
	return "unknown";
}
