/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One fault in each field that a qcow2 check reads, and what it finds. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/image/disk.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"
#include "tests/unit/formats/qcow2/check_rig.h"

enum target {
	L1,       /* entry 0 of the L1 table */
	L2,       /* + n: entry n of the L2 table */
	REFTABLE, /* + n */
	REFCOUNT, /* + n: of host cluster n, 16 bits */
};

/* What replaces the entry: old & keep | set, with these standing for offsets in the image. */
#define AT_REFTABLE (UINT64_C(1) << 60)
#define AT_L2       (UINT64_C(2) << 60)
#define AT_DATA0    (UINT64_C(3) << 60)
#define AT_REFBLOCK (UINT64_C(4) << 60)
#define BEHIND_END  (UINT64_C(5) << 60)

struct fault {
	const char *what;
	enum target target;
	unsigned idx;
	uint64_t keep, set, place;
	uint64_t n_errors, n_leaks;
	const char *text; /* in the first finding */
};

#define ALL UINT64_MAX

static const struct fault faults[] = {
	{ "L1 reserved bit", L1, 0, ALL, 1, 0, 1, 0, "reserved" },
	{ "L1 reserved high bit", L1, 0, ALL, UINT64_C(1) << 56, 0, 1, 0, "reserved" },
	/* The table, four data clusters, the zero one and the packed one are lost. */
	{ "L2 table misaligned", L1, 0, ALL, 512, 0, 1, 7, "not cluster aligned" },
	{ "L2 table beyond the end", L1, 0, COPIED, 0, BEHIND_END, 1, 7, "beyond the end" },
	{ "L2 table is the header", L1, 0, COPIED, 0, 0, 1, 7, "header" },
	{ "L1 COPIED clear", L1, 0, ~COPIED, 0, 0, 1, 0, "COPIED is clear" },
	{ "L2 reserved bit", L2, 0, ALL, 2, 0, 1, 0, "reserved" },
	{ "data misaligned", L2, 0, ALL, 512, 0, 1, 1, "not cluster aligned" },
	{ "data beyond the end", L2, 0, COPIED, 0, BEHIND_END, 1, 1, "beyond the end" },
	{ "data is the header", L2, 7, 0, COPIED, 0, 1, 0, "header" },
	{ "COPIED clear", L2, 0, ~COPIED, 0, 0, 1, 0, "COPIED is clear" },
	{ "COPIED clear on a zero cluster", L2, 4, ~COPIED, 0, 0, 1, 0, "COPIED is clear" },
	{ "COPIED set on compressed", L2, 5, ALL, COPIED, 0, 1, 0, "compressed" },
	{ "compressed beyond the end", L2, 5, UINT64_C(1) << 62, 0, BEHIND_END, 1, 1,
	  "beyond the end" },
	/* Used twice with a refcount of one. */
	{ "data used twice", L2, 7, 0, COPIED, AT_DATA0, 1, 0, "too low" },
	{ "data entry lost", L2, 0, 0, 0, 0, 0, 1, "used 0 times" },
	/* An owner too many, and the refcount says so, too. */
	{ "data is the refcount table", L2, 7, 0, COPIED, AT_REFTABLE, 2, 0, "one owner" },
	{ "data is a refcount block", L2, 7, 0, COPIED, AT_REFBLOCK, 2, 0, "one owner" },
	{ "data is the L2 table", L2, 7, 0, COPIED, AT_L2, 2, 0, "guest data, too" },
	/* The format lets compressed clusters share host clusters, with none but one another. */
	{ "packed in a data cluster", L2, 7, 0, PACKED, AT_DATA0, 2, 0, "inside" },
	{ "packed at a data cluster's end", L2, 7, 0, PACKED + 500, AT_DATA0, 2, 0, "inside" },
	{ "packed in the refcount table", L2, 7, 0, PACKED, AT_REFTABLE, 2, 0, "one owner" },
	{ "packed in a refcount block", L2, 7, 0, PACKED, AT_REFBLOCK, 2, 0, "one owner" },
	{ "packed in the L2 table", L2, 7, 0, PACKED, AT_L2, 2, 0, "guest data, too" },
	{ "packed in the header", L2, 7, 0, PACKED, 0, 2, 0, "one owner" },
	{ "refcount one up", REFCOUNT, 1, 0, 2, 0, 0, 1, "refcount 2" },
	{ "refcount at its limit", REFCOUNT, 1, 0, 65535, 0, 0, 1, "refcount 65535" },
	{ "refcount one down", REFCOUNT, 1, 0, 0, 0, 1, 0, "too low" },
	{ "header's refcount", REFCOUNT, 0, 0, 0, 0, 1, 0, "too low" },
	/* Host cluster 3 is the first data cluster: COPIED is wrong now. */
	{ "data refcount one up", REFCOUNT, 3, 0, 2, 0, 1, 1, "COPIED is set" },
	{ "data refcount one down", REFCOUNT, 3, 0, 0, 0, 2, 0, "COPIED is set" },
	{ "reftable reserved bit", REFTABLE, 0, ALL, 1, 0, 1, 0, "reserved" },
	/* All 11 clusters but the lost block's have no refcount; COPIED is wrong for six. */
	{ "refblock misaligned", REFTABLE, 0, ALL, 512, 0, 17, 0, "not cluster aligned" },
	{ "refblock beyond the end", REFTABLE, 0, 0, 0, BEHIND_END, 17, 0, "beyond the end" },
	{ "refblock missing", REFTABLE, 0, 0, 0, 0, 16, 0, "COPIED is set" },
	{ "refblock twice", REFTABLE, 1, 0, 0, AT_REFBLOCK, 2, 0, "one owner" },
	{ "refblock is the L2 table", REFTABLE, 1, 0, 0, AT_L2, 2, 0, "one owner" },
};

static uint64_t place_off(const struct build_image *image, uint64_t place)
{
	if (place == AT_REFTABLE)
		return image->reftable_off;
	if (place == AT_REFBLOCK)
		return image->refblock_off;
	if (place == AT_L2)
		return build_get64(image, image->l1_off) & QCOW2_OFF_MASK;
	if (place == AT_DATA0)
		return build_get64(image, build_l2_entry_off(image, 0)) & QCOW2_OFF_MASK;
	return place == BEHIND_END ? image->len + (UINT64_C(1) << image->cluster_bits) : 0;
}

static void plant(struct build_image *image, const struct fault *fault)
{
	uint64_t set = fault->set | place_off(image, fault->place), at = 0;

	switch (fault->target) {
	case L1: at = image->l1_off; break;
	case L2: at = build_l2_entry_off(image, fault->idx); break;
	case REFTABLE: at = image->reftable_off + 8 * fault->idx; break;
	case REFCOUNT: put_be16(image->bytes + image->refblock_off + 2 * fault->idx, set); return;
	}
	build_put64(image, at, (build_get64(image, at) & fault->keep) | set);
}

Test(qcow2_check, each_fault_has_its_findings)
{
	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		struct build_image image = build_image(&check_small);
		struct verdict v;

		plant(&image, &faults[i]);
		v = verdict_of_image(&image);
		cr_expect_eq(v.result.n_errors, faults[i].n_errors, "%s: %" PRIu64 " errors, %s",
			     faults[i].what, v.result.n_errors, v.first);
		cr_expect_eq(v.result.n_leaks, faults[i].n_leaks, "%s: %" PRIu64 " leaks, %s",
			     faults[i].what, v.result.n_leaks, v.first);
		cr_expect(strstr(v.first, faults[i].text), "%s: %s", faults[i].what, v.first);
		build_image_free(&image);
	}
}
