/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bases that are no files, as the program describes them: checked, and handed on in the words of
 * io/source/source.h. The program's table of calls is called directly: its types are the same.
 */
#include "engine/api/options/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/api/options/options.h"
#include "engine/api/options/structs.h"
#include "engine/blockpull.h"
#include "formats/chain/found.h"
#include "formats/chain/name.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/source/expect.h"
#include "io/source/source.h"

#define DEFAULT_MAX_LEN (UINT32_C(1) << 20)
#define MIN_MAX_LEN     (UINT32_C(64) << 10)

_Static_assert((int)BPULL_SOURCE_JOB == SOURCE_JOB && (int)BPULL_SOURCE_GUEST == SOURCE_GUEST &&
		       (int)BPULL_SOURCE_CALL == SOURCE_CALL,
	       "one numbering of who asks");

/* A source as the program described it, and its calls. */
struct api_source {
	struct bpull_source_ops ops;
	void *source;
};

static void read_source(void *opaque, void *buf, size_t len, uint64_t off, enum source_asker asker,
			struct source_ask *ask)
{
	const struct api_source *s = opaque;

	s->ops.read(s->source, buf, len, off, (enum bpull_source_asker)asker,
		    (struct bpull_source_ask *)ask);
}

static void ask_extents(void *opaque, uint64_t off, uint64_t len, enum source_asker asker,
			struct source_ask *ask)
{
	const struct api_source *s = opaque;

	s->ops.extents(s->source, off, len, (enum bpull_source_asker)asker,
		       (struct bpull_source_ask *)ask);
}

static void close_api_source(void *opaque)
{
	struct api_source *s = opaque;

	if (s->ops.close)
		s->ops.close(s->source);
	free(s);
}

static void leave_api_source(void *opaque)
{
	const struct api_source *s = opaque;

	s->ops.leave(s->source);
}

void bpull_source_read_done(struct bpull_source_ask *ask, int rc)
{
	if (ask)
		source_read_done((struct source_ask *)ask, rc);
}

void bpull_source_extents_done(struct bpull_source_ask *ask, int rc,
			       const struct bpull_source_extent *extents, size_t n)
{
	if (!ask)
		return;
	for (size_t i = 0; !rc && extents && i < n; i++) {
		struct source_extent extent = { .len = extents[i].length,
						.is_zero = extents[i].is_zero == 1 };

		source_extents_add((struct source_ask *)ask, &extent);
	}
	source_extents_done((struct source_ask *)ask, rc);
}

static bool is_all_zero(const uint64_t *words, size_t n)
{
	uint64_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= words[i];
	return !any;
}

/* Why the library can't work with the source: a clause of a sentence, or NULL. */
static const char *find_fault(const struct bpull_source *s, const struct bpull_source_ops *ops)
{
	uint32_t block = s->block_size ? s->block_size : 1;

	if (!ops->read)
		return "it can't be read";
	if (s->length > INT64_MAX)
		return "its length is beyond what a file can have";
	if (!is_power_of_2(block) || block > SOURCE_MAX_BLOCK_LEN)
		return "its block_size is no power of two up to 64 KiB";
	if (s->max_size && (!is_power_of_2(s->max_size) || s->max_size < MIN_MAX_LEN))
		return "its max_size is no power of two from 64 KiB on";
	if (s->chunk_digests &&
	    (!is_power_of_2(s->chunk_size) || s->chunk_size < SOURCE_MIN_CHUNK_LEN ||
	     s->chunk_size > SOURCE_MAX_CHUNK_LEN))
		return "the chunk_size of what is expected is no power of two from 4 KiB to 4 MiB";
	if (s->chunk_digests && s->n_chunks != source_expect_count(s->chunk_size, s->length))
		return "what is expected is the content of a disk of another length";
	if (!s->chunk_digests && (s->n_chunks || s->chunk_size))
		return "it has chunks, and no digests of them";
	if (s->reserved32 || !is_all_zero(s->reserved, ARRAY_LEN(s->reserved)))
		return "its reserved fields are not zero";
	return NULL;
}

/* Closes a source that the library does not take, as far as the program's table of calls is long
 * enough to have close(). close() may wait. */
static void close_given(const struct bpull_source *s)
{
	const struct bpull_source_ops *ops = s->ops;

	if (!result_fits(ops, RESULT_FIRST_LEN(struct bpull_source_ops, close)) || !ops->close)
		return;
	blocking_begin();
	ops->close(s->source);
	blocking_end();
}

static int take_source(const struct bpull_source *given, const char *recorded,
		       struct chain_found *found, struct err *err)
{
	struct api_source *s = calloc(1, sizeof(*s));
	char shown[CHAIN_NAME_SHOWN];
	struct bpull_source_ops ops;
	struct source_expect *expect = NULL;
	struct bpull_source source;
	const char *fault;

	if (!options_import(&ops, sizeof(ops), given->ops) ||
	    !options_import(&source, sizeof(source), given)) {
		close_given(given);
		free(s);
		return err_set(err, -EINVAL, "'%s': unknown options of its source",
			       chain_name_show(recorded, shown));
	}
	fault = find_fault(&source, &ops);
	if (!fault && source.chunk_digests)
		expect = source_expect_new(source.chunk_digests, source.chunk_size, source.length);
	if (!s || fault || (source.chunk_digests && !expect)) {
		close_given(given);
		source_expect_free(expect);
		free(s);
		return fault ? err_set(err, -EINVAL, "'%s': its source can't be used: %s",
				       chain_name_show(recorded, shown), fault)
			     : err_set(err, -ENOMEM, "out of memory while opening an image");
	}
	*s = (struct api_source){ .ops = ops, .source = source.source };
	found->is_source = true;
	found->source = (struct source){
		.ops = { .read = read_source,
			 .extents = ops.extents ? ask_extents : NULL,
			 .close = close_api_source,
			 .leave = ops.leave ? leave_api_source : NULL },
		.opaque = s,
		.len = source.length,
		.block_len = source.block_size ? source.block_size : 1,
		.max_len = source.max_size ? source.max_size : DEFAULT_MAX_LEN,
		.identity = source.identity,
		.expect = expect,
	};
	return 0;
}

/* The error's sentence: the program's, or else the library's own. */
static int take_refusal(int rc, const struct bpull_error *error, const char *recorded,
			struct err *err)
{
	char shown[CHAIN_NAME_SHOWN];

	if (error->message[0])
		return err_set(err, rc, "%.1023s", error->message);
	return err_errno(err, rc, "'%s' was refused", chain_name_show(recorded, shown));
}

int source_find(void *opaque, const char *name, const char *recorded, struct chain_found *found,
		struct err *err)
{
	const struct bpull_disk_options *options = opaque;
	struct bpull_open_request request = {
		.size = sizeof(request),
		.name = name,
		.recorded = recorded,
		.need = BPULL_OPEN_READ,
		.what = BPULL_OPEN_IMAGE,
	};
	struct bpull_base base = { .size = sizeof(base) };
	struct bpull_error error = { 0 };
	char shown[CHAIN_NAME_SHOWN];
	/* find_base() may wait for a network; the engine's other threads must not wait for it. */
	int rc = WAITING(options->find_base(options->find_opaque, &request, &base, &error));

	if (rc < 0)
		return take_refusal(rc, &error, name, err);
	if (rc)
		return 1;
	if (base.format > OPTIONS_LAST_FORMAT || (base.path && base.source.ops)) {
		free(base.path);
		if (base.source.ops)
			close_given(&base.source);
		return err_set(err, -EINVAL,
			       "'%s': find_base gave a format that is not known, or both a source "
			       "and a path",
			       chain_name_show(name, shown));
	}
	found->format = (enum image_format)base.format;
	found->path = base.path;
	found->path_is_allowed = base.path_is_allowed;
	if (!base.source.ops)
		return base.path ? 0 : 1;
	return take_source(&base.source, name, found, err);
}
