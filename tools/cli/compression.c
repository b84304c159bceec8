/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * --compress[=TYPE[:LEVEL]]. A level needs its type beside it: what an image's
 * own type would make of a number is known only when it is open.
 */
#include "tools/cli/compression.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"
#include "tools/cli/say.h"

const struct options_word compression_words[] = {
	{ "zlib", BPULL_COMPRESSION_ZLIB },
	{ "zstd", BPULL_COMPRESSION_ZSTD },
	{ NULL, 0 },
};

static int compression_level(const char *command, const char *type, const char *text,
			     uint32_t *level)
{
	unsigned long max = strcmp(type, "zstd") ? 9 : 19, value;
	char *end;

	value = strtoul(text, &end, 10);
	if (*text < '1' || *text > '9' || *end || value > max)
		return say_usage(command,
				 "--compress: level '%s' of %s is not a number from 1 to %lu", text,
				 type, max);
	*level = value;
	return 0;
}

int compression_parse(const char *command, const char *text, uint32_t *compression, uint32_t *level)
{
	char type[32];
	size_t len;
	int value = 0, code;

	*level = 0;
	*compression = BPULL_COMPRESSION_OWN;
	if (!text)
		return 0;
	len = strcspn(text, ":");
	snprintf(type, sizeof(type), "%.*s", (int)len, text);
	code = options_word(command, "--compress", type, compression_words, &value);
	if (code)
		return code;
	*compression = value;
	return text[len] ? compression_level(command, type, text + len + 1, level) : 0;
}
