/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Taking and giving back clusters of a QED image: formats/qed/space.h. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "formats/core/layer_fill.h"
#include "formats/qed/image.h"
#include "formats/qed/space.h"
#include "io/base.h"
#include "io/file.h"

#define CLUSTER   4096u
#define TABLE_LEN (4 * CLUSTER)
#define START     (16 * CLUSTER)

static struct file file;
static struct qed q;

static void begin(bool is_block, uint64_t len)
{
	file = (struct file){ .is_block = is_block, .len = len };
	q = (struct qed){ .table_len = TABLE_LEN };
	q.layer.file = &file;
	q.layer.cluster_len = CLUSTER;
	q.layer.alloc_end = START;
	q.layer.zero_from = is_block ? UINT64_MAX : START;
}

static uint64_t reserved(uint64_t len)
{
	uint64_t host_off, got;

	cr_assert_eq(qed_reserve(&q.layer, len, &host_off, &got), 0);
	cr_assert_eq(got, len);
	return host_off;
}

Test(qed_reserve, what_comes_back_is_handed_out_first)
{
	begin(false, 0);
	cr_assert_eq(reserved(2 * CLUSTER), START);
	cr_assert_eq(reserved(CLUSTER), START + 2 * CLUSTER);
	qed_release(&q.layer, START, CLUSTER);
	cr_assert(q.may_leak);
	cr_assert_eq(reserved(CLUSTER), START);
	cr_assert_eq(reserved(CLUSTER), START + 3 * CLUSTER);
}

Test(qed_reserve, the_end_comes_back_with_the_gap_before_it)
{
	begin(false, 0);
	reserved(3 * CLUSTER);
	qed_release(&q.layer, START + CLUSTER, CLUSTER);
	cr_assert_eq(q.layer.alloc_end, START + 3 * CLUSTER);
	qed_release(&q.layer, START + 2 * CLUSTER, CLUSTER);
	cr_assert_eq(q.layer.alloc_end, START + CLUSTER);
	qed_release(&q.layer, START, 0);
	cr_assert_eq(q.layer.alloc_end, START + CLUSTER);
}

Test(qed_reserve, tables_go_where_nothing_was_written)
{
	uint64_t table;

	begin(false, 0);
	reserved(3 * CLUSTER);
	qed_release(&q.layer, START, 3 * CLUSTER);
	cr_assert_eq(q.layer.zero_from, START + 3 * CLUSTER);
	cr_assert_eq(qed_reserve_table(&q, &table), 0);
	cr_assert_eq(table, START + 3 * CLUSTER, "not into what may have been written");
	cr_assert_eq(q.layer.alloc_end, table + TABLE_LEN);
	cr_assert_eq(reserved(3 * CLUSTER), START, "which data may have");
}

Test(qed_reserve, a_device_is_full_and_a_file_is_too_large)
{
	uint64_t host_off, got, table;

	begin(true, START + 3 * CLUSTER + 1000);
	cr_assert_eq(qed_reserve_table(&q, &table), -ENOSPC);
	cr_assert_eq(qed_reserve(&q.layer, 5 * CLUSTER, &host_off, &got), 0);
	cr_assert(host_off == START && got == 3 * CLUSTER, "as much as there is");
	cr_assert_eq(qed_reserve(&q.layer, CLUSTER, &host_off, &got), -ENOSPC);
	begin(false, 0);
	q.layer.alloc_end = q.layer.zero_from = round_down(INT64_MAX, CLUSTER);
	cr_assert_eq(qed_reserve(&q.layer, CLUSTER, &host_off, &got), -EFBIG);
	cr_assert_eq(qed_reserve_table(&q, &table), -EFBIG);
}

Test(qed_reserve, there_is_one_copy_for_which_space_is_reserved)
{
	struct destination out = { .host_off = 5 };

	begin(false, 0);
	cr_assert_eq(qed_copy_target(&q.layer, 0, 3 * CLUSTER, 0, &out, NULL), 0);
	cr_assert(out.len == 3 * CLUSTER && out.host_off == 0);
	cr_assert_eq(qed_copy_target(&q.layer, 0, CLUSTER, 1, &out, NULL), -ENOENT);
}

/* No cluster has two owners, and none is lost while the list of gaps has room. */
Test(qed_reserve, drawn_orders_hand_each_cluster_out_once)
{
	for (unsigned seed = 1; seed <= 50; seed++) {
		uint8_t owned[256] = { 0 };
		unsigned n_owned = 0, n_gaps = 0;

		srand(seed);
		begin(false, 0);
		for (unsigned i = 0; i < 400; i++) {
			uint64_t host_off, got, at;

			if (n_owned < 60 && rand() % 2) {
				cr_assert_eq(qed_reserve(&q.layer,
							 (1 + (uint64_t)rand() % 4) * CLUSTER,
							 &host_off, &got),
					     0);
				for (at = host_off; at < host_off + got; at += CLUSTER) {
					cr_assert(at >= START && at / CLUSTER < 256);
					cr_assert_eq(owned[at / CLUSTER]++, 0, "seed %u", seed);
					n_owned++;
				}
				continue;
			}
			at = START / CLUSTER + (uint64_t)rand() % 240;
			if (!owned[at])
				continue;
			owned[at] = 0;
			n_owned--;
			qed_release(&q.layer, at * CLUSTER, CLUSTER);
		}
		for (unsigned i = 0; i < q.gaps.n; i++)
			n_gaps += (unsigned)(q.gaps.list[i].len / CLUSTER);
		cr_assert_eq((q.layer.alloc_end - START) / CLUSTER, n_owned + n_gaps, "seed %u",
			     seed);
	}
}
