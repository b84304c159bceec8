/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An expectation with a name is of the base that an image records by that name. One without a name
 * is of the only base behind a network, and a second such base is an error: a manifest that was
 * compared with the wrong disk would refuse a right one. Digests go into the source that was
 * found, and the library compares what it reads with them. Files are refused, as it compares none
 * of theirs.
 */
#include "tools/bases/expect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"
#include "tools/bases/learn.h"
#include "tools/words/text.h"

/* ---- [NAME=]MANIFEST|HASH -------------------------------------------------- */

/* A = that is meant is doubled, in NAME and in a MANIFEST that stands alone, as map-backing has it.
 * *rest is what follows the one that is not; NULL: there is none. The caller frees what is
 * returned; NULL: no memory. */
static char *expect_key(const char *text, const char **rest)
{
	char *key = malloc(strlen(text) + 1);
	size_t len = 0;

	*rest = NULL;
	for (const char *c = text; key && *c; c++) {
		if (c[0] == '=' && c[1] != '=') {
			*rest = c + 1;
			break;
		}
		key[len++] = *c;
		c += *c == '=';
	}
	if (key)
		key[len] = 0;
	return key;
}

/* 1: it is a hash, as blockpull prints it, and in `whole`. A file of such a name is ./NAME. */
static int expect_take_hash(const char *text, uint8_t whole[16])
{
	if (strlen(text) != MANIFEST_HASH_LEN ||
	    strspn(text, "0123456789abcdefABCDEF") != MANIFEST_HASH_LEN)
		return 0;
	for (unsigned i = 0; i < 16; i++) {
		char digits[3] = { text[2 * i], text[2 * i + 1], 0 };

		whole[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return 1;
}

static int expect_read(struct expectation *e, const char *text, struct bpull_error *error)
{
	const char *rest;
	char *key = expect_key(text, &rest);

	e->name = rest ? key : NULL;
	e->file = rest ? strdup(rest) : key;
	if (!key || !e->file)
		return text_error(error, -ENOMEM, "out of memory");
	if ((e->name && !*e->name) || !*e->file)
		return text_error(error, -EINVAL,
				  "'%s' is not [NAME=]MANIFEST (a '=' that is meant is written ==)",
				  text);
	e->is_whole = expect_take_hash(e->file, e->whole);
	if (e->is_whole)
		return 0;
	return manifest_read(e->file, &e->manifest, error);
}

/* Against those that were taken before. */
static int expect_compare(const struct expectations *all, const struct expectation *e,
			  struct bpull_error *error)
{
	for (size_t i = 0; i < all->n; i++) {
		if (!e->name || !all->list[i].name)
			return text_error(
				error, -EINVAL,
				"'%s' has no NAME=, which only goes where nothing else is "
				"expected: write NAME=MANIFEST for each base",
				e->name ? all->list[i].file : e->file);
		if (!strcmp(e->name, all->list[i].name))
			return text_error(error, -EINVAL, "what '%s' must hold is given twice",
					  e->name);
	}
	return 0;
}

static void expect_free_one(struct expectation *e)
{
	free(e->name);
	free(e->file);
	free(e->identity);
	manifest_free(&e->manifest);
}

int expect_take(struct expectations *all, const char *text, struct bpull_error *error)
{
	struct expectation *more = reallocarray(all->list, all->n + 1, sizeof(*more));
	int rc;

	if (!more)
		return text_error(error, -ENOMEM, "out of memory");
	all->list = more;
	more[all->n] = (struct expectation){ 0 };
	rc = expect_read(&more[all->n], text, error);
	if (!rc)
		rc = expect_compare(all, &more[all->n], error);
	if (rc)
		expect_free_one(&more[all->n]);
	else
		all->n++;
	return rc;
}

/* ---- Bases ----------------------------------------------------------------- */

static struct expectation *expect_find(struct expectations *all, const char *name, int is_source)
{
	for (size_t i = 0; i < all->n; i++) {
		struct expectation *e = &all->list[i];

		if (e->name ? !strcmp(e->name, name) : is_source)
			return e;
	}
	return NULL;
}

/* The first base that one without a name meets is its own. 0 or -errno. */
static int expect_bind(struct expectation *e, const char *name, const struct bpull_source *source,
		       struct bpull_error *error)
{
	if (e->name)
		return 0;
	if (!e->identity) {
		e->identity = strdup(source->identity);
		return e->identity ? 0 : text_error(error, -ENOMEM, "out of memory");
	}
	if (!strcmp(e->identity, source->identity))
		return 0;
	return text_error(
		error, -EINVAL,
		"there is more than one base behind a network, and what '%s' expects is of "
		"the only one: say which with NAME=, '%s' for this one",
		e->file, name);
}

static int expect_say_another(const struct expectation *e, const char *name,
			      const struct bpull_source *source, struct bpull_error *error)
{
	return text_error(error, -EBADMSG,
			  "'%s' is not what is expected of it: the hash of its %llu bytes is not "
			  "%s",
			  name, (unsigned long long)source->length, e->file);
}

/* Reads the base, where that was not done. Nothing is left of one that is another, and it is not
 * read again. 0 or -errno. */
static int expect_learn(struct expectation *e, const char *name, const struct bpull_source *source,
			int (*stops)(void), struct bpull_error *error)
{
	uint8_t whole[16];
	int rc;

	if (e->is_another)
		return expect_say_another(e, name, source, error);
	if (!e->is_whole || e->is_learned)
		return 0;
	rc = learn_content(source, name, stops, &e->manifest, whole, error);
	e->is_another = !rc && memcmp(whole, e->whole, sizeof(whole)) != 0;
	if (e->is_another)
		rc = expect_say_another(e, name, source, error);
	if (rc)
		manifest_free(&e->manifest);
	e->is_learned = !rc;
	return rc;
}

static int expect_put(struct expectation *e, const char *name, struct bpull_source *source,
		      int (*stops)(void), struct bpull_error *error)
{
	const struct manifest *m = &e->manifest;
	int rc = expect_bind(e, name, source, error);

	if (!rc)
		rc = expect_learn(e, name, source, stops, error);
	if (rc)
		return rc;
	if (m->length != source->length)
		return text_error(
			error, -EBADMSG,
			"'%s' has %llu bytes, and '%s' is of a disk of %llu: it is another "
			"one",
			name, (unsigned long long)source->length, e->file,
			(unsigned long long)m->length);
	e->used = 1;
	if (!m->n) /* no bytes */
		return 0;
	source->chunk_digests = m->digests[0];
	source->n_chunks = m->n;
	source->chunk_size = m->chunk_size;
	return 0;
}

int expect_apply(struct expectations *all, const struct bpull_open_request *request,
		 struct bpull_base *base, int found, struct bpull_error *error)
{
	const char *name = request->recorded ? request->recorded : request->name;
	struct bpull_source *source = &base->source;
	int is_source = !found && source->ops, rc;
	struct expectation *e = expect_find(all, name, is_source);

	if (!e)
		return found;
	if (!is_source) {
		free(base->path);
		base->path = NULL;
		return text_error(
			error, -ENOTSUP,
			"'%s' is a file here, and only bases behind a network are compared "
			"while they are read: compare a file with `blockpull hash`",
			name);
	}
	rc = expect_put(e, name, source, all->stops, error);
	if (rc) {
		source->ops->close(source->source);
		source->ops = NULL;
	}
	return rc;
}

int expect_judge(const struct expectations *all, struct bpull_error *error)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct expectation *e = &all->list[i];

		if (!e->used && e->name)
			return text_error(error, -ENOENT,
					  "no image names '%s', of which '%s' is expected; see "
					  "blockpull info --chain",
					  e->name, e->file);
		if (!e->used)
			return text_error(
				error, -ENOENT,
				"'%s' is expected of a base behind a network, and there is "
				"none; see blockpull info --chain",
				e->file);
	}
	return 0;
}

void expect_free(struct expectations *all)
{
	for (size_t i = 0; i < all->n; i++)
		expect_free_one(&all->list[i]);
	free(all->list);
	*all = (struct expectations){ 0 };
}
