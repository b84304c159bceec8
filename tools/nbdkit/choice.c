/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See choice.h. */
#define NBDKIT_API_VERSION 2

#include "tools/nbdkit/choice.h"

#include <stdint.h>
#include <string.h>

#include <nbdkit-plugin.h>

#include "engine/blockpull.h"

/* One of several words. */
static int config_choose(const char *key, const char *value, const char *const *words,
			 uint32_t *out)
{
	for (uint32_t i = 0; words[i]; i++)
		if (!strcmp(value, words[i])) {
			*out = i;
			return 0;
		}
	nbdkit_error("%s: '%s' is none of its values; see nbdkit blockpull --help", key, value);
	return -1;
}

int config_take_on_error(const char *key, const char *value, void *to)
{
	static const char *const words[] = { "report", "stop", "enospc", NULL };

	return config_choose(key, value, words, to);
}

int config_take_holes(const char *key, const char *value, void *to)
{
	static const char *const words[] = { "auto", "read", "trust", NULL };
	static const uint32_t meaning[] = { 0, BPULL_DISK_READ_HOLES, BPULL_DISK_TRUST_HOLES };
	uint32_t *flags = to, word = 0;

	if (config_choose(key, value, words, &word))
		return -1;
	*flags |= meaning[word];
	return 0;
}

int config_take_io(const char *key, const char *value, void *to)
{
	static const char *const words[] = { "auto", "uring", "threads", NULL };
	enum bpull_io *out = to;
	uint32_t word = 0;

	if (config_choose(key, value, words, &word))
		return -1;
	*out = (enum bpull_io)word;
	return 0;
}
