/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every combination of flags with every way of opening an image: it is refused
 * with a sentence, or all that a program may do then ends well or in a clean
 * error: a guest's reads and writes, a job beside them, closing. What was written
 * is there afterwards, and what only reads has changed nothing.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/api/options/open_flags.h"
#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "io/base.h"
#include "io/err.h"
#include "tests/support/files/pattern.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define LEN      (256u << 10)
#define BASE_LEN (160u << 10)
#define AT       100000u /* the guest writes here, no cluster's beginning */
#define PIECE    5000u

static struct bpull_engine *engine;
static struct bpull_error error;
static uint8_t content[LEN], got[LEN], piece[PIECE];

static void set_up(void)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = BPULL_ENGINE_THREAD };

	scratch_make();
	memset(content, 0, LEN);
	pattern_steps(content, BASE_LEN);
	memset(piece, 0xa5, PIECE);
	scratch_file("base", content, BASE_LEN);
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
}

static void tear_down(void)
{
	bpull_engine_close(engine);
	scratch_remove();
}

TIME_LIMIT(300);
TestSuite(open_flags, .init = set_up, .fini = tear_down, .timeout = TIME_LIMIT_CLOCK(300));

/* A new image to be opened: an overlay of the base, or the base's bytes. */
static void make_top(enum bpull_format format)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = format,
					  .virtual_size = LEN,
					  .backing_name = "base",
					  .backing_format = BPULL_FORMAT_RAW };

	unlink(scratch("top"));
	if (format == BPULL_FORMAT_RAW)
		scratch_file("top", content, LEN);
	else
		cr_assert_eq(bpull_create(scratch("top"), &o, &error), 0, "%s", error.message);
}

/* ---- which combinations there are ---- */

/* Of the flags that this test knows: what the header promises, in other words than the table. */
static bool promised(enum open_way way, uint32_t flags)
{
	bool ro = flags & BPULL_DISK_READ_ONLY, guest = flags & BPULL_DISK_GUEST_IO;

	if (flags & BPULL_DISK_INACTIVE && (way != OPEN_DISK || flags & BPULL_DISK_FORCE_SHARE))
		return false;
	switch (way) {
	case OPEN_DISK:
		if (ro)
			return !(flags & (BPULL_DISK_COPY_ON_READ | BPULL_DISK_DIRECT));
		return !(flags & (BPULL_DISK_FORCE_SHARE | BPULL_DISK_NO_BACKING)) &&
		       (guest || !(flags & BPULL_DISK_COPY_ON_READ));
	case OPEN_FLATTEN:
		return !(flags & ~(uint32_t)(BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE |
					     BPULL_DISK_READ_HOLES));
	case OPEN_INFO:
		return !(flags & ~(uint32_t)(BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE |
					     BPULL_DISK_READ_HOLES | BPULL_DISK_NO_BACKING));
	case OPEN_MEASURE:
		return !(flags &
			 (BPULL_DISK_NO_BACKING | BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ)) &&
		       !(ro && flags & BPULL_DISK_DIRECT);
	case OPEN_CHECK: return !(flags & ~(uint32_t)BPULL_DISK_FORCE_SHARE);
	case OPEN_REPAIR: return !flags;
	case OPEN_N_WAYS: break;
	}
	return false;
}

#define PROMISED_FLAGS (((BPULL_DISK_DIRECT << 1) - 1u) | BPULL_DISK_INACTIVE)

/* The i-th subset of the flags in the table. */
static uint32_t subset(uint32_t i)
{
	uint32_t flags = 0;

	for (size_t k = 0; k < open_flags_n; k++)
		if (i & 1u << k)
			flags |= open_flags[k].flag;
	return flags;
}

/* Calls what opens in this way. *disk is NULL where it opens no disk. */
static int open_it(enum open_way way, enum bpull_format format, uint32_t flags,
		   struct bpull_disk **disk)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = flags };
	struct bpull_check_options c = { .size = sizeof(c), .flags = flags };
	struct bpull_create_options out = { .size = sizeof(out), .format = format };
	struct bpull_check_result found = { .size = sizeof(found) };
	struct bpull_measure measured = { .size = sizeof(measured) };
	struct bpull_info *info;
	int rc = -EINVAL;

	*disk = NULL;
	error = (struct bpull_error){ 0 };
	o.format = way == OPEN_FLATTEN ? BPULL_FORMAT_QCOW2 : format;
	switch (way) {
	case OPEN_DISK: return bpull_disk_open(engine, scratch("top"), &o, disk, &error);
	case OPEN_FLATTEN:
		return bpull_flatten_open(engine, scratch("top"), &o, scratch("out"), &out, disk,
					  &error);
	case OPEN_INFO:
		rc = bpull_info_open(scratch("top"), &o, &info, &error);
		if (!rc)
			bpull_info_close(info);
		return rc;
	case OPEN_MEASURE: return bpull_image_measure(scratch("top"), &o, &measured, &error);
	case OPEN_REPAIR: c.repair = BPULL_REPAIR_LEAKS; /* fall through */
	case OPEN_CHECK: return bpull_check(scratch("top"), &c, &found, &error);
	case OPEN_N_WAYS: break;
	}
	return rc;
}

/* ---- what is done with an open disk ---- */

/* A disk that was opened, and what its calls are to answer. */
struct opened {
	struct bpull_disk *disk;
	enum open_way way;
	enum bpull_format format;
	uint32_t flags;
	int guest_rc, write_rc, start_rc;
};

/* What the guest's writes leave, if they may. */
static void expect_content(const struct opened *o, bool was_written)
{
	for (unsigned i = 0; i < LEN; i++) {
		uint8_t want = content[i];

		if (was_written && i >= AT && i < AT + PIECE)
			want = piece[0];
		else if (was_written && i >= AT + PIECE && i < AT + PIECE + 512)
			want = 0;
		if (o->flags & BPULL_DISK_NO_BACKING && o->format != BPULL_FORMAT_RAW)
			want = 0;
		cr_assert_eq(got[i], want, "way %d, flags 0x%x, %s: byte %u is 0x%02x, not 0x%02x",
			     o->way, o->flags, bpull_format_name(o->format), i, got[i], want);
	}
}

#define EXPECT(o, call, rc)                                                                  \
	do {                                                                                 \
		int is = (call);                                                             \
		cr_assert_eq(is, (rc), "way %d, flags 0x%x, %s: " #call ": %d, not %d: %s",  \
			     (o)->way, (o)->flags, bpull_format_name((o)->format), is, (rc), \
			     error.message);                                                 \
	} while (0)

static void guest_writes(const struct opened *o)
{
	EXPECT(o, bpull_pwrite(o->disk, piece, PIECE, AT, 0), o->write_rc);
	EXPECT(o, bpull_pwrite_zeroes(o->disk, AT + PIECE, 512, 0), o->write_rc);
	EXPECT(o, bpull_pdiscard(o->disk, LEN - 65536, 65536), o->write_rc);
	EXPECT(o, bpull_pflush(o->disk), o->guest_rc);
}

static void guest_reads(const struct opened *o, bool was_written)
{
	struct bpull_extent extents[4];

	memset(got, 0x77, LEN);
	EXPECT(o, bpull_pread(o->disk, got, LEN, 0), o->guest_rc);
	if (!o->guest_rc)
		expect_content(o, was_written);
	EXPECT(o, bpull_pblock_status(o->disk, 0, LEN, extents, 4) > 0, !o->guest_rc);
	cr_assert_gt(bpull_disk_map(o->disk, 0, extents, 4, &error), 0, "%s", error.message);
}

static void run_job(const struct opened *o)
{
	struct bpull_event event = { 0 };

	cr_assert_leq(bpull_job_check(o->disk, NULL, &error), 0);
	EXPECT(o, bpull_job_start(o->disk, NULL, &error), o->start_rc);
	guest_writes(o);
	if (o->start_rc)
		return;
	EXPECT(o, bpull_job_wait(o->disk, 60000), 0);
	EXPECT(o, bpull_engine_wait(engine, &event, 1, 60000), 1);
	EXPECT(o, event.status, BPULL_JOB_COMPLETED);
}

/* What is on the file system afterwards, opened anew. */
static void judge_file(const struct opened *o)
{
	struct bpull_disk_options options = {
		.size = sizeof(options),
		.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO,
		.format = o->format,
	};
	struct bpull_disk *disk;

	EXPECT(o,
	       bpull_disk_open(engine, scratch(o->way == OPEN_FLATTEN ? "out" : "top"), &options,
			       &disk, &error),
	       0);
	if (!o->start_rc)
		EXPECT(o, (int)bpull_disk_depth(disk), 1);
	EXPECT(o, bpull_pread(disk, got, LEN, 0), 0);
	expect_content(&(struct opened){ .way = o->way, .format = o->format, .flags = 0 },
		       !o->write_rc);
	bpull_disk_close(disk);
}

static void use(struct opened *o)
{
	bool guest = o->flags & BPULL_DISK_GUEST_IO, ro = o->flags & BPULL_DISK_READ_ONLY;

	o->guest_rc = guest ? 0 : -EINVAL;
	o->write_rc = !guest ? -EINVAL : ro ? -EROFS : 0;
	o->start_rc = ro && o->way == OPEN_DISK ? -EROFS : 0;
	cr_assert_eq(bpull_disk_size(o->disk), LEN);
	if (o->flags & BPULL_DISK_INACTIVE) {
		EXPECT(o, bpull_pread(o->disk, got, LEN, 0), guest ? -EPERM : -EINVAL);
		EXPECT(o, bpull_disk_activate(o->disk, &error), 0);
	}
	guest_reads(o, false);
	guest_writes(o);
	EXPECT(o, bpull_disk_set_copy_on_read(o->disk, !!(o->flags & BPULL_DISK_COPY_ON_READ)),
	       o->write_rc);
	guest_reads(o, !o->write_rc);
	run_job(o);
	guest_reads(o, !o->write_rc);
	bpull_disk_close(o->disk);
	judge_file(o);
	unlink(scratch("out"));
}

/* ---- all of them ---- */

/* True where an open that the table accepts may be refused for another reason, cleanly. */
static bool other_refusal(enum open_way way, enum bpull_format format, uint32_t flags, int rc)
{
	bool raw_alone = format == BPULL_FORMAT_RAW && way != OPEN_FLATTEN;

	if (rc != -ENOTSUP)
		return false;
	return flags & BPULL_DISK_DIRECT || /* a file system may have none */
	       (raw_alone && (way == OPEN_CHECK || way == OPEN_REPAIR ||
			      !(flags & (BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO))));
}

/* One combination: 1 if a disk was opened and used. */
static unsigned try_one(enum open_way way, enum bpull_format format, uint32_t flags)
{
	struct opened o = { .way = way, .format = format, .flags = flags };
	struct err err = { 0 };
	int wanted = open_flags_check(way, flags, &err), rc;

	if (!(flags & ~PROMISED_FLAGS))
		cr_assert_eq(!wanted, promised(way, flags), "way %d, flags 0x%x", way, flags);
	cr_assert(!wanted || strlen(err.message) > 20, "way %d, flags 0x%x", way, flags);
	rc = open_it(way, format, flags, &o.disk);
	if (wanted || rc) {
		cr_assert(rc == wanted || (!wanted && other_refusal(way, format, flags, rc)),
			  "way %d, flags 0x%x, %s: %d, not %d: %s", way, flags,
			  bpull_format_name(format), rc, wanted, error.message);
		cr_assert(error.message[0]);
		cr_assert(!wanted || !strcmp(error.message, err.message), "%s", error.message);
		cr_assert_neq(access(scratch("out"), F_OK), 0, "a refusal made a file");
		return 0;
	}
	if (!o.disk)
		return 0;
	use(&o);
	make_top(way == OPEN_FLATTEN ? BPULL_FORMAT_QCOW2 : format);
	return 1;
}

static void walk(enum open_way way, unsigned n_used_at_least)
{
	static const enum bpull_format formats[] = { BPULL_FORMAT_QCOW2, BPULL_FORMAT_QED,
						     BPULL_FORMAT_RAW };
	unsigned n_used = 0;

	for (unsigned f = 0; f < 3; f++) {
		make_top(way == OPEN_FLATTEN ? BPULL_FORMAT_QCOW2 : formats[f]);
		for (uint32_t i = 0; i < 1u << open_flags_n; i++)
			n_used += try_one(way, formats[f], subset(i));
		for (unsigned bit = 0; bit < 32; bit++)
			n_used += try_one(way, formats[f], 1u << bit);
	}
	cr_assert_geq(n_used, n_used_at_least, "%u", n_used);
}

Test(open_flags, any_flags_open_a_disk_or_are_refused)
{
	walk(OPEN_DISK, 3 * 16);
}

Test(open_flags, any_flags_open_a_flatten_or_are_refused)
{
	walk(OPEN_FLATTEN, 3 * 8);
}

Test(open_flags, any_flags_look_at_an_image_or_are_refused)
{
	walk(OPEN_INFO, 0);
	walk(OPEN_MEASURE, 0);
	walk(OPEN_CHECK, 0);
}

Test(open_flags, any_flags_repair_an_image_or_are_refused)
{
	walk(OPEN_REPAIR, 0);
}

/* A row that needs a flag the table lacks, or two for one flag, would be a slip. */
Test(open_flags, the_table_is_sound)
{
	uint32_t known = 0;

	for (size_t i = 0; i < open_flags_n; i++) {
		cr_assert_eq(known & open_flags[i].flag, 0, "row %zu: twice", i);
		cr_assert_eq(open_flags[i].flag & (open_flags[i].flag - 1), 0, "row %zu", i);
		known |= open_flags[i].flag;
	}
	for (size_t i = 0; i < open_flags_n; i++) {
		cr_assert_eq((open_flags[i].needs | open_flags[i].excludes) & ~known, 0);
		cr_assert_eq(open_flags[i].needs & open_flags[i].excludes, 0);
		cr_assert_eq(open_flags[i].ways >> OPEN_N_WAYS, 0);
	}
}
