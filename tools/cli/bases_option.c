/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/cli/bases_option.h"

#include <errno.h>
#include <stddef.h>

#include "tools/cli/options.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/words/exit_code.h"

#define BASES_JOB_S 300 /* how long a job waits if nothing is said */

static const char *const bases_option_names[] = {
	"allow-remote",     "map-backing",  "open-timeout", "remote-timeout", "guest-timeout",
	"tls-certificates", "tls-psk-file", "tls-user",     "expect",
};

_Static_assert(OPTIONS_EXPECT - OPTIONS_ALLOW_REMOTE + 1 ==
		       sizeof(bases_option_names) / sizeof(bases_option_names[0]),
	       "a name for each option");

int bases_option_take(struct bases *bases, const char *command, int option, const char *text)
{
	struct bpull_error error = { 0 };
	const char *name;

	if (option < OPTIONS_ALLOW_REMOTE || option > OPTIONS_EXPECT)
		return -1;
	name = bases_option_names[option - OPTIONS_ALLOW_REMOTE];
	if (!bases_take(bases, name, text, &error))
		return 0;
	return say_usage(command, "--%s: %s", name, error.message);
}

void bases_option_seal(void *opaque)
{
	struct bases *bases = opaque;
	const char *name;
	size_t at = 0;

	bases_seal(bases);
	while (!bases->opens_none && (name = bases_unused_map(bases, &at)))
		say_note("warning: --map-backing: no image names '%s'; see blockpull info --chain",
			 name);
}

int bases_option_open(struct bases *bases, const char *command, bool serves_guests)
{
	const char *pointless = bases_pointless(bases);
	struct bpull_error error = { 0 };
	int rc;

	if (pointless)
		return say_usage(command,
				 "--%s has no meaning without --allow-remote or --map-backing",
				 pointless);
	if (!serves_guests)
		bases->guest_timeout_s =
			bases->remote_timeout_s ? bases->remote_timeout_s : BASES_JOB_S;
	rc = bases_open(bases, &error);
	if (rc == -EINVAL)
		return say_usage(command, "%s", error.message);
	return rc ? say_failed(&error, rc) : 0;
}

int bases_option_sandbox(struct bases *bases)
{
	struct bpull_error error = { 0 };
	int rc;

	if (!sandbox_keep_network(bases_option_seal, bases, bases_are_wanted(bases)))
		return 0;
	rc = bases_start_broker(bases, &error);
	return rc ? say_failed(&error, rc) : 0;
}

int bases_option_failed(const struct bases *bases, const struct bpull_error *error, int rc)
{
	struct bpull_nbd_source source;
	int code;

	if (!bases_lost(bases, &source))
		return say_failed(error, rc);
	code = say_failed_bare(error, rc);
	say_hint("'%s' is lost%s%s", source.uri, *source.message ? ": " : "", source.message);
	return code;
}
