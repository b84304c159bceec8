/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See mem_source.h. */
#include "tests/support/files/mem_source.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/random.h"

#define MAX_ASKED   4096
#define EXTENT_STEP 1000u /* so that they end anywhere */
#define MAX_EXTENTS 4096u

struct asked {
	void *buf; /* NULL: for extents */
	uint64_t len, off;
	struct bpull_source_ask *ask;
};

struct mem_source {
	struct mem_source_how how;
	struct bpull_source_ops ops;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct asked asked[MAX_ASKED];
	unsigned n_asked, n_running, n_reads, n_guest, n_job, n_open, fails_from;
	uint64_t bytes_read, random;
	int rc, extents_rc;
	bool ends;
	const char *fault;
};

static void note_fault(struct mem_source *s, const char *what)
{
	if (!s->fault)
		s->fault = what;
}

static void judge_read(struct mem_source *s, const struct asked *a)
{
	uint64_t block = s->how.block_size ? s->how.block_size : 1;
	uint64_t max = s->how.max_size ? s->how.max_size : 1u << 20;

	if (a->off % block)
		note_fault(s, "an offset that is no multiple of block_size");
	if (a->len % block && a->off + a->len != s->how.len)
		note_fault(s, "a length that is no multiple of block_size");
	if (!a->len || a->len > max)
		note_fault(s, "a length of 0, or beyond max_size");
	if (a->off > s->how.len || a->len > s->how.len - a->off)
		note_fault(s, "a range outside the source");
}

static void judge_extents(struct mem_source *s, const struct asked *a)
{
	if (!a->len || a->len > UINT64_C(1) << 30)
		note_fault(s, "extents of no length, or of more than 1 GiB");
	if (a->off > s->how.len || a->len > s->how.len - a->off)
		note_fault(s, "extents of a range outside the source");
}

static bool is_zero(const uint8_t *bytes, uint64_t n)
{
	return !n || (!bytes[0] && !memcmp(bytes, bytes + 1, n - 1));
}

/* Every zero is told but some, and extents of no length stand between them. */
static unsigned tell_extents(struct mem_source *s, const struct asked *a,
			     struct bpull_source_extent *out)
{
	uint64_t at = a->off, end = a->off + a->len;
	unsigned n = 0;

	while (at < end && n < MAX_EXTENTS - 1) {
		uint64_t len = s->how.len - at;
		uint32_t zero;

		len = len < EXTENT_STEP ? len : EXTENT_STEP;
		zero = is_zero(s->how.bytes + at, len) &&
		       (s->how.tells_all || random_below(&s->random, 500));
		if (!random_below(&s->random, 16))
			out[n++] = (struct bpull_source_extent){ .is_zero = 1 };
		if (n && out[n - 1].is_zero == zero)
			out[n - 1].length += len;
		else
			out[n++] = (struct bpull_source_extent){ .length = len, .is_zero = zero };
		at += len;
	}
	return n;
}

/* The lock is held; the end is told without. */
static void end_question(struct mem_source *s, const struct asked *a)
{
	bool fails = a->buf ? s->n_reads >= s->fails_from : s->extents_rc || !s->fails_from;
	int rc = !fails ? 0 : !a->buf && s->extents_rc ? s->extents_rc : s->rc;
	static _Thread_local struct bpull_source_extent extents[MAX_EXTENTS];
	unsigned n = 0;

	if (a->buf) {
		s->n_reads++;
		s->bytes_read += a->len;
		judge_read(s, a);
	} else {
		judge_extents(s, a);
		n = tell_extents(s, a, extents);
	}
	if (s->fault)
		rc = -EFAULT;
	s->n_running++;
	pthread_mutex_unlock(&s->lock);
	if (a->buf && !rc)
		memcpy(a->buf, s->how.bytes + a->off, a->len);
	if (a->buf)
		bpull_source_read_done(a->ask, rc);
	else
		bpull_source_extents_done(a->ask, rc, extents, n);
	pthread_mutex_lock(&s->lock);
	s->n_running--;
	pthread_cond_broadcast(&s->changed);
}

static void *answer(void *opaque)
{
	struct mem_source *s = opaque;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct asked a;
		unsigned i, pause_us;

		while (!s->n_asked && !s->ends)
			pthread_cond_wait(&s->changed, &s->lock);
		if (!s->n_asked)
			break;
		pause_us = (unsigned)random_below(&s->random, s->how.max_pause_us + 1);
		if (pause_us) {
			pthread_mutex_unlock(&s->lock);
			usleep(pause_us);
			pthread_mutex_lock(&s->lock);
		}
		if (!s->n_asked) /* closed meanwhile */
			continue;
		i = (unsigned)random_below(&s->random, s->n_asked);
		a = s->asked[i];
		s->asked[i] = s->asked[--s->n_asked];
		end_question(s, &a);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void ask(struct mem_source *s, struct asked a, enum bpull_source_asker asker)
{
	pthread_mutex_lock(&s->lock);
	s->n_guest += asker == BPULL_SOURCE_GUEST;
	s->n_job += asker == BPULL_SOURCE_JOB;
	if (s->how.ends_inside || s->n_asked == MAX_ASKED)
		end_question(s, &a);
	else
		s->asked[s->n_asked++] = a;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void read_mem(void *source, void *buf, size_t len, uint64_t off,
		     enum bpull_source_asker asker, struct bpull_source_ask *question)
{
	ask(source, (struct asked){ .buf = buf, .len = len, .off = off, .ask = question }, asker);
}

static void extents_mem(void *source, uint64_t off, uint64_t len, enum bpull_source_asker asker,
			struct bpull_source_ask *question)
{
	ask(source, (struct asked){ .len = len, .off = off, .ask = question }, asker);
}

static void close_mem(void *source)
{
	struct mem_source *s = source;

	pthread_mutex_lock(&s->lock);
	s->n_open--;
	while (s->n_asked) {
		struct asked a = s->asked[--s->n_asked];

		pthread_mutex_unlock(&s->lock);
		if (a.buf)
			bpull_source_read_done(a.ask, -ECANCELED);
		else
			bpull_source_extents_done(a.ask, -ECANCELED, NULL, 0);
		pthread_mutex_lock(&s->lock);
	}
	while (s->n_running)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

struct mem_source *mem_source_new(const struct mem_source_how *how)
{
	struct mem_source *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->how = *how;
	s->random = how->seed;
	s->fails_from = UINT32_MAX;
	s->ops = (struct bpull_source_ops){
		.size = sizeof(s->ops),
		.read = read_mem,
		.extents = how->has_extents ? extents_mem : NULL,
		.close = close_mem,
	};
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	if (pthread_create(&s->thread, NULL, answer, s))
		abort();
	return s;
}

void mem_source_fail(struct mem_source *s, int rc)
{
	pthread_mutex_lock(&s->lock);
	s->rc = rc;
	s->fails_from = rc ? 0 : UINT32_MAX;
	pthread_mutex_unlock(&s->lock);
}

void mem_source_fail_from(struct mem_source *s, unsigned n, int rc)
{
	pthread_mutex_lock(&s->lock);
	s->rc = rc;
	s->fails_from = s->n_reads + n;
	pthread_mutex_unlock(&s->lock);
}

void mem_source_fail_extents(struct mem_source *s, int rc)
{
	pthread_mutex_lock(&s->lock);
	s->extents_rc = rc;
	pthread_mutex_unlock(&s->lock);
}

#define GET(type, name)                                    \
	type mem_source_##name(const struct mem_source *s) \
	{                                                  \
		return s->name;                            \
	}
GET(unsigned, n_reads)
GET(uint64_t, bytes_read)
GET(unsigned, n_guest)
GET(unsigned, n_job)
GET(unsigned, n_open)
GET(const char *, fault)

void mem_source_free(struct mem_source *s)
{
	pthread_mutex_lock(&s->lock);
	s->ends = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
	free(s);
}

static void give(struct mem_source *s, struct bpull_base *base)
{
	s->n_open++;
	base->format = s->how.format;
	base->source = (struct bpull_source){
		.size = sizeof(base->source),
		.ops = &s->ops,
		.source = s,
		.length = s->how.len,
		.block_size = s->how.block_size,
		.max_size = s->how.max_size,
		.identity = s->how.identity,
		.chunk_digests = s->how.chunk_digests,
		.n_chunks = s->how.n_chunks,
		.chunk_size = s->how.chunk_size,
	};
}

int mem_sources_find(void *opaque, const struct bpull_open_request *request,
		     struct bpull_base *base, struct bpull_error *error)
{
	const struct mem_sources *sources = opaque;

	if (sources->refused && !strcmp(request->name, sources->refused)) {
		snprintf(error->message, sizeof(error->message), "that server is not allowed");
		return -EPERM;
	}
	if (sources->mapped && !strcmp(request->name, sources->mapped)) {
		base->path = strdup(sources->mapped_to);
		base->path_is_allowed = sources->mapped_is_allowed;
		return 0;
	}
	for (unsigned i = 0; i < 4 && sources->of[i]; i++)
		if (!strcmp(request->name, sources->of[i]->how.recorded)) {
			give(sources->of[i], base);
			return 0;
		}
	return 1;
}
