/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See oom_calls.h. The images are made by the tests' own builder; what they
 * read is asked once, of the library with all the memory it wants: other tests
 * say that it is right.
 */
#include "engine/core/disk.h"
#include "tests/whole/faults/oom_calls.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/images/build_image.h"
#include "tests/support/effort.h"
#include "tests/support/leaks.h"
#include "tests/whole/faults/oom.h"
#include "tests/support/files/scratch.h"

#define MAX_NTH 20000

static unsigned n_entries(const char *dir_name)
{
	DIR *dir = opendir(dir_name);
	unsigned n = 0;

	cr_assert(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static bool is_memory(int rc)
{
	return rc == -ENOMEM || rc == -EAGAIN; /* EAGAIN: of a thread */
}

/* False: no allocation was the n-th. */
static bool try_one(const struct oom_call *c, uint64_t nth, bool forever)
{
	unsigned n_fds = n_entries("/proc/self/fd"), n_files;
	struct bpull_error error = { 0 };
	uint64_t n_failed;
	int rc;

	c->prepare();
	n_files = n_entries(scratch_dir());
	oom_arm(nth, forever);
	rc = c->run(&error);
	n_failed = oom_disarm();
	cr_assert(!rc || (n_failed && is_memory(rc)), "%s, allocation %lu fails %s: %s (%s)",
		  c->name, (unsigned long)nth, forever ? "for ever" : "once", strerror(-rc),
		  error.message);
	cr_assert(!rc || error.message[0], "%s, allocation %lu: it says nothing", c->name,
		  (unsigned long)nth);
	if (rc) {
		cr_assert_eq(n_entries(scratch_dir()), n_files,
			     "%s, allocation %lu: a file is left", c->name, (unsigned long)nth);
		rc = c->run(&error);
		cr_assert_eq(rc, 0, "%s, allocation %lu, again: %s", c->name, (unsigned long)nth,
			     error.message);
	}
	if (c->judge)
		c->judge();
	cr_assert_eq(n_entries("/proc/self/fd"), n_fds, "%s, allocation %lu: a file is open",
		     c->name, (unsigned long)nth);
	return n_failed;
}

void oom_call_all(const struct oom_call *c, unsigned min_runs)
{
	for (int forever = 0; forever < (c->only_once ? 1 : 2); forever++) {
		uint64_t nth = EFFORT_FIRST(strlen(c->name) + forever);

		while (nth < MAX_NTH && try_one(c, nth, forever))
			nth += EFFORT_STEP;
		cr_assert_lt(nth, MAX_NTH);
		cr_assert_gt(nth, min_runs, "%s: only %lu allocations", c->name,
			     (unsigned long)nth);
		leaks_assert_none(c->name);
		fprintf(stderr, "%s: %lu allocations\n", c->name, (unsigned long)nth - 1);
	}
}

/* ---- images ---- */

static uint8_t *want; /* what the chain reads */

static void put_image(const char *name, unsigned seed, enum build_kind kind, const char *backing,
		      const char *format)
{
	struct build_cluster clusters[16];
	struct build_how how = { .cluster_bits = 12,
				 .guest_len = OOM_DISK_LEN,
				 .backing_name = backing,
				 .backing_format = format,
				 .n_snapshots = seed == 1,
				 .clusters = clusters,
				 .n_clusters = 16 };
	struct build_image image;

	for (unsigned i = 0; i < 16; i++)
		clusters[i] = (struct build_cluster){ .guest_idx = 4 * i + seed,
						      .kind = i % 5 ? kind : BUILD_ZERO_PLAIN,
						      .seed = 100 * seed + i };
	image = build_image(&how);
	scratch_file(name, image.bytes, image.len);
	build_image_free(&image);
}

static uint8_t *read_image(const char *name)
{
	struct bpull_engine_options eo = { .size = sizeof(eo),
					   .io = BPULL_IO_THREADS,
					   .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO };
	uint8_t *got = malloc(OOM_DISK_LEN);
	struct bpull_engine *engine;
	struct bpull_error error;
	struct bpull_disk *disk;

	cr_assert_eq(bpull_engine_open(&eo, &engine, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_disk_size(disk), OOM_DISK_LEN);
	cr_assert_eq(bpull_pread(disk, got, OOM_DISK_LEN, 0), 0);
	bpull_engine_close(engine);
	return got;
}

void oom_put_chain(void)
{
	static uint8_t base[OOM_DISK_LEN];

	for (unsigned i = 0; i < OOM_DISK_LEN / 2; i += 3)
		base[i] = i * 7 + i / 1000 + 1;
	scratch_file("base", base, sizeof(base));
	put_image("mid", 2, BUILD_COMPRESSED, "base", "raw");
	put_image("top", 1, BUILD_DATA, "mid", "qcow2");
	if (!want)
		want = read_image("top");
}

void oom_judge_image(const char *name, bool with_backing)
{
	struct bpull_check_result result = { .size = sizeof(result) };
	struct bpull_error error = { 0 };
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	uint8_t *got = read_image(name);
	int rc = bpull_check(scratch(name), NULL, &result, &error);

	cr_assert(rc == 0 || rc == -ENOTSUP, "%s: %s", name, error.message);
	cr_assert(!result.n_corruptions && !result.n_leaks && !result.n_check_errors,
		  "%s: %lu, %lu", name, (unsigned long)result.n_corruptions,
		  (unsigned long)result.n_leaks);
	cr_assert_eq(memcmp(got, want, OOM_DISK_LEN), 0, "%s reads otherwise", name);
	free(got);
	cr_assert_eq(bpull_info_open(scratch(name), NULL, &info, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_info_layer(info, 0, &layer), 0);
	cr_assert_eq(layer.backing_name != NULL, with_backing, "%s: the link", name);
	bpull_info_close(info);
}
