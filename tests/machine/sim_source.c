/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See sim_source.h. An error that is ordered of the machine's reads (sim_fail()) meets these. */
#include "tests/machine/sim_source.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <xxhash.h>

#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_source_private.h"

#define MAX_EXTENTS 48

/* ---- What it answers ---- */

static uint64_t source_len(const struct sim_source *s)
{
	return sim_file_len(s->all->sim, s->name);
}

/* What is there; all of it is called zeros by one that lies. */
static unsigned draw_extents(struct sim_source *s, const struct question *q, bool lies,
			     struct bpull_source_extent *out)
{
	struct sim *sim = s->all->sim;
	uint8_t *bytes = sim_need(malloc(q->len));
	unsigned n = 0;
	uint64_t at = 0;

	sim_file_peek(sim, s->name, bytes, q->len, q->off);
	while (at < q->len && n + 2 < MAX_EXTENTS) {
		uint64_t from = at;
		bool is_zero = lies || !bytes[at];

		while (at < q->len && (lies || !bytes[at] == is_zero))
			at++;
		if (!is_zero || sim_chance(sim, 200)) /* a part of it, or more than that */
			at = MIN(q->len, from + 1 + sim_below(sim, 3 * (at - from)));
		is_zero &= lies ||
			   (!bytes[from] && !memcmp(bytes + from, bytes + from + 1, at - from - 1));
		if (sim_chance(sim, 50))
			out[n++] = (struct bpull_source_extent){ .is_zero = 1 };
		out[n++] = (struct bpull_source_extent){
			.length = at - from, .is_zero = is_zero && (lies || !sim_chance(sim, 100))
		};
		if (sim_chance(sim, 30)) /* the rest is not told */
			break;
	}
	/* Behind the end nothing counts. */
	if (at == q->len && sim_chance(sim, 300))
		out[n - 1].length += 4096;
	free(bytes);
	return n;
}

static void answer_extents(struct sim_source *s, const struct question *q, int rc)
{
	struct bpull_source_extent extents[MAX_EXTENTS];
	bool lies = !rc && s->all->may_fail && s->how.chunk_size &&
		    sim_chance(s->all->sim, 8 * s->how.lie_permille); /* asked once */
	unsigned n = rc ? 0 : draw_extents(s, q, lies, extents);

	bpull_source_extents_done(q->ask, rc, extents, n);
}

static void answer_read(struct sim_source *s, const struct question *q, int rc)
{
	struct sim *sim = s->all->sim;

	if (!rc) {
		sim_file_peek(sim, s->name, q->buf, q->len, q->off);
		sim_source_note_read(s, q);
		if (s->all->may_fail && s->how.chunk_size && sim_chance(sim, s->how.lie_permille)) {
			q->buf[sim_below(sim, q->len)] ^= (uint8_t)(1 + sim_below(sim, 255));
			s->all->counts.wrong++;
		}
	}
	bpull_source_read_done(q->ask, rc);
}

static void tell_other(struct sim_source *s)
{
	s->all->counts.stale++;
	if (s->is_told)
		return;
	s->is_told = true;
	if (s->changed)
		s->changed(s->changed_arg);
}

/* 0, or what the question is ended with. */
static int draw_result(struct sim_source *s)
{
	struct sim *sim = s->all->sim;
	struct sim_sources_counts *counts = &s->all->counts;
	int rc = sim_op_begin(sim, SIM_READ, sim_file_find(sim, s->name));

	if (s->away_until_ns > sim_now_ns(sim)) {
		counts->away++;
		return -EHOSTUNREACH;
	}
	if (s->is_other) {
		tell_other(s);
		return -ESTALE;
	}
	if (!rc && s->all->may_fail && sim_chance(sim, s->how.fail_permille))
		rc = -EIO;
	counts->failed += rc != 0;
	s->n_good += !rc;
	return rc;
}

static void take_out(const struct question *q)
{
	struct question **at = &q->source->questions;

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
}

static void end_question(struct question *q, int rc)
{
	struct sim_source *s = q->source;
	uint64_t n_wrong = s->all->counts.wrong;

	take_out(q);
	sim_op_trace(s->all->sim, SIM_READ, q->off, q->len, rc);
	if (q->buf)
		answer_read(s, q, rc);
	else
		answer_extents(s, q, rc);
	q->n_bad += (rc && rc != -ECANCELED) || s->all->counts.wrong != n_wrong;
	sim_source_leave_bad(s, q);
	free(q);
}

/* One that finds it away waits for it a while. */
static void come_due(void *arg)
{
	struct question *q = arg;
	struct sim_source *s = q->source;
	struct sim *sim = s->all->sim;
	uint64_t give_up_ns = q->asked_ns + s->how.patience_ns;

	if (s->away_until_ns > sim_now_ns(sim) && give_up_ns > sim_now_ns(sim))
		sim_later(sim, MIN(give_up_ns, s->away_until_ns), come_due, q);
	else
		end_question(q, draw_result(s));
}

/* ---- How it is asked ---- */

static void refuse(const struct sim_source *s, const char *what, uint64_t off, uint64_t len)
{
	fprintf(stderr, "sim: the source %s: %s (%#llx+%#llx)\n", s->name, what,
		(unsigned long long)off, (unsigned long long)len);
	abort();
}

static void ask(struct sim_source *s, uint8_t *buf, uint64_t off, uint64_t len,
		enum bpull_source_asker asker, struct bpull_source_ask *ask)
{
	struct sim *sim = s->all->sim;
	struct question *q = sim_need(calloc(1, sizeof(*q)));

	*q = (struct question){ .source = s,
				.ask = ask,
				.buf = buf,
				.off = off,
				.len = len,
				.is_of_call = asker == BPULL_SOURCE_CALL,
				.asked_ns = sim_now_ns(sim),
				.next = s->questions };
	sim_source_take_bad(s, q);
	s->questions = q;
	s->all->counts.asked++;
	if (!s->n_open || off + len > source_len(s) || !len)
		refuse(s, "asked for what it is not", off, len);
	if (asker == BPULL_SOURCE_CALL) { /* which sleeps until then */
		sim_advance(sim, sim_below(sim, s->how.max_delay_ns + 1));
		end_question(q, draw_result(s));
	} else if (sim_chance(sim, s->how.inside_permille)) {
		end_question(q, draw_result(s));
	} else {
		sim_later(sim, sim_now_ns(sim) + sim_below(sim, s->how.max_delay_ns + 1), come_due,
			  q);
	}
}

static void read_it(void *source, void *buf, size_t len, uint64_t off,
		    enum bpull_source_asker asker, struct bpull_source_ask *question)
{
	struct sim_source *s = source;
	uint64_t block = MAX(s->how.block_size, 1u), max = s->how.max_size ? s->how.max_size : MiB;

	if (off % block || (len % block && off + len != source_len(s)) || len > max)
		refuse(s, "a read that does not fit it", off, len);
	memset(buf, 0xa5, len);
	ask(s, buf, off, len, asker, question);
}

static void tell_extents(void *source, uint64_t off, uint64_t len, enum bpull_source_asker asker,
			 struct bpull_source_ask *question)
{
	if (len > GiB)
		refuse(source, "a question that is too long", off, len);
	ask(source, NULL, off, len, asker, question);
}

static void close_it(void *source)
{
	struct sim_source *s = source;

	if (!s->n_open)
		refuse(s, "closed, and it was not open", 0, 0);
	/* What is asked at the last close: two disks may read it. */
	while (s->n_open == 1 && s->questions) {
		sim_later_drop(s->all->sim, s->questions);
		end_question(s->questions, -ECANCELED);
	}
	s->n_open--;
}

/* ---- Names ---- */

/* Freed by the caller. */
static void *make_digests(struct sim_source *s, uint64_t *n)
{
	uint64_t len = source_len(s), chunk = s->how.chunk_size;
	uint8_t *bytes = sim_need(malloc(len + 1));
	XXH128_canonical_t *digests;

	*n = div_round_up(len, chunk);
	digests = sim_need(calloc(*n + 1, sizeof(*digests)));
	sim_file_peek(s->all->sim, s->name, bytes, len, 0);
	for (uint64_t i = 0; i < *n; i++)
		XXH128_canonicalFromHash(
			&digests[i], XXH3_128bits(bytes + i * chunk, MIN(chunk, len - i * chunk)));
	free(bytes);
	return digests;
}

/* The digests stay until the source is opened: those of the last one that was found. */
static const void *keep_digests(struct sim_source *s, uint64_t *n)
{
	static void *kept;

	free(kept);
	kept = s->how.chunk_size ? make_digests(s, n) : NULL;
	return kept;
}

int sim_sources_find(void *opaque, const struct bpull_open_request *request,
		     struct bpull_base *base, struct bpull_error *error)
{
	static const struct bpull_source_ops with_extents = { .size = sizeof(with_extents),
							      .read = read_it,
							      .extents = tell_extents,
							      .close = close_it };
	static const struct bpull_source_ops without = { .size = sizeof(without),
							 .read = read_it,
							 .close = close_it };
	struct sim_sources *all = opaque;

	for (unsigned i = 0; i < all->n; i++) {
		struct sim_source *s = &all->of[i];
		uint64_t n_chunks = 0;

		if (strcmp(s->recorded, request->name) != 0)
			continue;
		s->n_open++;
		base->source = (struct bpull_source){
			.size = sizeof(base->source),
			.ops = s->how.has_extents ? &with_extents : &without,
			.source = s,
			.length = source_len(s),
			.block_size = s->how.block_size,
			.max_size = s->how.max_size,
			.identity = s->how.has_identity ? s->name : NULL,
			.chunk_digests = keep_digests(s, &n_chunks),
			.n_chunks = n_chunks,
			.chunk_size = s->how.chunk_size,
		};
		return 0;
	}
	return 1;
}

struct sim_sources *sim_sources_new(struct sim *sim)
{
	struct sim_sources *all = sim_need(calloc(1, sizeof(*all)));

	all->sim = sim;
	return all;
}

void sim_sources_free(struct sim_sources *all)
{
	for (unsigned i = 0; all && i < all->n; i++)
		if (all->of[i].n_open || all->of[i].questions)
			refuse(&all->of[i], "it was not closed", 0, 0);
	for (unsigned i = 0; all && i < all->n; i++)
		free(all->of[i].was_read);
	free(all);
}

void sim_sources_add(struct sim_sources *all, const char *recorded,
		     const struct sim_source_how *how)
{
	struct sim_source *s = &all->of[all->n++];

	assert(all->n <= SIM_SOURCES_MAX);
	*s = (struct sim_source){ .all = all, .recorded = recorded, .how = *how };
	snprintf(s->name, sizeof(s->name), "/%s", recorded);
}
