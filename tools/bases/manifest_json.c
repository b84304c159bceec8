/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The object of `blockpull hash --json`, also where another program has written it anew. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "engine/blockpull.h"
#include "tools/bases/manifest_state.h"

#define JSON_MAX ((size_t)256 << 20) /* bytes: some millions of chunks */

/* The member, of this type. NULL: said. */
static struct json_object *json_member(const struct manifest_reading *reading,
				       struct json_object *object, const char *key,
				       enum json_type type)
{
	struct json_object *value = NULL;

	if (json_object_object_get_ex(object, key, &value) && json_object_is_type(value, type))
		return value;
	manifest_bad(reading, "'%s' is missing, or is no %s", key, json_type_to_name(type));
	return NULL;
}

static int json_number(const struct manifest_reading *reading, struct json_object *object,
		       const char *key, uint64_t *number)
{
	struct json_object *value = json_member(reading, object, key, json_type_int);
	int64_t n = value ? json_object_get_int64(value) : 0;

	if (value && (n < 0 || n == INT64_MAX))
		return manifest_bad(reading, "'%s' makes no sense", key);
	*number = (uint64_t)n;
	return value ? 0 : -EINVAL;
}

static int json_hash(const struct manifest_reading *reading, struct json_object *object,
		     uint8_t digest[16])
{
	struct json_object *value = json_member(reading, object, "hash", json_type_string);

	if (!value)
		return -EINVAL;
	if (json_object_get_string_len(value) != MANIFEST_HASH_LEN)
		return manifest_bad(reading, "a 'hash' is not of %u digits", MANIFEST_HASH_LEN);
	return manifest_hash(reading, json_object_get_string(value), digest);
}

static int json_chunk(struct manifest_reading *reading, struct json_object *chunk)
{
	uint64_t start = 0, length = 0;
	uint8_t digest[16];
	int rc = json_number(reading, chunk, "start", &start);

	if (!rc)
		rc = json_number(reading, chunk, "length", &length);
	if (!rc)
		rc = json_hash(reading, chunk, digest);
	return rc ? rc : manifest_add(reading, digest, start, length);
}

/* Keys that are not known may say something that has to be known. */
static int json_check_keys(const struct manifest_reading *reading, struct json_object *object)
{
	static const char *const known[] = { "filename",   "virtual-size", "algorithm",
					     "chunk-size", "chunks",       "hash" };

	json_object_object_foreach(object, key, value)
	{
		size_t i = 0;

		(void)value;
		while (i < sizeof(known) / sizeof(known[0]) && strcmp(known[i], key) != 0)
			i++;
		if (i == sizeof(known) / sizeof(known[0]))
			return manifest_bad(reading, "'%.50s' is not known here", key);
	}
	return 0;
}

static int json_take_chunks(struct manifest_reading *reading, struct json_object *object,
			    uint64_t size)
{
	struct json_object *chunks;
	uint64_t chunk_size = 0;
	int rc;

	if (!json_object_object_get_ex(object, "chunks", &chunks))
		return manifest_finish(reading); /* there are none */
	chunks = json_member(reading, object, "chunks", json_type_array);
	rc = chunks ? json_number(reading, object, "chunk-size", &chunk_size) : -EINVAL;
	for (size_t i = 0; !rc && i < json_object_array_length(chunks); i++)
		rc = json_chunk(reading, json_object_array_get_idx(chunks, i));
	if (!rc)
		rc = manifest_finish(reading);
	if (rc)
		return rc;
	if (reading->manifest->n == 1 ? chunk_size < reading->manifest->length
				      : chunk_size != reading->manifest->chunk_size)
		return manifest_bad(reading, "'chunk-size' is not that of the chunks");
	if (reading->manifest->length != size)
		return manifest_bad(reading, "the chunks end at %llu, and 'virtual-size' is %llu",
				    (unsigned long long)reading->manifest->length,
				    (unsigned long long)size);
	return 0;
}

static int json_take(struct manifest_reading *reading, struct json_object *object)
{
	struct json_object *algorithm;
	uint64_t size = 0;
	uint8_t whole[16];
	int rc = json_check_keys(reading, object);

	if (rc)
		return rc;
	algorithm = json_member(reading, object, "algorithm", json_type_string);
	if (!algorithm)
		return -EINVAL;
	if (strcmp(json_object_get_string(algorithm), "XXH3-128") != 0)
		return manifest_bad(reading, "the 'algorithm' is not XXH3-128");
	rc = json_hash(reading, object, whole); /* null, where hashing ended in an error */
	if (!rc)
		rc = json_number(reading, object, "virtual-size", &size);
	return rc ? rc : json_take_chunks(reading, object, size);
}

/* All of it, to be freed; NULL: said. */
static char *json_text(struct manifest_reading *reading, FILE *file, size_t *len)
{
	size_t room = 0;
	char *text = NULL;

	*len = 0;
	do {
		char *more = realloc(text, room += room < 1 << 20 ? 1 << 16 : room);

		if (!more || room > JSON_MAX) {
			free(more ? more : text);
			manifest_bad(reading, "it is too long to be read as JSON; give the text "
					      "that blockpull hash prints without --json");
			return NULL;
		}
		text = more;
		*len += fread(text + *len, 1, room - *len, file);
	} while (*len == room);
	return text;
}

int manifest_read_json(struct manifest_reading *reading, FILE *file)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *object = NULL;
	size_t len = 0;
	char *text;
	int rc;

	reading->line = 1;
	text = tokener ? json_text(reading, file, &len) : NULL;
	if (text) { /* strict: nothing may follow it */
		json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
		object = json_tokener_parse_ex(tokener, text, (int)len);
	}
	if (!text)
		rc = tokener ? -EINVAL : manifest_bad(reading, "out of memory");
	else if (!json_object_is_type(object, json_type_object))
		rc = manifest_bad(reading,
				  "it is no JSON object, was cut off, or something follows "
				  "it: a manifest is of one disk");
	else
		rc = json_take(reading, object);
	json_object_put(object);
	json_tokener_free(tokener);
	free(text);
	return rc;
}
