/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * json-c was rejected: of a key that is there twice it keeps the last value and says nothing, and
 * what another reader takes may be the first one.
 */
#include "tools/nbd/names/json_flat.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
	const char *at;
	struct json_flat *flat;
	unsigned depth;
	char *why;
};

static int refuse(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct reader *r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->why, JSON_FLAT_WHY, format, args);
	va_end(args);
	return -EINVAL;
}

static void skip_space(struct reader *r)
{
	r->at += strspn(r->at, " \t\n\r");
}

static bool take(struct reader *r, char c)
{
	skip_space(r);
	if (*r->at != c)
		return false;
	r->at++;
	return true;
}

static bool take_hex(struct reader *r, uint32_t *value)
{
	*value = 0;
	for (int i = 0; i < 4; i++) {
		static const char digits[] = "0123456789abcdef";
		char c = r->at[i];
		const char *digit = c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

		if (!digit)
			return false;
		*value = *value << 4 | (uint32_t)(digit - digits);
	}
	r->at += 4;
	return true;
}

static size_t put_utf8(uint32_t value, char *out)
{
	unsigned n_more = value < 0x80 ? 0 : value < 0x800 ? 1 : value < 0x10000 ? 2 : 3;
	static const uint8_t first[] = { 0, 0xc0, 0xe0, 0xf0 };

	out[0] = (char)(first[n_more] | value >> 6 * n_more);
	for (unsigned i = 1; i <= n_more; i++)
		out[i] = (char)(0x80 | (value >> 6 * (n_more - i) & 0x3f));
	return n_more + 1;
}

/* Behind "\u": at most 3 bytes of UTF-8 for 6 of text, or 4 for 12. */
static int take_code_point(struct reader *r, char *out, size_t *len)
{
	uint32_t value, low;

	if (!take_hex(r, &value))
		return refuse(r, "a \\u in it is not followed by four hexadecimal digits");
	if (!value)
		return refuse(r, "\\u0000 stands for a character that no name has");
	if (value >= 0xd800 && value < 0xe000) {
		if (value >= 0xdc00 || strncmp(r->at, "\\u", 2) != 0)
			return refuse(r, "it has half of a character");
		r->at += 2;
		if (!take_hex(r, &low) || low < 0xdc00 || low >= 0xe000)
			return refuse(r, "it has half of a character");
		value = 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
	}
	*len += put_utf8(value, out + *len);
	return 0;
}

static int take_escape(struct reader *r, char *out, size_t *len)
{
	static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
	const char *letter = *r->at ? strchr(letters, *r->at) : NULL;

	if (*r->at == 'u') {
		r->at++;
		return take_code_point(r, out, len);
	}
	if (!letter)
		return refuse(r, "a backslash in it stands before what JSON does not know");
	out[(*len)++] = meanings[letter - letters];
	r->at++;
	return 0;
}

/* A string in *text, to be freed also where it fails. */
static int take_string(struct reader *r, char **text)
{
	size_t len = 0;
	int rc = 0;

	if (!take(r, '"'))
		return refuse(r, "a string in double quotes is missing");
	*text = malloc(strlen(r->at) + 1); /* decoded it is not longer */
	if (!*text)
		return -ENOMEM;
	while (!rc && *r->at && *r->at != '"') {
		if ((unsigned char)*r->at < ' ')
			return refuse(r, "a string in it holds control characters");
		if (*r->at == '\\') {
			r->at++;
			rc = take_escape(r, *text, &len);
		} else {
			(*text)[len++] = *r->at++;
		}
	}
	(*text)[len] = 0;
	if (rc)
		return rc;
	return take(r, '"') ? 0 : refuse(r, "a string in it does not end");
}

static size_t digits(const char *at)
{
	return strspn(at, "0123456789");
}

/* The length of the number at `at`; 0: it is none. */
static size_t number_len(const char *at)
{
	const char *c = at + (*at == '-');
	size_t n = digits(c);

	if (!n || (n > 1 && *c == '0'))
		return 0;
	c += n;
	if (*c == '.') {
		n = digits(c + 1);
		if (!n)
			return 0;
		c += 1 + n;
	}
	if (*c == 'e' || *c == 'E') {
		c += 1 + (c[1] == '+' || c[1] == '-');
		if (!digits(c))
			return 0;
		c += digits(c);
	}
	return (size_t)(c - at);
}

static int take_plain(struct reader *r, struct json_flat_item *item)
{
	static const char *const words[] = { "true", "false", "null" };
	size_t len = number_len(r->at);

	item->type = len ? JSON_FLAT_NUMBER : JSON_FLAT_WORD;
	for (size_t i = 0; !len && i < 3; i++)
		if (!strncmp(r->at, words[i], strlen(words[i])))
			len = strlen(words[i]);
	if (*r->at == '[')
		return refuse(r, "the value of '%.80s' is a list", item->key);
	if (!len)
		return refuse(r, "the value of '%.80s' is not JSON", item->key);
	item->text = strndup(r->at, len);
	r->at += len;
	return item->text ? 0 : -ENOMEM;
}

static int take_object(struct reader *r, const char *prefix);

static int take_value(struct reader *r, struct json_flat_item *item)
{
	skip_space(r);
	if (*r->at == '"')
		return take_string(r, &item->text);
	if (*r->at != '{')
		return take_plain(r, item);
	item->type = JSON_FLAT_OBJECT;
	return take_object(r, item->key);
}

/* The key's item is in the list before its value is read: an object's keys come behind it. */
static int take_member(struct reader *r, const char *prefix)
{
	struct json_flat *flat = r->flat;
	struct json_flat_item *item;
	char *key = NULL, *whole = NULL;
	int rc = take_string(r, &key);

	if (!rc && asprintf(&whole, "%s%s%s", prefix ? prefix : "", prefix ? "." : "", key) < 0) {
		whole = NULL;
		rc = -ENOMEM;
	}
	if (!rc && json_flat_find(flat, whole))
		rc = refuse(r, "'%.80s' is there twice", whole);
	if (!rc && flat->n == JSON_FLAT_ITEMS)
		rc = refuse(r, "it has more than %d keys", JSON_FLAT_ITEMS);
	free(key);
	if (rc) {
		free(whole);
		return rc;
	}
	item = &flat->items[flat->n++];
	*item = (struct json_flat_item){ .key = whole };
	if (!take(r, ':'))
		return refuse(r, "behind '%.80s' a ':' is missing", whole);
	return take_value(r, item);
}

static int take_object(struct reader *r, const char *prefix)
{
	int rc;

	if (!take(r, '{'))
		return refuse(r, "behind 'json:' there must be an object");
	if (r->depth++ == JSON_FLAT_DEPTH)
		return refuse(r, "it has objects in objects deeper than %d", JSON_FLAT_DEPTH);
	if (!take(r, '}')) {
		do {
			rc = take_member(r, prefix);
			if (rc)
				return rc;
		} while (take(r, ','));
		if (!take(r, '}'))
			return refuse(r, "a ',' or '}' is missing");
	}
	r->depth--;
	return 0;
}

int json_flat_read(const char *text, struct json_flat *flat, char why[JSON_FLAT_WHY])
{
	struct reader r = { .at = text, .flat = flat, .why = why };
	int rc;

	*flat = (struct json_flat){ 0 };
	*why = 0;
	rc = take_object(&r, NULL);
	if (rc)
		return rc;
	skip_space(&r);
	return *r.at ? refuse(&r, "there is more behind its object") : 0;
}

const struct json_flat_item *json_flat_find(const struct json_flat *flat, const char *key)
{
	for (size_t i = 0; i < flat->n; i++)
		if (!strcmp(flat->items[i].key, key))
			return &flat->items[i];
	return NULL;
}

void json_flat_free(struct json_flat *flat)
{
	for (size_t i = 0; i < flat->n; i++) {
		free(flat->items[i].key);
		free(flat->items[i].text);
	}
	*flat = (struct json_flat){ 0 };
}
