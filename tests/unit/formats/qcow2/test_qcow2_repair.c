/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Repair on images built in memory, each with one fault of its refcounts or
 * flags: afterwards nothing is found, and whatever moment the power fails at,
 * the guest reads the same and the next repair ends it. While leaks are freed
 * no state has anything worse than a COPIED flag that is clear without need.
 * What contradicts itself is left alone, byte by byte.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_compress.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/check/repair.h"
#include "formats/qcow2/check/state.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/open.h"
#include "tests/support/effort.h"
#include "tests/support/files/cut_log.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"
#include "tests/unit/formats/qcow2/repair_scene.h"

/* ---- judging ---- */

struct open_image {
	struct table_cache *cache;
	struct layer *layer;
};

static bool open_image(struct open_image *open, struct file *file)
{
	open->cache = table_cache_new(MiB);
	if (!qcow2_open(file, open->cache, &open->layer, NULL))
		return true;
	table_cache_free(open->cache);
	return false;
}

static void close_image(struct open_image *open)
{
	layer_close(open->layer);
	table_cache_free(open->cache);
}

static bool read_cluster(struct layer *layer, uint64_t guest_off, uint8_t *out)
{
	uint8_t in[2 * 65536];
	struct extent e;

	memset(out, 0, layer->cluster_len);
	if (layer_map_now(layer, guest_off, layer->cluster_len, &e) || e.len != layer->cluster_len)
		return false;
	if (e.kind == EXTENT_DATA)
		return !file_read(layer->file, out, layer->cluster_len, e.host_off);
	if (e.kind != EXTENT_COMPRESSED)
		return true;
	return e.host_len <= sizeof(in) &&
	       !file_read_padded(layer->file, in, e.host_len, e.host_off) &&
	       !layer_decode(layer, in, e.host_len, out);
}

static bool content_ok(const struct scene *s, struct layer *layer)
{
	static uint8_t want[65536], got[65536];

	for (uint64_t i = 0; i < N_GUEST; i++) {
		build_expect(&s->how, i, want);
		if (!read_cluster(layer, i * layer->cluster_len, got) ||
		    memcmp(want, got, layer->cluster_len))
			return false;
	}
	return true;
}

struct judge {
	const struct scene *s;
	bool all;
	uint64_t window;
};

static bool is_clean(const struct check_result *r)
{
	return !r->n_errors && !r->n_leaks && !r->n_check_errors;
}

static bool state_ok(struct file *state, void *opaque)
{
	const struct judge *judge = opaque;
	struct repair repair = { .all = judge->all };
	struct check_result found = { 0 };
	struct open_image open;
	bool ok;

	if (!open_image(&open, state))
		return false;
	ok = !qcow2_check(open.layer, &found, NULL) && !found.n_check_errors &&
	     (judge->all || found.n_errors == found.n_stale) && content_ok(judge->s, open.layer);
	ok = ok && !qcow2_repair_windowed(open.layer, &repair, NULL, judge->window) &&
	     is_clean(&repair.left) && content_ok(judge->s, open.layer);
	close_image(&open);
	return ok;
}

static struct file *file_of(const struct scene *s)
{
	struct file *file = mem_file_new("repair.qcow2", s->image.len);

	memcpy(mem_file_inode(file)->bytes, s->image.bytes, s->image.len);
	return file;
}

static void repair(const struct scene *s, const struct fault *fault, bool all, uint64_t window,
		   uint64_t *n_states)
{
	struct judge judge = { s, all, window };
	struct file *file = file_of(s);
	struct repair repair = { .all = all };
	struct open_image open;
	struct err err = { 0 };
	struct cut_log log;

	cr_assert(open_image(&open, file));
	cut_log_start(&log, file, UINT64_MAX);
	cr_assert_eq(qcow2_repair_windowed(open.layer, &repair, &err, window), 0, "%s: %s",
		     fault->what, err.message);
	cut_log_stop(&log);
	if (fault->outcome == NEVER || (fault->outcome == ALL && !all)) {
		cr_assert(is_clean(&repair.found) || repair.why[0], "%s", fault->what);
		cr_assert_eq(log.n_units, 0, "%s: it wrote", fault->what);
		cr_assert_eq(repair.left.n_errors, repair.found.n_errors);
	} else {
		cr_assert(is_clean(&repair.left), "%s: %" PRIu64 " errors, %" PRIu64 " leaks: %s",
			  fault->what, repair.left.n_errors, repair.left.n_leaks, repair.why);
		cr_assert(content_ok(s, open.layer), "%s", fault->what);
		cr_assert_eq(repair.why[0], 0, "%s: %s", fault->what, repair.why);
		cr_assert(!all || !be64(mem_file_inode(file)->bytes + QCOW2_H_INCOMPAT));
		cr_assert_eq(cut_log_judge(&log, 1 + window, state_ok, &judge, n_states), 0,
			     "%s, clusters of %u bits, %u", fault->what, s->image.cluster_bits,
			     all);
	}
	cut_log_free(&log);
	close_image(&open);
	file_close(file);
}

static void repair_all_ways(unsigned cluster_bits, unsigned refcount_bits, uint64_t *n_states)
{
	static const uint64_t windows[] = { 7, CHECK_WINDOW_CLUSTERS };

	for (size_t i = 0; i < N_REPAIR_FAULTS; i++) {
		struct scene s;

		if (repair_faults[i].min_bits > refcount_bits)
			continue;
		scene_make(&s, cluster_bits, refcount_bits);
		repair_faults[i].plant(&s);
		for (size_t w = 0; w < ARRAY_LEN(windows); w++)
			for (int all = 0; all < 2; all++)
				repair(&s, &repair_faults[i], all, windows[w], n_states);
		build_image_free(&s.image);
	}
}

Test(qcow2_repair, every_fault_is_mended_whatever_cut_comes)
{
	uint64_t n_states = 0;

	repair_all_ways(9, 16, &n_states);
	repair_all_ways(12, 1, &n_states);
	repair_all_ways(12, 64, &n_states);
	cr_assert_gt(n_states, EFFORT(2000), "%" PRIu64, n_states);
}

Test(qcow2_repair, every_fault_is_mended_with_64_kib_clusters)
{
	uint64_t n_states = 0;

	repair_all_ways(16, 16, &n_states);
	cr_assert_gt(n_states, EFFORT(100));
}

static void repair_marked(const struct fault *fault, uint64_t incompat, uint64_t autoclear)
{
	struct repair repair = { .all = true };
	struct open_image open;
	struct file *file;
	struct scene s;
	const uint8_t *header;

	scene_make(&s, 12, 16);
	fault->plant(&s);
	put_be64(s.image.bytes + QCOW2_H_INCOMPAT, incompat);
	put_be64(s.image.bytes + QCOW2_H_AUTOCLEAR, autoclear);
	file = file_of(&s);
	cr_assert(open_image(&open, file));
	cr_assert_eq(qcow2_repair(open.layer, &repair, NULL), 0, "%s", fault->what);
	header = mem_file_inode(file)->bytes; /* it may have grown */
	if (fault->outcome == NEVER) {
		cr_assert_eq(be64(header + QCOW2_H_INCOMPAT), incompat, "%s", fault->what);
	} else {
		cr_assert_eq(be64(header + QCOW2_H_INCOMPAT), 0, "%s", fault->what);
		cr_assert_eq(be64(header + QCOW2_H_AUTOCLEAR), 0, "%s", fault->what);
	}
	close_image(&open);
	file_close(file);
	build_image_free(&s.image);
}

/* What is not mended stays marked, and no feature that is not known here outlives a change. */
Test(qcow2_repair, marks_go_with_what_they_say)
{
	for (size_t i = 0; i < N_REPAIR_FAULTS; i++)
		repair_marked(&repair_faults[i], QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT,
			      UINT64_C(1) << 40);
}

/* The tail is cut off, and what lies inside is punched out. */
Test(qcow2_repair, freed_space_is_given_back)
{
	struct repair repair = { 0 };
	struct open_image open;
	struct cut_log log;
	struct file *file;
	struct scene s;
	uint64_t old_off;

	scene_make(&s, 12, 16);
	old_off = build_get64(&s.image, build_l2_entry_off(&s.image, 0)) & QCOW2_OFF_MASK;
	scene_leak_inside(&s);
	file = file_of(&s);
	cr_assert(open_image(&open, file));
	cut_log_start(&log, file, UINT64_MAX);
	cr_assert_eq(qcow2_repair(open.layer, &repair, NULL), 0);
	cut_log_stop(&log);
	cr_assert_eq(repair.found.n_leaks, 3);
	cr_assert_eq(file->len, s.image.len - 3 * 4096);
	for (size_t i = 0; i < 4096; i++)
		cr_assert_eq(mem_file_inode(file)->bytes[old_off + i], 0);
	cut_log_free(&log);
	close_image(&open);
	file_close(file);
	build_image_free(&s.image);
}

static const struct file_ops *own_ops;
static uint64_t longest_step;

static int note_cut(struct file *file, uint64_t len)
{
	if (len < file->len)
		longest_step = MAX(longest_step, file->len - len);
	return own_ops->truncate(file, len);
}

static void note_discard(struct file *file, uint64_t off, uint64_t len)
{
	longest_step = MAX(longest_step, len);
	memset(mem_file_inode(file)->bytes + off, 0, len);
}

/* What others do on the same device waits for each step. */
Test(qcow2_repair, much_space_is_given_back_in_steps)
{
	struct repair repair = { 0 };
	struct file_ops ops;
	struct open_image open;
	struct file *file;
	struct scene s;

	scene_make(&s, 16, 16);
	scene_leak_inside(&s);
	file = file_of(&s);
	cr_assert_eq(file_truncate(file, 40 * MiB), 0);
	own_ops = file->ops;
	ops = *own_ops;
	ops.truncate = note_cut;
	ops.discard = note_discard;
	file->ops = &ops;
	cr_assert(open_image(&open, file));
	cr_assert_eq(qcow2_repair(open.layer, &repair, NULL), 0);
	cr_assert_eq(file->len, s.image.len - 3 * 65536);
	cr_assert(longest_step > 0 && longest_step <= 16 * MiB, "%ju", (uintmax_t)longest_step);
	cr_assert_eq(file_truncate(file, 40 * MiB), 0);
	memset(mem_file_inode(file)->bytes + MiB, 7, 39 * MiB);
	file_discard(file, MiB, 39 * MiB);
	cr_assert(longest_step <= 16 * MiB, "%ju", (uintmax_t)longest_step);
	for (size_t i = MiB; i < 40 * MiB; i += 65536)
		cr_assert_eq(mem_file_inode(file)->bytes[i], 0);
	file->ops = own_ops;
	close_image(&open);
	file_close(file);
	build_image_free(&s.image);
}

/* A barrier that fails is told, and the image reads as before. */
Test(qcow2_repair, a_failed_barrier_is_told)
{
	for (unsigned nth = 1; nth <= 4; nth++) {
		struct repair repair = { .all = true };
		struct open_image open;
		struct err err = { 0 };
		struct cut_log log;
		struct file *file;
		struct scene s;

		scene_make(&s, 12, 16);
		scene_nothing_counted(&s);
		file = file_of(&s);
		cr_assert(open_image(&open, file));
		cut_log_start(&log, file, UINT64_MAX);
		log.fail_sync = nth;
		cr_assert_eq(qcow2_repair(open.layer, &repair, &err), nth < 4 ? -EIO : 0, "%u",
			     nth);
		cr_assert(nth == 4 || strstr(err.message, "repair.qcow2"), "%s", err.message);
		cut_log_stop(&log);
		cr_assert(content_ok(&s, open.layer));
		cut_log_free(&log);
		close_image(&open);
		file_close(file);
		build_image_free(&s.image);
	}
}

/* What begin_writing() does with each. */
Test(qcow2_repair, the_first_write_mends_or_is_refused)
{
	for (size_t i = 0; i < N_REPAIR_FAULTS; i++) {
		struct check_result found = { 0 };
		struct open_image open;
		struct file *file;
		struct scene s;
		bool mends;
		int rc;

		scene_make(&s, 12, 16);
		repair_faults[i].plant(&s);
		file = file_of(&s);
		cr_assert(open_image(&open, file));
		mends = repair_faults[i].outcome == LEAKS ||
			repair_faults[i].plant == scene_nothing_counted ||
			repair_faults[i].plant == scene_only_dirty;
		rc = layer_begin_writing(open.layer, NULL);
		cr_assert_eq(rc, mends ? 0 : -EUCLEAN, "%s: %d", repair_faults[i].what, rc);
		cr_assert_eq(qcow2_check(open.layer, &found, NULL), 0);
		if (mends) {
			cr_assert(is_clean(&found) && content_ok(&s, open.layer));
			cr_assert_eq(be64(mem_file_inode(file)->bytes + QCOW2_H_INCOMPAT), 0);
			cr_assert(open.layer->note[0] ||
				  repair_faults[i].plant == scene_stale_flags);
		} else {
			cr_assert(!memcmp(mem_file_inode(file)->bytes, s.image.bytes, s.image.len));
		}
		close_image(&open);
		file_close(file);
		build_image_free(&s.image);
	}
}
