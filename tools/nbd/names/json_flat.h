/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A small JSON object as a list of keys: {"a":{"b":"c"}} and {"a.b":"c"} both have the key "a.b",
 * as in QEMU's descriptions of images. Stricter than json-c and than QEMU: the text is RFC 8259's,
 * no key is there twice in whichever way it is written, nothing is behind the object.
 */
#ifndef TOOLS_NBD_NAMES_JSON_FLAT_H
#define TOOLS_NBD_NAMES_JSON_FLAT_H

#include <stddef.h>

#define JSON_FLAT_ITEMS 32 /* keys, those of objects among them */
#define JSON_FLAT_DEPTH 3  /* objects in objects */
#define JSON_FLAT_WHY   160

enum json_flat_type {
	JSON_FLAT_STRING = 0,
	JSON_FLAT_NUMBER = 1,
	JSON_FLAT_OBJECT = 2,
	JSON_FLAT_WORD = 3, /* true, false or null */
};

struct json_flat_item {
	char *key; /* with all keys that lead to it, parted by '.' */
	enum json_flat_type type;
	char *text; /* the string, decoded; the number or the word as it is written; NULL: OBJECT */
};

struct json_flat {
	struct json_flat_item items[JSON_FLAT_ITEMS];
	size_t n;
};

/* Reads a text, which is UTF-8. 0, -ENOMEM, or -EINVAL with a sentence's end in why. To be freed
 * in each case. */
int json_flat_read(const char *text, struct json_flat *flat, char why[JSON_FLAT_WHY]);
/* The item of a key, or NULL. */
const struct json_flat_item *json_flat_find(const struct json_flat *flat, const char *key);
void json_flat_free(struct json_flat *flat);

#endif
