/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A backing file that can't grow while a job on it runs, and for long: what the messages say, what
 * the guest may do meanwhile, and that the next job goes on once the disk was opened anew.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/chains/nodes_rig.h"
#include "tests/support/files/scratch.h"

/* No file gets anything behind its first page, which has room for no table. */
static void limit_files(bool on)
{
	struct rlimit limit;

	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = on ? 4096 : limit.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void expect_words(const char *message, const char *name)
{
	const char *words[] = { scratch(name), strerror(EFBIG), "raise the limit on file sizes",
				"close",       "open it again", "the disk reads and writes" };

	for (unsigned i = 0; i < sizeof(words) / sizeof(*words); i++)
		cr_assert(strstr(message, words[i]), "no \"%s\" in: %s", words[i], message);
}

/* Some of it is published below, and what is in memory only can't come there. */
static void fail_for_want_of_room(struct bpull_disk *disk, struct bpull_job_options o,
				  const char *written)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_job_options again = o;
	struct bpull_event event;
	uint64_t random = 5;

	o.bandwidth = MiB;
	nodes_start(disk, o);
	do {
		usleep(10000);
		cr_assert_eq(bpull_job_get_info(disk, &info), 1);
	} while (info.copied_bytes < 256 * 1024);
	limit_files(true);
	cr_assert_eq(bpull_job_wait(disk, -1), 0);
	limit_files(false);
	cr_assert_eq(bpull_engine_wait(nodes_engine, &event, 1, 0), 1);
	cr_assert_eq(event.error, -EFBIG);
	expect_words(event.message, written);

	for (unsigned i = 0; i < 50; i++)
		nodes_write_and_read(disk, &random);
	nodes_expect_disk(disk);
	again.size = sizeof(again);
	again.top = again.top ? scratch(again.top) : NULL;
	again.base = again.base ? scratch(again.base) : NULL;
	cr_assert_eq(bpull_job_start(disk, &again, &nodes_error), -EIO);
	expect_words(nodes_error.message, written);
}

static void go_on_when_opened_anew(struct bpull_job_options o, const char *written)
{
	struct bpull_disk *disk;

	signal(SIGXFSZ, SIG_IGN);
	nodes_make_chain("qcow2");
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	fail_for_want_of_room(disk, o, written);
	bpull_disk_close(disk);
	nodes_expect_image("top", "qcow2");

	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk, o);
	cr_assert_eq(nodes_work_until_over(disk, 6), BPULL_JOB_COMPLETED);
	nodes_expect_disk(disk);
	bpull_disk_close(disk);
	nodes_expect_image("top", "qcow2");
}

Test(nodes, a_commit_without_room_says_when_the_next_one_may_come)
{
	go_on_when_opened_anew((struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
							   .top = "a",
							   .base = "b" },
			       "b");
}

Test(nodes, a_compaction_without_room_says_when_the_next_one_may_come)
{
	go_on_when_opened_anew((struct bpull_job_options){ .top = "a", .base = "base" }, "a");
}
