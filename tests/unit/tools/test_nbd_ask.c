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
	struct ask_piece piece = { .sent = { .offset = 4096, .len = 100000 } };

	for (unsigned i = 0; i < 100000; i += 1000) {
		cr_assert(!ask_is_whole(&piece));
		cr_assert(ask_take_part(&piece, 4096 + i, 1000));
	}
	cr_assert(ask_is_whole(&piece));
	cr_assert(!ask_take_part(&piece, 4096 + 99999, 1));
}

/* Against a map of bytes: what comes twice, or lies outside, is refused; the whole is the whole. */
Test(nbd_ask, drawn_parts_count_once_and_only_inside)
{
	unsigned seed = getenv("ASK_SEED") ? atoi(getenv("ASK_SEED")) : 1;

	for (unsigned play = 0; play < 20000; play++, seed++) {
		struct ask_piece piece = { .sent = { .offset = 64, .len = 24 } };
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

/* Against the disk's bytes: limits are drawn anew for each request of a piece. */
Test(nbd_ask, what_is_sent_keeps_to_the_limits_of_the_moment)
{
	enum {
		BLOCK = 512,
		N_BLOCKS = 200
	};
	unsigned seed = getenv("ASK_SEED") ? atoi(getenv("ASK_SEED")) : 1;
	static uint8_t disk[N_BLOCKS * BLOCK], buf[sizeof(disk)];

	for (size_t i = 0; i < sizeof(disk); i++)
		disk[i] = i % 251;
	for (unsigned play = 0; play < 5000; play++, seed++) {
		struct ask *ask;
		struct ask_piece *piece;
		bool is_over = false;
		size_t off, len;

		srand(seed);
		off = rand() % (sizeof(disk) - 1);
		len = 1 + rand() % (sizeof(disk) - off);
		ask = ask_new_read(NULL, BPULL_SOURCE_JOB, buf, len, off, sizeof(disk));
		piece = &ask->pieces[0];
		memset(buf, 0xee, sizeof(buf));
		for (unsigned n = 0; !is_over; n++) {
			uint32_t block = BLOCK >> rand() % 10, max = block * (1 + rand() % 40);

			cr_assert_lt(n, 2 * sizeof(disk), "ASK_SEED=%u", seed);
			cr_assert_eq(ask_begin_sent(piece, block, max), 0);
			cr_assert(piece->sent.len && piece->sent.len <= max &&
					  piece->sent.offset % block == 0 &&
					  piece->sent.len % block == 0 &&
					  piece->sent.offset + piece->sent.len <= sizeof(disk),
				  "ASK_SEED=%u", seed);
			if (rand() % 4 == 0) /* the connection was lost */
				continue;
			memcpy(piece->sent.buf, disk + piece->sent.offset, piece->sent.len);
			is_over = ask_end_sent(piece);
		}
		cr_assert(!memcmp(buf, disk + off, len), "ASK_SEED=%u", seed);
		cr_assert(len == sizeof(buf) || buf[len] == 0xee, "ASK_SEED=%u", seed);
		ask_piece_over(piece, 0);
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
	struct ask *ask = ask_new_extents(NULL, BPULL_SOURCE_CALL, 4097, 5000);

	cr_assert_eq(ask_begin_sent(&ask->pieces[0], 4096, 65536), 0);
	cr_assert_eq(ask->pieces[0].sent.offset, 4096);
	cr_assert_eq(ask->pieces[0].sent.len, 8192);
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
	struct ask *ask = ask_new_extents(NULL, BPULL_SOURCE_JOB, 0, 8192);

	cr_assert_eq(ask_begin_sent(&ask->pieces[0], 1, 4096), 0); /* extents are not cut */
	ask_take_extents(&ask->pieces[0], entries, 6, 2);
	ask_piece_over(&ask->pieces[0], 0);
	cr_assert(ended.n == 1 && ended.extents[0].length == 4096);
}

Test(nbd_ask, an_error_tells_no_extents)
{
	uint32_t entries[] = { 4096, 2 };
	struct ask *ask = ask_new_extents(NULL, BPULL_SOURCE_JOB, 0, 4096);

	cr_assert_eq(ask_begin_sent(&ask->pieces[0], 1, 4096), 0);
	ask_take_extents(&ask->pieces[0], entries, 2, 2);
	ask_piece_over(&ask->pieces[0], -EIO);
	cr_assert(ended.rc == -EIO && ended.n == 0);
}
