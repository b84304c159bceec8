/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One form for all programs: a script reads the same of a command and of a server. */
#include "tools/bases/describe.h"

#include <string.h>

#include <json-c/json.h>

/* A = of the name is written twice. */
const char *bases_mapped_to(const struct bases *bases, const char *recorded)
{
	for (size_t i = 0; i < bases->n_map; i++) {
		const char *text = bases->map[i], *name = recorded;

		while (*name && *text == *name && (*text != '=' || text[1] == '=')) {
			text += *text == '=' ? 2 : 1;
			name++;
		}
		if (!*name && text[0] == '=' && text[1] != '=')
			return text + 1;
	}
	return NULL;
}

#ifdef HAVE_LIBNBD

static struct json_object *describe_source(const struct bpull_nbd_source *source)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "uri", json_object_new_string(source->uri));
	json_object_object_add(object, "state",
			       json_object_new_string(bases_state_word(source->state)));
	json_object_object_add(object, "error",
			       *source->message ? json_object_new_string(source->message) : NULL);
	json_object_object_add(object, "length", json_object_new_uint64(source->length));
	json_object_object_add(object, "connections", json_object_new_uint64(source->connections));
	json_object_object_add(object, "bytes-read", json_object_new_uint64(source->bytes_read));
	json_object_object_add(object, "requests", json_object_new_uint64(source->requests));
	json_object_object_add(object, "reconnects", json_object_new_uint64(source->reconnects));
	return object;
}

/* A server may be read by several sources at once: the image's, and one that only looks at the
 * chain. Users see one: its numbers are added up, its state is the worst of those that are open. */
static void describe_add(struct bpull_nbd_source *all, const struct bpull_nbd_source *one)
{
	bool is_worse = all->state == BPULL_NBD_CLOSED ||
			(one->state != BPULL_NBD_CLOSED && one->state > all->state);

	all->connections += one->connections;
	all->bytes_read += one->bytes_read;
	all->requests += one->requests;
	all->reconnects += one->reconnects;
	if (!is_worse)
		return;
	all->state = one->state;
	memcpy(all->message, one->message, sizeof(all->message));
}

/* Of the sources from i on all of one server. False: a source before it is of that server. */
static bool describe_collect(const struct bpull_nbd *nbd, unsigned i, struct bpull_nbd_source *all)
{
	unsigned n = bpull_nbd_count(nbd);

	all->size = sizeof(*all);
	if (bpull_nbd_get_source(nbd, i, all))
		return false;
	for (unsigned j = 0; j < n; j++) {
		struct bpull_nbd_source one = { .size = sizeof(one) };

		if (j == i || bpull_nbd_get_source(nbd, j, &one) || strcmp(one.uri, all->uri) != 0)
			continue;
		if (j < i)
			return false;
		describe_add(all, &one);
	}
	return true;
}

struct json_object *bases_describe(const struct bases *bases)
{
	struct json_object *list = json_object_new_array();
	struct bpull_nbd_source all;

	for (unsigned i = 0; i < bpull_nbd_count(bases->nbd); i++)
		if (describe_collect(bases->nbd, i, &all))
			json_object_array_add(list, describe_source(&all));
	return list;
}

#else

struct json_object *bases_describe(const struct bases *bases)
{
	(void)bases;
	return json_object_new_array();
}

#endif
