/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * -o NAME=VALUE,... of the commands that make images, with qemu-img create's
 * names. What a value may be is the library's to say; this file only turns
 * words into fields, so that the two can't disagree.
 */
#include "tools/cli/new_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/say.h"
#include "tools/words/size.h"
#include "tools/words/suggest.h"

static const struct options_word new_image_compat[] = {
	{ "0.10", 2 }, { "1.1", 3 }, { "v2", 2 }, { "v3", 3 }, { NULL, 0 },
};

static const struct options_word new_image_switch[] = { { "on", 1 }, { "off", 0 }, { NULL, 0 } };

static const struct options_word new_image_compression[] = {
	{ "zlib", 0 },
	{ "zstd", 1 },
	{ NULL, 0 },
};

enum new_image_key {
	NEW_IMAGE_CLUSTER_SIZE,
	NEW_IMAGE_COMPAT,
	NEW_IMAGE_REFCOUNT_BITS,
	NEW_IMAGE_LAZY_REFCOUNTS,
	NEW_IMAGE_COMPRESSION_TYPE,
	NEW_IMAGE_TABLE_SIZE,
};

/* In the order of the enum. */
const struct options_word new_image_keys[] = {
	{ "cluster_size", NEW_IMAGE_CLUSTER_SIZE },
	{ "compat", NEW_IMAGE_COMPAT },
	{ "refcount_bits", NEW_IMAGE_REFCOUNT_BITS },
	{ "lazy_refcounts", NEW_IMAGE_LAZY_REFCOUNTS },
	{ "compression_type", NEW_IMAGE_COMPRESSION_TYPE },
	{ "table_size", NEW_IMAGE_TABLE_SIZE },
	{ NULL, 0 },
};

/* The format a key has a meaning for; UNKNOWN: all. */
static const enum bpull_format new_image_formats[] = {
	[NEW_IMAGE_CLUSTER_SIZE] = BPULL_FORMAT_UNKNOWN,
	[NEW_IMAGE_COMPAT] = BPULL_FORMAT_QCOW2,
	[NEW_IMAGE_REFCOUNT_BITS] = BPULL_FORMAT_QCOW2,
	[NEW_IMAGE_LAZY_REFCOUNTS] = BPULL_FORMAT_QCOW2,
	[NEW_IMAGE_COMPRESSION_TYPE] = BPULL_FORMAT_QCOW2,
	[NEW_IMAGE_TABLE_SIZE] = BPULL_FORMAT_QED,
};

#define N_KEYS (sizeof(new_image_formats) / sizeof(new_image_formats[0]))

/* A number that the library takes as a uint32_t with 0 for "default": 0 itself is refused. */
static int new_image_number(const char *command, const char *name, const char *text,
			    uint32_t *number)
{
	uint64_t value;
	int code = options_size(command, name, text, SIZE_BYTES, &value);
	if (code)
		return code;
	if (!value || value > UINT32_MAX)
		return say_usage(command, "%s: %s is out of range", name, text);
	*number = value;
	return 0;
}

static int new_image_take_key(struct new_image *image, const char *command, enum new_image_key key,
			      const char *text)
{
	struct bpull_create_options *options = &image->options;
	const char *name = new_image_keys[key].word;
	int value = 0, code = 0;

	image->given_keys |= 1U << key;
	switch (key) {
	case NEW_IMAGE_CLUSTER_SIZE:
		return new_image_number(command, name, text, &options->cluster_size);
	case NEW_IMAGE_REFCOUNT_BITS:
		return new_image_number(command, name, text, &options->refcount_bits);
	case NEW_IMAGE_TABLE_SIZE:
		return new_image_number(command, name, text, &options->table_size);
	case NEW_IMAGE_COMPAT:
		code = options_word(command, name, text, new_image_compat, &value);
		options->version = value;
		break;
	case NEW_IMAGE_LAZY_REFCOUNTS:
		code = options_word(command, name, text, new_image_switch, &value);
		options->lazy_refcounts = value;
		break;
	case NEW_IMAGE_COMPRESSION_TYPE:
		code = options_word(command, name, text, new_image_compression, &value);
		options->zstd = value;
		break;
	}
	return code;
}

static int new_image_take_item(struct new_image *image, const char *command, char *item)
{
	struct suggest suggest = { 0 };
	char *text = strchr(item, '=');
	if (!text)
		return say_usage(command, "-o: '%s' is not of the form NAME=VALUE", item);
	*text++ = 0;
	for (unsigned key = 0; key < N_KEYS; key++) {
		if (!strcmp(item, new_image_keys[key].word))
			return new_image_take_key(image, command, key, text);
		suggest_offer(&suggest, item, new_image_keys[key].word);
	}
	if (suggest.best)
		return say_usage(command, "-o: unknown name '%s'; did you mean '%s'?", item,
				 suggest.best);
	return say_usage(command, "-o: unknown name '%s'", item);
}

int new_image_take(struct new_image *image, const char *command, char *text)
{
	char *item;
	while ((item = strsep(&text, ","))) {
		int code = new_image_take_item(image, command, item);
		if (code)
			return code;
	}
	return 0;
}

int new_image_check(const struct new_image *image, const char *command)
{
	for (unsigned key = 0; key < N_KEYS; key++) {
		enum bpull_format format = new_image_formats[key];
		if ((image->given_keys & 1U << key) && format && image->options.format &&
		    format != image->options.format)
			return say_usage(command, "-o: '%s' has no meaning for %s images",
					 new_image_keys[key].word,
					 bpull_format_name(image->options.format));
	}
	return 0;
}
