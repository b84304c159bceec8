/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Names and targets both may hold a '=' (a URL's query, a socket's), so neither the first nor the
 * last one can be the border: the first that is not doubled is.
 */
#include "tools/nbd/names/mapping.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/nbd/names/fields.h"
#include "tools/nbd/names/refusal.h"

/* The name, to be freed, and where the target begins; or NULL there. */
static char *read_key(const char *text, const char **target)
{
	char *name = malloc(strlen(text) + 1);
	size_t len = 0;

	*target = NULL;
	for (const char *c = text; name && *c && !*target; c++) {
		if (c[0] == '=' && c[1] != '=') {
			*target = c + 1;
			break;
		}
		name[len++] = *c;
		c += *c == '=';
	}
	if (name)
		name[len] = 0;
	return name;
}

/* A file's name as the user typed it. */
static int read_file(const struct nbd_reading *reading, const char *typed, struct nbd_name *target)
{
	if (!strncmp(typed, "file:", 5))
		typed += 5;
	else if (typed[strcspn(typed, ":/")] == ':')
		return nbd_bad_name(reading,
				    "what is opened is no URI that is read here (a file of that "
				    "name would be written ./FILE; a '=' in NAME is written ==)");
	target->kind = NBD_NAME_FILE;
	return nbd_make_path(reading, "file", typed, &target->path);
}

/* Sentences name the whole text, the target's too. */
static int read_target(const struct nbd_reading *reading, const char *typed,
		       struct nbd_name *target)
{
	struct bpull_error error;
	int rc = nbd_name_read(typed, reading->here, target, &error);

	if (rc == -EINVAL)
		return nbd_bad_name(reading, "the target can't be read: %s", error.message);
	if (rc) {
		*reading->error = error;
		return rc;
	}
	return target->kind == NBD_NAME_OTHER ? read_file(reading, typed, target) : 0;
}

static int read_mapping(const struct nbd_mappings *mappings, const struct nbd_reading *reading,
			struct nbd_mapping *mapping)
{
	const char *target;

	mapping->name = read_key(reading->name, &target);
	if (!mapping->name)
		return nbd_refuse_memory(reading->error);
	if (!target)
		return nbd_bad_name(reading, "it is not NAME=URI or NAME=FILE (a '=' in NAME is "
					     "written ==)");
	if (!*mapping->name)
		return nbd_bad_name(reading, "the name before the '=' is missing");
	if (!*target)
		return nbd_bad_name(reading, "what is opened is missing behind the '='");
	for (size_t i = 0; i < mappings->n; i++)
		if (!strcmp(mappings->list[i].name, mapping->name))
			return nbd_bad_name(reading, "the name was mapped before");
	return read_target(reading, target, &mapping->target);
}

static void free_mapping(struct nbd_mapping *mapping)
{
	free(mapping->name);
	nbd_name_free(&mapping->target);
}

int nbd_mappings_add(struct nbd_mappings *mappings, const char *text, const char *here,
		     struct bpull_error *error)
{
	struct nbd_mapping *list = reallocarray(mappings->list, mappings->n + 1, sizeof(*list));
	struct nbd_reading reading = { .name = text, .here = here, .error = error };
	int rc;

	if (!list)
		return nbd_refuse_memory(error);
	mappings->list = list;
	list[mappings->n] = (struct nbd_mapping){ 0 };
	rc = read_mapping(mappings, &reading, &list[mappings->n]);
	if (rc)
		free_mapping(&list[mappings->n]);
	else
		mappings->n++;
	return rc;
}

const struct nbd_mapping *nbd_mappings_find(const struct nbd_mappings *mappings,
					    const char *recorded)
{
	for (size_t i = 0; i < mappings->n; i++) {
		if (strcmp(mappings->list[i].name, recorded) != 0)
			continue;
		__atomic_store_n(&mappings->list[i].used, 1, __ATOMIC_RELAXED);
		return &mappings->list[i];
	}
	return NULL;
}

const char *nbd_mappings_unused(const struct nbd_mappings *mappings, size_t *at)
{
	while (*at < mappings->n) {
		const struct nbd_mapping *mapping = &mappings->list[(*at)++];

		if (!__atomic_load_n(&mapping->used, __ATOMIC_RELAXED))
			return mapping->name;
	}
	return NULL;
}

void nbd_mappings_free(struct nbd_mappings *mappings)
{
	for (size_t i = 0; i < mappings->n; i++)
		free_mapping(&mappings->list[i]);
	free(mappings->list);
	*mappings = (struct nbd_mappings){ 0 };
}

static int copy_target(const struct nbd_name *from, struct nbd_name *to)
{
	*to = (struct nbd_name){ .kind = from->kind, .format = from->format };
	if (from->kind == NBD_NAME_PLACE)
		return nbd_place_copy(&to->place, &from->place);
	to->path = strdup(from->path);
	return to->path ? 0 : -ENOMEM;
}

int nbd_choose(const struct nbd_policy *policy, const struct nbd_mappings *mappings,
	       const char *recorded, const char *here, struct nbd_choice *choice,
	       struct bpull_error *error)
{
	const struct nbd_mapping *mapping = mappings ? nbd_mappings_find(mappings, recorded) : NULL;
	static const struct nbd_policy nothing;
	int rc;

	*choice = (struct nbd_choice){ .is_operators = mapping };
	if (mapping)
		return copy_target(&mapping->target, &choice->name) ? nbd_refuse_memory(error) : 0;
	rc = nbd_name_read(recorded, here, &choice->name, error);
	if (rc || choice->name.kind != NBD_NAME_PLACE ||
	    nbd_policy_ask(policy ? policy : &nothing, &choice->name.place))
		return rc;
	rc = nbd_policy_refuse(&choice->name.place, NULL, NULL, error);
	nbd_name_free(&choice->name);
	return rc;
}
