/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of what is done to images at rest, failing: create, check,
 * repair, map, info, measure, flatten. See oom_calls.h for what must hold.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/images/build_image.h"
#include "tests/whole/faults/oom_calls.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(600);
TestSuite(oom_api, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(600));

/* ---- create ---- */

static void put_chain_alone(void)
{
	oom_put_chain();
	unlink(scratch("new"));
}

static int create(enum bpull_format format, struct bpull_error *error)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = format,
					  .cluster_size = 4096,
					  .backing_name = "mid",
					  .backing_format = BPULL_FORMAT_QCOW2 };

	return bpull_create(scratch("new"), &o, error);
}

static int create_qcow2(struct bpull_error *error)
{
	return create(BPULL_FORMAT_QCOW2, error);
}

static int create_qed(struct bpull_error *error)
{
	return create(BPULL_FORMAT_QED, error);
}

static void judge_new(void)
{
	struct bpull_check_result result = { .size = sizeof(result) };

	cr_assert_eq(bpull_check(scratch("new"), NULL, &result, NULL), 0);
	cr_assert(!result.n_corruptions && !result.n_leaks);
}

Test(oom_api, a_create_without_memory_leaves_no_file)
{
	oom_call_all(&(struct oom_call){ "create qcow2", put_chain_alone, create_qcow2, judge_new },
		     5);
	oom_call_all(&(struct oom_call){ "create qed", put_chain_alone, create_qed, judge_new }, 5);
}

/* ---- looking ---- */

static int map(struct bpull_error *error)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .io = BPULL_IO_THREADS };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_READ_ONLY };
	struct bpull_extent extents[8];
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	uint32_t depth;
	uint64_t at = 0;
	int n, rc = bpull_engine_open(&eo, &engine, error);

	if (rc)
		return rc;
	rc = bpull_disk_open(engine, scratch("top"), &o, &disk, error);
	if (!rc)
		rc = bpull_disk_find(disk, scratch("mid"), &depth, error);
	cr_assert(rc || depth == 1);
	while (!rc && (n = bpull_disk_map(disk, at, extents, 8, error)))
		if (n < 0)
			rc = n;
		else
			at = extents[n - 1].start + extents[n - 1].length;
	bpull_engine_close(engine);
	return rc;
}

static int info(struct bpull_error *error)
{
	struct bpull_info *info;
	int rc = bpull_info_open(scratch("top"), NULL, &info, error);

	if (rc)
		return rc;
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(bpull_info_layer(info, i,
					      &(struct bpull_layer_info){
						      .size = sizeof(struct bpull_layer_info) }),
			     0);
	bpull_info_close(info);
	return 0;
}

static int measure(struct bpull_error *error)
{
	struct bpull_measure m = { .size = sizeof(m) };
	int rc = bpull_image_measure(scratch("top"), NULL, &m, error);

	cr_assert(rc || m.growth);
	return rc;
}

static void count(void *opaque, int is_leak, const char *text)
{
	++*(unsigned *)opaque;
}

static int check_with(const char *name, enum bpull_repair repair, struct bpull_check_result *result,
		      struct bpull_error *error)
{
	unsigned n = 0;
	struct bpull_check_options o = {
		.size = sizeof(o), .report = count, .opaque = &n, .repair = repair
	};

	return bpull_check(scratch(name), &o, result, error);
}

static int check(struct bpull_error *error)
{
	struct bpull_check_result result = { .size = sizeof(result) };
	int rc = check_with("top", BPULL_REPAIR_NONE, &result, error);

	cr_assert(!result.n_corruptions && !result.n_leaks);
	return rc;
}

static void judge_top(void)
{
	oom_judge_image("top", true);
}

Test(oom_api, calls_that_look_report_a_lack_of_memory)
{
	oom_call_all(&(struct oom_call){ "map", oom_put_chain, map, judge_top }, 20);
	oom_call_all(&(struct oom_call){ "info", oom_put_chain, info, judge_top }, 10);
	oom_call_all(&(struct oom_call){ "measure", oom_put_chain, measure, judge_top }, 10);
	oom_call_all(&(struct oom_call){ "check", oom_put_chain, check, judge_top }, 5);
}

/* ---- repair ---- */

static uint64_t be_at(int fd, uint64_t off)
{
	uint8_t b[8];
	uint64_t v = 0;

	cr_assert_eq(pread(fd, b, 8, (off_t)off), 8);
	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | b[i];
	return v;
}

/* The first refcount block has n 16-bit counts from idx on set to this. */
static void set_counts(unsigned idx, unsigned n, uint8_t count)
{
	int fd = open(scratch("top"), O_RDWR);
	uint64_t block = be_at(fd, be_at(fd, 48));
	uint8_t v[2] = { 0, count };

	for (unsigned i = idx; i < idx + n; i++)
		cr_assert_eq(pwrite(fd, v, 2, (off_t)(block + 2 * i)), 2);
	close(fd);
}

static unsigned n_clusters(void)
{
	int fd = open(scratch("top"), O_RDONLY);
	off_t len = lseek(fd, 0, SEEK_END);

	close(fd);
	return (unsigned)(len / 4096);
}

static void put_leaks(void)
{
	unsigned n;

	oom_put_chain();
	n = n_clusters();
	cr_assert_eq(truncate(scratch("top"), (n + 8) * 4096), 0);
	set_counts(n + 1, 5, 1);
}

static void put_no_counts(void)
{
	oom_put_chain();
	set_counts(0, n_clusters(), 0);
}

static int repair(struct bpull_error *error)
{
	struct bpull_check_result result = { .size = sizeof(result) };
	int rc = check_with("top", BPULL_REPAIR_ALL, &result, error);

	cr_assert(rc || !result.unrepaired[0], "%s", result.unrepaired);
	return rc;
}

Test(oom_api, a_qcow2_repair_without_memory_can_be_repeated)
{
	oom_call_all(&(struct oom_call){ "repair of leaks", put_leaks, repair, judge_top }, 5);
	oom_call_all(&(struct oom_call){ "rebuild", put_no_counts, repair, judge_top }, 8);
}

/* ---- flatten ---- */

static int end_of_job(struct bpull_engine *engine, struct bpull_event *event,
		      struct bpull_error *error)
{
	cr_assert_eq(bpull_engine_wait(engine, event, 1, 20000), 1, "it hangs");
	cr_assert_eq(event->type, BPULL_EVENT_JOB);
	cr_assert((event->status == BPULL_JOB_COMPLETED) == !event->error);
	*error = (struct bpull_error){ .code = event->error };
	strncpy(error->message, event->message, sizeof(error->message) - 1);
	return event->error;
}

static int flatten(enum bpull_format format, struct bpull_error *error)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .io = BPULL_IO_THREADS };
	struct bpull_create_options o = { .size = sizeof(o), .format = format };
	struct bpull_engine *engine;
	struct bpull_event event = { 0 };
	struct bpull_disk *disk;
	int rc = bpull_engine_open(&eo, &engine, error);

	if (rc)
		return rc;
	rc = bpull_flatten_open(engine, scratch("top"), NULL, scratch("new"), &o, &disk, error);
	if (!rc)
		rc = bpull_job_start(disk, NULL, error);
	rc = rc ? rc : end_of_job(engine, &event, error);
	bpull_engine_close(engine);
	return rc;
}

static int flatten_raw(struct bpull_error *error)
{
	return flatten(BPULL_FORMAT_RAW, error);
}

static int flatten_qcow2(struct bpull_error *error)
{
	return flatten(BPULL_FORMAT_QCOW2, error);
}

static int flatten_qed(struct bpull_error *error)
{
	return flatten(BPULL_FORMAT_QED, error);
}

static void judge_flat(void)
{
	oom_judge_image("new", false);
}

Test(oom_api, a_flatten_to_raw_without_memory_can_be_repeated)
{
	oom_call_all(&(struct oom_call){ "flatten, raw", put_chain_alone, flatten_raw, judge_flat },
		     50);
}

Test(oom_api, a_flatten_to_qcow2_without_memory_can_be_repeated)
{
	oom_call_all(
		&(struct oom_call){ "flatten, qcow2", put_chain_alone, flatten_qcow2, judge_flat },
		50);
}

Test(oom_api, a_flatten_to_qed_without_memory_can_be_repeated)
{
	oom_call_all(&(struct oom_call){ "flatten, qed", put_chain_alone, flatten_qed, judge_flat },
		     50);
}

/* ---- QED: what lies last moves into a leaked cluster ---- */

static uint64_t le_at(int fd, uint64_t off)
{
	return __builtin_bswap64(be_at(fd, off));
}

/* A flattened one, with its first data cluster forgotten. */
static void put_qed_leak(void)
{
	struct bpull_error error;
	uint64_t l2, at;
	int fd;

	put_chain_alone();
	cr_assert_eq(flatten_qed(&error), 0, "%s", error.message);
	fd = open(scratch("new"), O_RDWR);
	l2 = le_at(fd, le_at(fd, 40));
	for (at = l2; le_at(fd, at) < 4096; at += 8)
		;
	cr_assert_eq(pwrite(fd, &(uint64_t){ 0 }, 8, (off_t)at), 8);
	close(fd);
}

static int repair_qed(struct bpull_error *error)
{
	struct bpull_check_result result = { .size = sizeof(result) };

	return check_with("new", BPULL_REPAIR_ALL, &result, error);
}

Test(oom_api, a_qed_repair_without_memory_can_be_repeated)
{
	oom_call_all(&(struct oom_call){ "compact", put_qed_leak, repair_qed, judge_new }, 8);
}

/* ---- a pull that leaves a base, whose name is made ---- */

/* By a symbolic link: its name is looked up in another directory than what it leads to. */
static void put_linked_base(void)
{
	unlink(scratch("base"));
	oom_put_chain();
	mkdir(scratch("deep"), 0700);
	cr_assert_eq(rename(scratch("base"), scratch("deep/file")), 0);
	cr_assert_eq(symlink("deep/file", scratch("base")), 0);
}

static int pull_to_base(struct bpull_error *error)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .io = BPULL_IO_THREADS };
	struct bpull_job_options o = { .size = sizeof(o), .base = scratch("base") };
	struct bpull_engine *engine;
	struct bpull_event event = { 0 };
	struct bpull_disk *disk;
	int rc = bpull_engine_open(&eo, &engine, error);

	if (rc)
		return rc;
	rc = bpull_disk_open(engine, scratch("top"), NULL, &disk, error);
	if (!rc)
		rc = bpull_job_start(disk, &o, error);
	rc = rc ? rc : end_of_job(engine, &event, error);
	bpull_engine_close(engine);
	return rc;
}

static void judge_based(void)
{
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;

	judge_top();
	cr_assert_eq(bpull_info_open(scratch("top"), NULL, &info, NULL), 0);
	cr_assert_eq(bpull_info_depth(info), 2);
	cr_assert_eq(bpull_info_layer(info, 0, &layer), 0);
	cr_assert_str_eq(layer.backing_name, "base");
	bpull_info_close(info);
}

Test(oom_api, a_pull_to_a_base_without_memory_can_be_repeated)
{
	oom_call_all(
		&(struct oom_call){ "pull to a base", put_linked_base, pull_to_base, judge_based },
		60);
}
