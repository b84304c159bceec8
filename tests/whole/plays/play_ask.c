/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Public calls that ask, or that must be refused, at any moment of a job. Their
 * answers are looked at as far as they are known; above all the job must go on
 * to what it was started for, which its end shows (play_job.c).
 */
#include <string.h>

#include "tests/whole/plays/play.h"

/* What the depth of a file may be: while a job ends, as before it or as after it. */
static bool is_depth(const struct play *p, unsigned link, unsigned file, int rc, uint32_t depth)
{
	if (file < link)
		return rc == -EINVAL;
	return !rc && depth == 1 + file - link;
}

static void ask_find(struct play *p)
{
	unsigned i = 1 + (unsigned)play_below(p, p->chain->n_files - 1);
	uint32_t depth = 0;
	int rc = bpull_disk_find(p->guest.disk, play_base_name(p, i), &depth, NULL);

	CHECK(p,
	      is_depth(p, p->link, i, rc, depth) ||
		      (p->job_runs && is_depth(p, p->target, i, rc, depth)),
	      "%s is found at %u (%s), and the link is %s", play_file(p, i), depth, strerror(-rc),
	      play_file(p, p->link));
	CHECK(p, bpull_disk_find(p->guest.disk, "/nowhere", &depth, NULL) == -EINVAL,
	      "a file that is not there is found");
}

static void ask_depth(struct play *p)
{
	unsigned is = bpull_disk_depth(p->guest.disk), n = 1 + p->chain->n_files;

	CHECK(p, is == n - p->link || (p->job_runs && is == n - p->target),
	      "%u images, and the link is %s", is, play_file(p, p->link));
}

static void ask_map(struct play *p)
{
	struct bpull_extent extents[16];
	uint64_t at = play_below(p, p->chain->guest_len), n_bad = play_n_bad(p);
	int n = bpull_disk_map(p->guest.disk, at, extents, 16, NULL);

	if (n < 0 && (p->faults || n_bad < play_n_bad(p)))
		return;
	CHECK(p, n > 0, "the disk can't be mapped: %s", strerror(-n));
	for (int i = 0; i < n; i++) {
		CHECK(p, extents[i].start == at && extents[i].length, "the map has a gap");
		CHECK(p, extents[i].depth < bpull_disk_depth(p->guest.disk),
		      "it names image %u of %u", extents[i].depth, bpull_disk_depth(p->guest.disk));
		at += extents[i].length;
	}
	CHECK(p, at <= bpull_disk_size(p->guest.disk), "the map is longer than the disk");
}

/* Not, where its event waits to be taken: then another may be started. */
static bool is_known_to_run(struct play *p)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	return bpull_job_get_info(p->guest.disk, &info) && info.state != BPULL_JOB_CONCLUDED;
}

/* Another target than the one that runs, a wrong one, options that are none. */
static void ask_check(struct play *p, bool start)
{
	static const char *const wrong_names[] = { "/nowhere", "/top", "" };
	unsigned i = (unsigned)play_below(p, p->chain->n_files + 3);
	struct bpull_job_options o = { .size = sizeof(o),
				       .flags = play_below(p, 8) ? 0 : 1u << 31 };
	bool is_wrong = o.flags != 0;
	struct bpull_error error;
	int rc;

	if (i && i < p->chain->n_files)
		o.base = play_base_name(p, i);
	if (i > p->chain->n_files)
		o.base = wrong_names[play_below(p, ARRAY_LEN(wrong_names))];
	is_wrong |= i > p->chain->n_files;
	rc = start ? bpull_job_start(p->guest.disk, &o, &error)
		   : bpull_job_check(p->guest.disk, &o, &error);
	CHECK(p, rc || !start, "a second job was started");
	CHECK(p, !start || is_wrong || rc == -EBUSY, "a second job is refused with %s",
	      strerror(-rc));
	CHECK(p, rc || !is_wrong, "a wrong base, or wrong flags, are accepted");
	CHECK(p, !rc || error.message[0], "it does not say why");
}

void play_ask(struct play *p)
{
	play_met.asked++;
	switch (play_below(p, 7)) {
	case 0: ask_find(p); break;
	case 1: ask_depth(p); break;
	case 2: ask_map(p); break;
	case 3: ask_check(p, p->job_runs && is_known_to_run(p)); break;
	case 4: play_watch_job(p); break;
	default: ask_check(p, false); break;
	}
}
