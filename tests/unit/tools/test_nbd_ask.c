/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* tools/nbd/ask.c: which parts of an answer are the whole, and which extents are believed. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/time_limit.h"
#include "tools/nbd/ask.h"

static struct {
	unsigned n_ends;
	int rc;
	struct bpull_source_extent extents[ASK_MAX_EXTENTS];
	size_t n;
} ended;

void bpull_source_read_done(struct bpull_source_ask *ask, int rc)
{
	ended.n_ends++;
	ended.rc = rc;
}

void bpull_source_extents_done(struct bpull_source_ask *ask, int rc,
			       const struct bpull_source_extent *extents, size_t n)
{
	ended.n_ends++;
	ended.rc = rc;
	ended.n = n;
	if (n)
		memcpy(ended.extents, extents, n * sizeof(*extents));
}

TIME_LIMIT(60);

Test(nbd_ask, parts_in_order_are_the_whole)
{
	struct ask_piece piece = { .offset = 4096, .len = 100000 };

	for (unsigned i = 0; i < 100000; i += 1000) {
		cr_assert(!ask_is_whole(&piece));
		cr_assert(ask_take_part(&piece, 4096 + i, 1000));
	}
	cr_assert(ask_is_whole(&piece));
	cr_assert(!ask_take_part(&piece, 4096 + 99999, 1));
}

/* Against a map of bytes: what comes twice, or lies outside, is refused; the whole is the whole. */
Test(nbd_ask, drawn_parts)
{
	unsigned seed = getenv("ASK_SEED") ? atoi(getenv("ASK_SEED")) : 1;

	for (unsigned play = 0; play < 20000; play++, seed++) {
		struct ask_piece piece = { .offset = 64, .len = 24 };
		bool came[24] = { false };

		srand(seed);
		for (unsigned step = 0; step < 12; step++) {
			int at = rand() % 28 - 2, len = 1 + rand() % 6;
			bool is_new = at >= 0 && at + len <= 24, is_whole = true;

			for (int i = at; is_new && i < at + len; i++)
				is_new = !came[i];
			cr_assert_eq(ask_take_part(&piece, 64 + at, len), is_new, "ASK_SEED=%u",
				     seed);
			for (int i = at; is_new && i < at + len; i++)
				came[i] = true;
			for (int i = 0; i < 24; i++)
				is_whole &= came[i];
			cr_assert_eq(ask_is_whole(&piece), is_whole, "ASK_SEED=%u", seed);
		}
	}
}

Test(nbd_ask, a_question_ends_once_with_its_first_error)
{
	static uint8_t buf[10000];
	struct ask *ask = ask_new_read(NULL, BPULL_SOURCE_JOB, buf, sizeof(buf), 512, 4096);

	cr_assert_eq(ask->n_pieces, 3);
	cr_assert_eq(ask->pieces[2].offset, 512 + 8192);
	cr_assert_eq(ask->pieces[2].len, 10000 - 8192);
	cr_assert_eq(ask->pieces[2].buf, buf + 8192);
	ask_piece_over(&ask->pieces[2], -EIO);
	ask_piece_over(&ask->pieces[0], -ESTALE);
	cr_assert_eq(ended.n_ends, 0);
	ask_piece_over(&ask->pieces[1], 0);
	cr_assert_eq(ended.n_ends, 1);
	cr_assert_eq(ended.rc, -EIO);
}

Test(nbd_ask, extents_are_cut_to_what_was_asked)
{
	uint32_t entries[] = { 4000, 3, 200, 0, 5000, 2, 0, 3, 70000, 3 };
	struct ask *ask = ask_new_extents(NULL, BPULL_SOURCE_CALL, 4097, 5000, 4096, 1 << 20);

	cr_assert_eq(ask->pieces[0].offset, 4096);
	cr_assert_eq(ask->pieces[0].len, 8192);
	ask_take_extents(&ask->pieces[0], entries, 10, 2);
	ask_take_extents(&ask->pieces[0], entries, 2, 2); /* a second answer does not count */
	ask_piece_over(&ask->pieces[0], 0);
	cr_assert_eq(ended.n, 3);
	cr_assert(ended.extents[0].length == 3999 && ended.extents[0].is_zero);
	cr_assert(ended.extents[1].length == 200 && !ended.extents[1].is_zero);
	cr_assert(ended.extents[2].length == 801 && ended.extents[2].is_zero);
}

Test(nbd_ask, what_follows_an_extent_of_no_length_is_not_believed)
{
	uint32_t entries[] = { 4096, 2, 0, 2, 4096, 2 };
	struct ask *ask = ask_new_extents(NULL, BPULL_SOURCE_JOB, 0, 8192, 1, 1 << 20);

	ask_take_extents(&ask->pieces[0], entries, 6, 2);
	ask_piece_over(&ask->pieces[0], 0);
	cr_assert(ended.n == 1 && ended.extents[0].length == 4096);
}

Test(nbd_ask, an_error_tells_no_extents)
{
	uint32_t entries[] = { 4096, 2 };
	struct ask *ask = ask_new_extents(NULL, BPULL_SOURCE_JOB, 0, 4096, 1, 1 << 20);

	ask_take_extents(&ask->pieces[0], entries, 2, 2);
	ask_piece_over(&ask->pieces[0], -EIO);
	cr_assert(ended.rc == -EIO && ended.n == 0);
}
