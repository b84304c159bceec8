/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* When what lies around a guest's read is copied with it, and how much. */
#include <criterion/criterion.h>

#include "engine/core/disk.h"
#include "engine/guest/neighbours.h"
#include "formats/chain/chain.h"

#define MS UINT64_C(1000000)

TestSuite(around, .timeout = 60);

static struct layer overlay;
static struct chain chain;
static struct bpull_disk disk;

static void set_up(void)
{
	overlay.backed_len = 10 * MiB + 100 * KiB;
	chain.layers[0] = &overlay;
	disk = (struct bpull_disk){ .chain = &chain };
}

static void expect(uint64_t lo, uint64_t hi, uint64_t want_lo, uint64_t want_hi)
{
	struct range around = neighbours_around(&disk, lo, hi);

	cr_assert(around.lo == want_lo && around.hi == want_hi, "[%ju, %ju)", (uintmax_t)around.lo,
		  (uintmax_t)around.hi);
}

Test(around, a_quick_base_is_read_alone, .init = set_up)
{
	expect(MiB, MiB + 1, MiB, MiB + 1);
	neighbours_note(&disk, MS / 10);
	expect(MiB, MiB + 1, MiB, MiB + 1);
	neighbours_note(&disk, 10 * MS); /* one that was late, among quick ones */
	expect(MiB, MiB + 1, MiB, MiB + 1);
}

Test(around, a_slow_base_brings_what_is_near, .init = set_up)
{
	neighbours_note(&disk, 20 * MS);
	expect(MiB + 70 * KiB, MiB + 71 * KiB, MiB, MiB + 256 * KiB);
	expect(MiB, MiB + 256 * KiB, MiB, MiB + 256 * KiB);
	expect(MiB + 255 * KiB, MiB + 257 * KiB, MiB, MiB + 512 * KiB);
	/* Never into another chunk of 4 MiB. */
	expect(4 * MiB - 512, 4 * MiB, 4 * MiB - 256 * KiB, 4 * MiB);
	/* The disk's end. */
	expect(10 * MiB + 50 * KiB, 10 * MiB + 51 * KiB, 10 * MiB, 10 * MiB + 100 * KiB);
	expect(10 * MiB, 10 * MiB + 128 * KiB, 10 * MiB, 10 * MiB + 128 * KiB);
}

Test(around, a_base_that_became_quick_is_so_soon, .init = set_up)
{
	neighbours_note(&disk, 20 * MS);
	for (unsigned i = 0; i < 8; i++)
		neighbours_note(&disk, MS / 10);
	expect(MiB, MiB + 1, MiB, MiB + 1);
}
