/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files that the program opens: bpull_disk_options.open_file. The names it is asked for lead
 * nowhere from where the test runs; what it answers with is checked like a file of our own opening.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/api_rig.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define LEN     (2u * MiB)
#define N_ASKED 32

/* What the next answers are, and what was asked. */
static struct {
	const char *refused; /* this name, with `code` */
	int code;
	const char *bent; /* this name is opened so instead */
	int bent_flags;
	const char *other; /* ... and this file */
	int twice;         /* the same descriptor whenever it is asked; -1: no */
	bool has_locks;    /* a second description is answered */
	struct {
		char name[64], recorded[64];
		enum bpull_open_need need;
		enum bpull_open_what what;
	} asked[N_ASKED];
	unsigned n;
} give;

static int flags_for(enum bpull_open_need need)
{
	return need == BPULL_OPEN_WRITE ? O_RDWR : O_RDONLY;
}

static int give_file(void *opaque, const struct bpull_open_request *request)
{
	bool is_bent = give.bent && !strcmp(request->name, give.bent);

	cr_assert_eq(opaque, &give);
	cr_assert_eq(request->size, sizeof(*request));
	cr_assert_lt(give.n, N_ASKED);
	snprintf(give.asked[give.n].name, 64, "%s", request->name);
	snprintf(give.asked[give.n].recorded, 64, "%s",
		 request->recorded ? request->recorded : "-");
	give.asked[give.n].need = request->need;
	give.asked[give.n++].what = request->what;
	if (request->need == BPULL_OPEN_LOCK && !give.has_locks)
		return -EOPNOTSUPP;
	if (give.refused && !strcmp(request->name, give.refused))
		return give.code;
	if (is_bent && give.twice >= 0)
		return give.twice;
	if (is_bent)
		return open(scratch(give.other ? give.other : give.bent),
			    give.bent_flags ? give.bent_flags : flags_for(request->need));
	return open(scratch(request->name), flags_for(request->need));
}

static struct bpull_disk_options options(uint32_t flags)
{
	return (struct bpull_disk_options){ .size = sizeof(struct bpull_disk_options),
					    .flags = flags,
					    .open_file = give_file,
					    .open_opaque = &give };
}

static void make(const char *name, const char *backing, enum bpull_format backing_format)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .backing_name = backing,
					  .backing_format = backing_format };

	cr_assert_eq(bpull_create(scratch(name), &o, &error), 0, "%s", error.message);
}

/* top -> d/mid -> d/base */
static void set_up(void)
{
	memset(&give, 0, sizeof(give));
	give.twice = -1;
	scratch_make();
	cr_assert_eq(mkdir(scratch("d"), 0700), 0);
	scratch_filled("d/base", 0x5a, LEN);
	make("d/mid", "base", BPULL_FORMAT_RAW);
	make("top", "d/mid", BPULL_FORMAT_QCOW2);
	cr_assert_eq(bpull_engine_open(NULL, &engine, &error), 0, "%s", error.message);
}

TIME_LIMIT(60);
TestSuite(open_file, .init = set_up, .fini = api_rig_end, .timeout = TIME_LIMIT_CLOCK(60));

static int try_image(const char *name, uint32_t flags)
{
	struct bpull_disk_options o = options(flags);
	struct bpull_disk *disk = NULL;
	int rc;

	give.n = 0;
	rc = bpull_disk_open(engine, name, &o, &disk, &error);
	bpull_disk_close(disk);
	return rc;
}

static int try_open(uint32_t flags)
{
	return try_image("top", flags);
}

static void expect_asked(unsigned i, const char *name, const char *recorded,
			 enum bpull_open_need need)
{
	cr_assert_lt(i, give.n);
	cr_expect_str_eq(give.asked[i].name, name);
	cr_expect_str_eq(give.asked[i].recorded, recorded);
	cr_expect_eq(give.asked[i].need, need, "%s: %d", name, give.asked[i].need);
	cr_expect_eq(give.asked[i].what, BPULL_OPEN_IMAGE);
}

static unsigned n_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

Test(open_file, each_file_is_asked_for_once_and_pulled)
{
	struct bpull_disk_options o = options(BPULL_DISK_GUEST_IO);
	struct bpull_job_info info;
	struct bpull_disk *disk;
	unsigned n_asked;

	cr_assert_eq(bpull_disk_open(engine, "top", &o, &disk, &error), 0, "%s", error.message);
	n_asked = give.n;
	expect_asked(0, "top", "-", BPULL_OPEN_WRITE);
	for (unsigned i = 1, at = 0; i < give.n; i++)
		if (give.asked[i].need == BPULL_OPEN_LOCK)
			cr_expect_str_eq(give.asked[i].name, give.asked[i - 1].name);
		else if (!at++)
			expect_asked(i, "d/mid", "d/mid", BPULL_OPEN_READ);
		else
			expect_asked(i, "d/base", "base", BPULL_OPEN_READ);
	cr_expect_eq(scratch_run("qemu-io", "-c", "write 0 512", scratch("top"), NULL), 1,
		     "the locks are not taken");
	cr_assert_eq(bpull_job_start(disk, NULL, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_engine_wait(engine, &(struct bpull_event){ 0 }, 1, 30000), 1);
	info = api_rig_info(disk);
	cr_expect_eq(info.status, BPULL_JOB_COMPLETED, "%d", info.error);
	cr_expect_eq(info.copied_bytes, LEN);
	bpull_disk_close(disk);
	cr_expect_eq(give.n, n_asked);
	cr_expect_eq(scratch_run("qemu-img", "compare", scratch("top"), scratch("d/base"), NULL),
		     0);
}

/* Those that are asked for again are the callback's too; and none is leaked, whatever comes. */
Test(open_file, what_is_refused_or_wrong_is_closed)
{
	static const struct {
		const char *name, *other, *word;
		int flags, refusal, rc;
	} cases[] = {
		{ "top", NULL, "top", 0, -EPERM, -EPERM },
		{ "d/mid", NULL, "d/mid", 0, -ENOENT, -ENOENT },
		{ "d/base", NULL, "d/base", 0, -EMFILE, -EMFILE },
		{ "top", NULL, "reading and writing", O_RDONLY | O_CLOEXEC, 0, -EACCES },
		{ "top", NULL, "O_APPEND", O_RDWR | O_APPEND, 0, -EINVAL },
		{ "top", NULL, "O_PATH", O_PATH, 0, -EBADF },
		{ "d/mid", NULL, "for reading", O_WRONLY, 0, -EACCES },
		{ "d/mid", "fifo", "neither a regular file", O_RDWR, 0, -EINVAL },
		{ "d/base", "d", "directory", O_RDONLY, 0, -EISDIR },
		{ "d/base", "made_up", "kernel", O_RDONLY, 0, -EINVAL },
		{ "d/base", "top", "loop", O_RDONLY, 0, -ELOOP },
	};
	unsigned n_before;

	cr_assert_eq(mkfifo(scratch("fifo"), 0600), 0);
	cr_assert_eq(symlink("/proc/self/status", scratch("made_up")), 0);
	cr_assert_eq(try_open(0), 0, "%s", error.message);
	n_before = n_descriptors();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		give.refused = cases[i].refusal ? cases[i].name : NULL;
		give.code = cases[i].refusal;
		give.bent = cases[i].refusal ? NULL : cases[i].name;
		give.bent_flags = cases[i].flags;
		give.other = cases[i].other;
		cr_expect_eq(try_open(0), cases[i].rc, "case %zu: %d %s", i, error.code,
			     error.message);
		cr_expect(strstr(error.message, cases[i].word), "case %zu: %s", i, error.message);
		cr_expect_eq(n_descriptors(), n_before, "case %zu leaves descriptors", i);
	}
}

/* A descriptor that is in use stays so, with its file's locks. */
Test(open_file, one_descriptor_is_no_two_files)
{
	struct bpull_disk_options o = options(0);
	struct bpull_disk *disk;
	int fd;

	cr_assert_eq(bpull_disk_open(engine, "top", &o, &disk, &error), 0, "%s", error.message);
	for (fd = 3; fd < 256; fd++) {
		struct stat st, top;

		if (!fstat(fd, &st) && !stat(scratch("top"), &top) && st.st_ino == top.st_ino)
			break;
	}
	cr_assert_lt(fd, 256);
	make("other", "d/base", BPULL_FORMAT_RAW);
	give.bent = "d/base";
	give.twice = fd;
	cr_assert_eq(try_image("other", 0), -EINVAL, "%s", error.message);
	cr_expect(strstr(error.message, "descriptor"), "%s", error.message);
	cr_expect_geq(fcntl(fd, F_GETFD), 0, "the disk's descriptor was closed");
	/* Nor does a copy of it take the locks away. */
	give.bent = "top";
	give.twice = dup(fd);
	cr_assert_eq(try_open(0), -EBUSY, "%s", error.message);
	cr_expect_eq(scratch_run("qemu-io", "-c", "write 0 512", scratch("top"), NULL), 1,
		     "the locks are gone");
	bpull_disk_close(disk);
	cr_expect_eq(scratch_run("qemu-io", "-c", "write 0 512", scratch("top"), NULL), 0,
		     "the locks are there still");
}

static bool is_direct(int fd)
{
	return fcntl(fd, F_GETFL) & O_DIRECT;
}

/* Copies of a descriptor share its flags: who opens the file again leaves the disk's alone. */
Test(open_file, flags_are_those_of_the_first_use)
{
	struct bpull_disk_options o = options(BPULL_DISK_GUEST_IO | BPULL_DISK_DIRECT);
	int fd = open(scratch("top"), O_RDWR), mine = dup(fd);
	struct bpull_disk *disk;
	struct bpull_info *info;

	give.bent = "top";
	give.twice = fd;
	cr_assert_eq(bpull_disk_open(engine, "top", &o, &disk, &error), 0, "%s", error.message);
	cr_assert(is_direct(mine));
	o.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING | BPULL_DISK_FORCE_SHARE;
	give.twice = dup(mine);
	cr_assert_eq(bpull_info_open("top", &o, &info, &error), 0, "%s", error.message);
	cr_expect(is_direct(mine), "a look");
	bpull_info_close(info);
	cr_expect(is_direct(mine), "its end");
	give.twice = dup(mine);
	cr_assert_eq(try_open(BPULL_DISK_GUEST_IO), -EBUSY, "%s", error.message);
	cr_expect(is_direct(mine), "what was refused");
	bpull_disk_close(disk);
	give.twice = dup(mine);
	cr_assert_eq(try_open(BPULL_DISK_GUEST_IO), 0, "%s", error.message);
	cr_expect(!is_direct(mine), "a first use decides again");
	close(mine);
}

Test(open_file, locks_are_on_a_second_description_where_one_is_given)
{
	struct bpull_disk_options o = options(BPULL_DISK_GUEST_IO);
	struct bpull_disk *disk;
	unsigned n_locks = 0;

	give.has_locks = true;
	cr_assert_eq(bpull_disk_open(engine, "top", &o, &disk, &error), 0, "%s", error.message);
	for (unsigned i = 0; i < give.n; i++)
		n_locks += give.asked[i].need == BPULL_OPEN_LOCK;
	cr_expect_eq(n_locks, 3);
	cr_expect_eq(scratch_run("qemu-io", "-c", "write 0 512", scratch("top"), NULL), 1,
		     "the locks are not taken");
	bpull_disk_close(disk);
	cr_expect_eq(scratch_run("qemu-io", "-c", "write 0 512", scratch("top"), NULL), 0);
}

Test(open_file, the_callback_is_the_policy)
{
	const char *dirs[] = { "/" };
	struct bpull_disk_options o = options(0);
	struct bpull_info *info;

	o.backing_rule = BPULL_BACKING_ANY;
	cr_expect_eq(api_rig_try_open(o), -EINVAL);
	o.backing_rule = BPULL_BACKING_DIRS;
	o.allowed_dirs = dirs;
	o.n_allowed_dirs = 1;
	cr_expect_eq(api_rig_try_open(o), -EINVAL);
	o = options(0);
	o.open_file = NULL;
	cr_expect_eq(api_rig_try_open(o), -EINVAL);
	cr_expect(strstr(error.message, "open_opaque"), "%s", error.message);
	/* A file far from the image, which no rule would have allowed. */
	cr_assert_eq(scratch_run("qemu-img", "create", "-u", "-f", "qcow2", "-F", "raw", "-b",
				 "/nowhere/at all", scratch("top2"), "2M", NULL),
		     0);
	o = options(0);
	give.bent = "/nowhere/at all";
	give.other = "d/base";
	cr_assert_eq(bpull_info_open("top2", &o, &info, &error), 0, "%s", error.message);
	bpull_info_close(info);
}

/* The base of a job is one of the names; the new name is made from them, or given. */
Test(open_file, a_base_is_found_by_its_name)
{
	struct bpull_job_options job = { .size = sizeof(job), .base = scratch("d/base") };
	struct bpull_disk_options o = options(0);
	struct bpull_disk *disk;
	uint32_t depth;

	cr_assert_eq(bpull_disk_open(engine, "top", &o, &disk, &error), 0, "%s", error.message);
	cr_expect_eq(bpull_disk_find(disk, scratch("d/base"), &depth, &error), -EINVAL);
	cr_expect_eq(bpull_job_start(disk, &job, &error), -EINVAL);
	cr_assert_eq(bpull_disk_find(disk, "d/base", &depth, &error), 0, "%s", error.message);
	cr_expect_eq(depth, 2);
	job.base = "base"; /* as recorded */
	job.base_name = "base";
	cr_expect_eq(bpull_job_start(disk, &job, &error), -EINVAL, "%s", error.message);
	job.base_name = NULL;
	cr_assert_eq(bpull_job_start(disk, &job, &error), 0, "%s", error.message);
	cr_assert_eq(api_rig_info(disk).type, BPULL_JOB_TYPE_PULL);
	cr_assert_eq(bpull_engine_wait(engine, &(struct bpull_event){ 0 }, 1, 30000), 1);
	cr_expect_eq(api_rig_info(disk).status, BPULL_JOB_COMPLETED);
	bpull_disk_close(disk);
	cr_assert_eq(try_open(BPULL_DISK_READ_ONLY), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch("top"), NULL, &disk, &error), 0, "%s",
		     error.message);
	cr_expect_eq(bpull_disk_depth(disk), 2);
	bpull_disk_close(disk);
}
