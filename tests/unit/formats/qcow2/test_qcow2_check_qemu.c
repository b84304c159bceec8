/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Our check against `qemu-img check`: the same counts on images that QEMU's
 * tools made of random operations, and the same class of verdict (clean, leaks,
 * corrupt) after damage planted in them. Where we are stricter on purpose is
 * said at the case.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/check/state.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/open.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"
#include "tests/support/random.h"

#define COPIED  (UINT64_C(1) << 63)
#define N_SEEDS 14u

enum {
	CLEAN = 0,
	BROKEN = 2,
	LEAKS = 3
}; /* exit status of qemu-img check */

TestSuite(qcow2_check_qemu, .init = scratch_make, .fini = scratch_remove);

static uint64_t rng;
static uint64_t n_packed; /* clusters written compressed, in this image */

static uint64_t roll(uint64_t below)
{
	return random_below(&rng, below);
}

static void keep_first(void *opaque, bool is_leak, const char *text)
{
	char *first = opaque;

	if (!first[0])
		snprintf(first, 512, "%s", text);
}

static struct check_result our_check(const char *path, uint64_t window, char first[512])
{
	struct check_result result = { .report = keep_first, .opaque = first, .max_reports = 1 };
	struct file_opener *opener = file_opener_posix();
	struct file_open how = { .name = path };
	struct layer *layer;
	struct file *file;
	struct err err;

	first[0] = 0;
	cr_assert_eq(opener->open(opener, &how, &file, &err), 0, "%s", err.message);
	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0, "%s", err.message);
	cr_assert_eq(qcow2_check_windowed(layer, &result, &err, window), 0, "%s", err.message);
	cr_assert_eq(result.n_check_errors, 0, "%s", first);
	layer_close(layer);
	file_close(file);
	return result;
}

static int our_class(const struct check_result *result)
{
	return result->n_errors ? BROKEN : result->n_leaks ? LEAKS : CLEAN;
}

/* All that qemu-img check --output=json counts. */
static void assert_same_counts(const char *path, const char *what)
{
	char json[4096], first[512];
	struct check_result ours = our_check(path, 1 + roll(100), first);
	int rc = qemu_img_run(json, sizeof(json), "qemu-img check --output=json %s", path);

	cr_assert_eq(our_class(&ours), rc, "%s: %s, %s", what, json, first);
	cr_assert_eq(ours.n_errors, qemu_img_number(json, "corruptions", 0), "%s: %s", what, json);
	cr_assert_eq(ours.n_leaks, qemu_img_number(json, "leaks", 0), "%s: %s", what, json);
	cr_assert_eq(ours.n_total_clusters, qemu_img_number(json, "total-clusters", 0), "%s: %s",
		     what, json);
	cr_assert_eq(ours.n_allocated_clusters, qemu_img_number(json, "allocated-clusters", 0),
		     "%s: %s", what, json);
	cr_assert_eq(ours.n_compressed_clusters, qemu_img_number(json, "compressed-clusters", 0),
		     "%s: %s", what, json);
	cr_assert_eq(ours.image_end_off, qemu_img_number(json, "image-end-offset", 0), "%s: %s",
		     what, json);
}

/* The command must succeed. */
#define RUN(...)                                                                  \
	do {                                                                      \
		char run_out[2048];                                               \
		int run_rc = qemu_img_run(run_out, sizeof(run_out), __VA_ARGS__); \
		cr_assert_eq(run_rc, 0, "%s", run_out);                           \
	} while (0)

/* Operations of qemu-io, at random places, in units of clusters or not. */
static void random_writes(const char *path, unsigned cluster_bits, bool compress)
{
	char commands[3000] = "";
	uint64_t cluster_len = UINT64_C(1) << cluster_bits;

	for (unsigned n = 4 + roll(12); n; n--) {
		uint64_t at = roll(400) * cluster_len, len = (1 + roll(20)) * cluster_len;
		unsigned kind = roll(6);
		size_t used = strlen(commands);
		static const char *const verbs[] = { "write",   "write -z", "write -z -u",
						     "discard", "write",    "write" };

		/* QEMU packs only clusters that nothing has been written to: a place of their
		 * own. */
		if (kind == 4 && compress)
			snprintf(commands + used, sizeof(commands) - used,
				 " -c 'write -c -P %u %" PRIu64 " %" PRIu64 "'",
				 (unsigned)roll(256), (500 + n_packed++) * cluster_len,
				 cluster_len);
		else if (kind == 5)
			snprintf(commands + used, sizeof(commands) - used,
				 " -c 'write %" PRIu64 " %" PRIu64 "'", at + 512 * roll(8),
				 512 * (1 + roll(100)));
		else
			snprintf(commands + used, sizeof(commands) - used,
				 " -c '%s %" PRIu64 " %" PRIu64 "'", verbs[kind], at, len);
	}
	RUN("qemu-io -f qcow2 %s %s", commands, path);
}

static const struct {
	const char *options;
	unsigned cluster_bits;
	bool compress, snapshots;
} flavours[] = {
	{ "cluster_size=512", 9, true, true },
	{ "cluster_size=512,refcount_bits=64", 9, true, true },
	{ "cluster_size=4k,refcount_bits=8", 12, true, true },
	{ "cluster_size=64k,compat=0.10", 16, true, true },
	{ "cluster_size=64k,refcount_bits=1", 16, false, false },
	{ "cluster_size=64k,refcount_bits=4", 16, false, true },
	{ "cluster_size=64k,refcount_bits=32,compression_type=zstd", 16, true, true },
	{ "cluster_size=16k,extended_l2=on", 14, true, true },
};

Test(qcow2_check_qemu, random_images_are_counted_alike)
{
	const char *path = scratch("img");

	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
		size_t f = seed % ARRAY_LEN(flavours);
		char what[100];

		n_packed = 0;
		rng = seed * 0x9e3779b97f4a7c15u;
		snprintf(what, sizeof(what), "seed %" PRIu64 " (%s)", seed, flavours[f].options);
		RUN("qemu-img create -q -f qcow2 -o %s %s 64M", flavours[f].options, path);
		assert_same_counts(path, what);
		random_writes(path, flavours[f].cluster_bits, flavours[f].compress);
		assert_same_counts(path, what);
		for (unsigned n = 0; flavours[f].snapshots && n < 3; n++) {
			RUN("qemu-img snapshot -c s%u %s", n, path);
			random_writes(path, flavours[f].cluster_bits, flavours[f].compress);
			assert_same_counts(path, what);
		}
	}
}

Test(qcow2_check_qemu, bitmaps_and_data_files_are_counted_alike)
{
	const char *path = scratch("img");

	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	rng = 1;
	RUN("qemu-img create -q -f qcow2 -o cluster_size=4k %s 64M", path);
	RUN("qemu-img bitmap --add -g 4k %s a", path);
	RUN("qemu-img bitmap --add -g 512 %s b", path);
	random_writes(path, 12, true);
	assert_same_counts(path, "bitmaps");

	/* The autoclear bit gone, their clusters are leaks. */
	int fd = open(path, O_WRONLY);
	cr_assert_eq(pwrite(fd, "", 1, 95), 1);
	close(fd);
	assert_same_counts(path, "stale bitmaps");

	RUN("qemu-img create -q -f qcow2 -o data_file=%s %s 64M", scratch("data"), path);
	random_writes(path, 16, false);
	assert_same_counts(path, "external data file");
}

/* Refcount blocks and L2 tables of many pieces each. */
Test(qcow2_check_qemu, large_clusters_are_counted_alike)
{
	const char *path = scratch("img");

	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	rng = 1;
	RUN("qemu-img create -q -f qcow2 -o "
	    "cluster_size=2M,refcount_bits=64,preallocation=metadata "
	    "%s 40G",
	    path);
	assert_same_counts(path, "preallocated");
	RUN("qemu-io -f qcow2 -c 'discard 30G 100M' -c 'write -z 35G 10M' %s", path);
	assert_same_counts(path, "discarded");
	RUN("qemu-img snapshot -c s %s", path);
	assert_same_counts(path, "snapshot");
}

static uint64_t get(const char *path, uint64_t off)
{
	uint8_t bytes[8];
	int fd = open(path, O_RDONLY);

	cr_assert_eq(pread(fd, bytes, 8, off), 8);
	close(fd);
	return be64(bytes);
}

static void put(const char *path, uint64_t off, uint64_t v)
{
	uint8_t bytes[8];
	int fd = open(path, O_WRONLY);

	put_be64(bytes, v);
	cr_assert_eq(pwrite(fd, bytes, 8, off), 8);
	close(fd);
}

/* An image of one L2 table and the places to damage. */
struct places {
	uint64_t l1, l2, reftable, refblock; /* host offsets */
	uint64_t data;                       /* L2 entry 0 */
};

static struct places find_places(const char *path)
{
	struct places p = { .l1 = get(path, 40), .reftable = get(path, 48) };

	p.l2 = get(path, p.l1) & QCOW2_OFF_MASK;
	p.refblock = get(path, p.reftable);
	p.data = get(path, p.l2);
	return p;
}

/* The 16-bit refcount of a cluster. */
static void put_ref(const char *path, const struct places *p, uint64_t host_off, uint16_t v)
{
	uint64_t at = p->refblock + 2 * (host_off / 65536), old = get(path, at);

	put(path, at, (old & ~(UINT64_C(0xffff) << 48)) | (uint64_t)v << 48);
}

static void plant(const char *path, const struct places *p, unsigned which)
{
	uint64_t data_off = p->data & QCOW2_OFF_MASK;

	switch (which) {
	case 0: put_ref(path, p, p->l1, 2); break;
	case 1: put_ref(path, p, p->l1, 0); break;
	case 2: put_ref(path, p, data_off, 2); break;
	case 3: put_ref(path, p, data_off, 0); break;
	case 4: put(path, p->l1, (p->l2 + 512) | COPIED); break;
	case 5: put(path, p->l1, COPIED); break;
	case 6: put(path, p->l1, p->reftable | COPIED); break;
	case 7: put(path, p->l2 + 8 * 50, p->data); break;
	case 8: put(path, p->l2, p->data & ~COPIED); break;
	case 9: put(path, p->l1, p->l2); break;
	case 10: put(path, p->reftable, UINT64_C(1) << 40); break;
	case 11: put(path, p->reftable + 8, p->refblock); break;
	case 12: put(path, p->reftable + 8, UINT64_C(1) << 40); break;
	case 13: put(path, p->reftable, p->refblock | 1); break;
	case 14: put(path, p->l2, p->data | UINT64_C(1) << 57); break;
	case 15: put(path, p->l1, get(path, p->l1) | 1); break;
	case 16: put(path, p->l2, p->data + 512); break;
	case 17: put(path, p->l2, COPIED | UINT64_C(1) << 40); break;
	case 18: put(path, p->l2, COPIED | p->reftable); break;
	case 19: put(path, p->l2, 0); break;
	case 20: put(path, p->l1, 0); break;
	case 21: put(path, p->l2 + 8 * 50, UINT64_C(3) << 62 | data_off); break;
	case 22: put_ref(path, p, 0, 0); break;
	case 23: put_ref(path, p, p->refblock, 3); break;
	case 24: put_ref(path, p, 40 * 65536, 1); break; /* behind the end: no finding */
	default: cr_assert_fail();
	}
}

#define N_DAMAGES 25u

Test(qcow2_check_qemu, planted_damage_is_classed_alike)
{
	const char *path = scratch("img");
	unsigned n_of[4] = { 0 };

	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	for (unsigned which = 0; which < N_DAMAGES; which++) {
		char json[4096], first[512];

		RUN("qemu-img create -q -f qcow2 %s 16M", path);
		RUN("qemu-io -f qcow2 -c 'write 0 320k' %s", path);
		struct places p = find_places(path);
		plant(path, &p, which);
		struct check_result ours = our_check(path, CHECK_WINDOW_CLUSTERS, first);
		int rc = qemu_img_run(json, sizeof(json), "qemu-img check --output=json %s", path);

		cr_assert_eq(our_class(&ours), rc, "damage %u: ours is %d (%s), QEMU says %s",
			     which, our_class(&ours), first, json);
		n_of[rc & 3]++;
	}
	/* The list has something of every class. */
	cr_assert(n_of[CLEAN] >= 1 && n_of[BROKEN] >= 15 && n_of[LEAKS] >= 3);
}
