/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * NULL where a pointer is needed: one row for each function of the public
 * headers and each such parameter. check_tree.py reads the rows, and fails where
 * a function or a parameter has none. And what succeeds leaves no old error.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/blockpull-libvirt.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define BASE_LEN (1u << 20)

static struct bpull_engine *engine, *threaded;
static struct bpull_disk *disk, *other; /* of each */
static struct bpull_virt *virt;
static struct bpull_info *info;
static struct bpull_error error;
static char top[512], out[512];

static void dirty(void)
{
	error.code = 77;
	strcpy(error.message, "of an earlier call");
}

static struct bpull_disk *open_disk(struct bpull_engine *on, const char *name)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_disk *opened;

	cr_assert_eq(bpull_disk_open(on, scratch(name), &o, &opened, &error), 0, "%s",
		     error.message);
	return opened;
}

static void begin(void)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = BPULL_ENGINE_THREAD };
	uint8_t *bytes = calloc(1, BASE_LEN);

	scratch_make();
	scratch_file("base", bytes, BASE_LEN);
	free(bytes);
	make_overlay("top", BPULL_FORMAT_QCOW2, "base");
	make_overlay("other", BPULL_FORMAT_QCOW2, "base");
	make_overlay("third", BPULL_FORMAT_QCOW2, "base");
	strcpy(top, scratch("third"));
	strcpy(out, scratch("out"));
	cr_assert_eq(bpull_engine_open(NULL, &engine, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_engine_open(&o, &threaded, &error), 0, "%s", error.message);
	disk = open_disk(engine, "top");
	other = open_disk(threaded, "other");
	cr_assert_eq(bpull_virt_open(NULL, NULL, &virt, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_info_open(top, NULL, &info, &error), 0, "%s", error.message);
}

static void end(void)
{
	bpull_info_close(info);
	bpull_virt_close(virt);
	bpull_engine_close(threaded);
	bpull_engine_close(engine);
	scratch_remove();
}

TIME_LIMIT(120);
TestSuite(api_null, .init = begin, .fini = end, .timeout = TIME_LIMIT_CLOCK(120));

/* -EINVAL, and a sentence that names the parameter. */
#define REFUSED(function, parameter, args)                                                       \
	do {                                                                                     \
		dirty();                                                                         \
		cr_expect_eq(function args, -EINVAL, #function ": " #parameter);                 \
		cr_expect_eq(error.code, -EINVAL, #function ": " #parameter ": %d", error.code); \
		cr_expect(strstr(error.message, #parameter), #function ": " #parameter ": %s",   \
			  error.message);                                                        \
	} while (0)
/* The same of a function that has no error to fill. */
#define INVALID(function, parameter, args) \
	cr_expect_eq(function args, -EINVAL, #function ": " #parameter)
/* libvirt's way. */
#define VIRT_REFUSED(function, parameter, args)                                                  \
	do {                                                                                     \
		dirty();                                                                         \
		cr_expect_eq(function args, -1, #function ": " #parameter);                      \
		cr_expect_eq(error.code, -EINVAL, #function ": " #parameter ": %d", error.code); \
		cr_expect(*error.message &&strcmp(error.message, "of an earlier call"),          \
			  #function ": " #parameter);                                            \
	} while (0)
/* Returns this, and does nothing. */
#define NOTHING(function, parameter, args, value) \
	cr_expect_eq(function args, value, #function ": " #parameter)
#define NO_EFFECT(function, parameter, args) function args

Test(api_null, null_engines_are_refused_in_every_call)
{
	struct bpull_event event;

	REFUSED(bpull_engine_open, engine, (NULL, NULL, &error));
	NO_EFFECT(bpull_engine_close, engine, (NULL));
	NOTHING(bpull_engine_io_name, engine, (NULL), NULL);
	NO_EFFECT(bpull_engine_set_speed, engine, (NULL, 0, 0));
	INVALID(bpull_engine_fd, engine, (NULL));
	INVALID(bpull_engine_process, engine, (NULL, &event, 1));
	INVALID(bpull_engine_process, events, (engine, NULL, 1));
	INVALID(bpull_engine_process, events, (threaded, NULL, 1));
	INVALID(bpull_engine_poll, engine, (NULL, &event, 1));
	INVALID(bpull_engine_poll, events, (engine, NULL, 1));
	INVALID(bpull_engine_poll, events, (threaded, NULL, 1));
	INVALID(bpull_engine_wait, engine, (NULL, &event, 1, 0));
	INVALID(bpull_engine_wait, events, (engine, NULL, 1, 0));
	NOTHING(bpull_format_by_name, name, (NULL), BPULL_FORMAT_UNKNOWN);
}

Test(api_null, null_disks_are_refused_in_every_call)
{
	struct bpull_disk_options o = { .size = sizeof(o), .n_allowed_dirs = 1 };
	const char *none[] = { NULL };
	struct bpull_disk *opened = disk;
	struct bpull_extent extent;
	uint32_t depth;
	struct bpull_disk_stats stats = { .size = sizeof(stats) };

	REFUSED(bpull_disk_open, engine, (NULL, top, NULL, &opened, &error));
	REFUSED(bpull_disk_open, path, (engine, NULL, NULL, &opened, &error));
	REFUSED(bpull_disk_open, disk, (engine, top, NULL, NULL, &error));
	cr_expect_eq(bpull_disk_open(engine, top, &o, &opened, &error), -EINVAL);
	o.allowed_dirs = none;
	cr_expect_eq(bpull_disk_open(engine, top, &o, &opened, &error), -EINVAL);
	REFUSED(bpull_flatten_open, engine, (NULL, top, NULL, out, NULL, &opened, &error));
	REFUSED(bpull_flatten_open, source_path, (engine, NULL, NULL, out, NULL, &opened, &error));
	REFUSED(bpull_flatten_open, out_path, (engine, top, NULL, NULL, NULL, &opened, &error));
	REFUSED(bpull_flatten_open, disk, (engine, top, NULL, out, NULL, NULL, &error));
	cr_expect_eq(opened, disk, "a failed call filled it");
	NO_EFFECT(bpull_disk_close, disk, (NULL));
	REFUSED(bpull_disk_inactivate, disk, (NULL, &error));
	REFUSED(bpull_disk_activate, disk, (NULL, &error));
	REFUSED(bpull_disk_try_activate, disk, (NULL, &error));
	NOTHING(bpull_disk_size, disk, (NULL), 0);
	NOTHING(bpull_disk_depth, disk, (NULL), 0);
	REFUSED(bpull_disk_find, disk, (NULL, top, &depth, &error));
	REFUSED(bpull_disk_find, path, (disk, NULL, &depth, &error));
	REFUSED(bpull_disk_find, depth, (disk, top, NULL, &error));
	REFUSED(bpull_disk_snapshot, snapshots, (NULL, 1, &error));
	NOTHING(bpull_disk_warning, disk, (NULL), NULL);
	NOTHING(bpull_disk_hint, disk, (NULL), NULL);
	NOTHING(bpull_disk_note, disk, (NULL), NULL);
	REFUSED(bpull_disk_map, disk, (NULL, 0, &extent, 1, &error));
	REFUSED(bpull_disk_map, extents, (disk, 0, NULL, 1, &error));
	INVALID(bpull_disk_set_copy_on_read, disk, (NULL, 1));
	REFUSED(bpull_disk_resize, disk, (NULL, BASE_LEN, NULL, &error));
	NO_EFFECT(bpull_source_read_done, ask, (NULL, 0));
	NO_EFFECT(bpull_source_extents_done, ask, (NULL, 0, NULL, 0));
	NO_EFFECT(bpull_source_extents_done, extents, (NULL, 0, NULL, 1));
	INVALID(bpull_disk_get_stats, disk, (NULL, &stats));
	INVALID(bpull_disk_get_stats, stats, (disk, NULL));
}

Test(api_null, calls_on_the_job_of_a_null_disk_are_refused)
{
	struct bpull_job_rates rates = { .size = sizeof(rates) };
	struct bpull_job_info job = { .size = sizeof(job) };

	REFUSED(bpull_job_start, disk, (NULL, NULL, &error));
	REFUSED(bpull_job_check, disk, (NULL, NULL, &error));
	INVALID(bpull_job_get_info, disk, (NULL, &job));
	INVALID(bpull_job_get_info, info, (disk, NULL));
	INVALID(bpull_job_set_speed, disk, (NULL, 0, 0));
	INVALID(bpull_job_set_rates, disk, (NULL, &rates));
	INVALID(bpull_job_set_rates, rates, (disk, NULL));
	INVALID(bpull_job_pause, disk, (NULL));
	INVALID(bpull_job_resume, disk, (NULL));
	INVALID(bpull_job_abort, disk, (NULL));
	INVALID(bpull_job_finalize, disk, (NULL));
	INVALID(bpull_job_wait, disk, (NULL, 0));
}

static char id;

static int result_of_request(void)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
	cr_assert_eq(event.user_data, &id);
	return event.error;
}

/* The result of a request that ends in an event. */
#define REQUEST_INVALID(function, parameter, args)                                     \
	do {                                                                           \
		function args;                                                         \
		cr_expect_eq(result_of_request(), -EINVAL, #function ": " #parameter); \
	} while (0)

Test(api_null, requests_without_disk_or_buffer_are_refused)
{
	char bytes[16];
	struct iovec hole[] = { { bytes, 16 }, { NULL, 1 } },
		     empty[] = { { bytes, 16 }, { NULL, 0 } };
	struct bpull_extent extent;

	NO_EFFECT(bpull_read, disk, (NULL, empty, 1, 0, &id));
	NO_EFFECT(bpull_write, disk, (NULL, empty, 1, 0, 0, &id));
	NO_EFFECT(bpull_write_zeroes, disk, (NULL, 0, 1, 0, &id));
	NO_EFFECT(bpull_discard, disk, (NULL, 0, 1, &id));
	NO_EFFECT(bpull_flush, disk, (NULL, &id));
	NO_EFFECT(bpull_block_status, disk, (NULL, 0, 1, &extent, 1, &id));
	REQUEST_INVALID(bpull_read, iov, (disk, NULL, 1, 0, &id));
	REQUEST_INVALID(bpull_read, iov, (disk, hole, 2, 0, &id));
	REQUEST_INVALID(bpull_write, iov, (disk, NULL, 1, 0, 0, &id));
	REQUEST_INVALID(bpull_write, iov, (disk, hole, 2, 0, 0, &id));
	REQUEST_INVALID(bpull_block_status, extents, (disk, 0, 1, NULL, 1, &id));
	/* No byte, no pointer. */
	bpull_read(disk, empty, 2, 0, &id);
	cr_expect_eq(result_of_request(), 0);
	bpull_write(disk, NULL, 0, 0, 0, &id);
	cr_expect_eq(result_of_request(), 0);
}

Test(api_null, requests_that_wait)
{
	struct iovec empty = { NULL, 0 }, hole = { NULL, 1 };
	char bytes[16] = { 0 };
	struct bpull_extent extent;

	INVALID(bpull_pread, disk, (NULL, bytes, 16, 0));
	INVALID(bpull_pread, buf, (other, NULL, 16, 0));
	cr_expect_eq(bpull_pread(other, NULL, 0, 0), 0);
	INVALID(bpull_pwrite, disk, (NULL, bytes, 16, 0, 0));
	INVALID(bpull_pwrite, buf, (other, NULL, 16, 0, 0));
	cr_expect_eq(bpull_pwrite(other, NULL, 0, 0, 0), 0);
	INVALID(bpull_preadv, disk, (NULL, &empty, 1, 0));
	INVALID(bpull_preadv, iov, (other, NULL, 1, 0));
	INVALID(bpull_preadv, iov, (other, &hole, 1, 0));
	cr_expect_eq(bpull_preadv(other, &empty, 1, 0), 0);
	INVALID(bpull_pwritev, disk, (NULL, &empty, 1, 0, 0));
	INVALID(bpull_pwritev, iov, (other, NULL, 1, 0, 0));
	INVALID(bpull_pwritev, iov, (other, &hole, 1, 0, 0));
	INVALID(bpull_disk_drain, disk, (NULL, 0));
	INVALID(bpull_pwrite_zeroes, disk, (NULL, 0, 16, 0));
	INVALID(bpull_pdiscard, disk, (NULL, 0, 16));
	INVALID(bpull_pflush, disk, (NULL));
	REFUSED(bpull_presize, disk, (NULL, BASE_LEN, &error));
	INVALID(bpull_pblock_status, disk, (NULL, 0, 16, &extent, 1));
	INVALID(bpull_pblock_status, extents, (other, 0, 16, NULL, 1));
}

Test(api_null, images_at_rest)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .virtual_size = BASE_LEN };
	struct bpull_check_result checked = { .size = sizeof(checked) };
	struct bpull_measure measured = { .size = sizeof(measured) };
	struct bpull_layer_info layer = { .size = sizeof(layer) };

	REFUSED(bpull_info_open, path, (NULL, NULL, &info, &error));
	REFUSED(bpull_info_open, info, (top, NULL, NULL, &error));
	NOTHING(bpull_info_depth, info, (NULL), 0);
	INVALID(bpull_info_layer, info, (NULL, 0, &layer));
	INVALID(bpull_info_layer, layer, (info, 0, NULL));
	NO_EFFECT(bpull_info_close, info, (NULL));
	REFUSED(bpull_check, path, (NULL, NULL, &checked, &error));
	REFUSED(bpull_check, result, (top, NULL, NULL, &error));
	REFUSED(bpull_image_measure, path, (NULL, NULL, &measured, &error));
	REFUSED(bpull_image_measure, result, (top, NULL, NULL, &error));
	REFUSED(bpull_measure_job, path, (NULL, NULL, NULL, &measured, &error));
	REFUSED(bpull_measure_job, result, (top, NULL, NULL, NULL, &error));
	REFUSED(bpull_create, path, (NULL, &o, &error));
	REFUSED(bpull_create, options, (out, NULL, &error));
	cr_expect_neq(access(out, F_OK), 0);
}

static void no_event(struct bpull_virt *from, const char *path, int type, int status, void *opaque)
{
}

Test(api_null, the_libvirt_way)
{
	struct bpull_virt_block_job_info job;

	VIRT_REFUSED(bpull_virt_open, virt, (NULL, NULL, NULL, &error));
	NO_EFFECT(bpull_virt_close, virt, (NULL));
	NOTHING(bpull_virt_engine, virt, (NULL), NULL);
	VIRT_REFUSED(bpull_virt_attach, virt, (NULL, top, disk, &error));
	VIRT_REFUSED(bpull_virt_attach, path, (virt, NULL, disk, &error));
	VIRT_REFUSED(bpull_virt_attach, disk, (virt, top, NULL, &error));
	VIRT_REFUSED(bpull_virt_detach, virt, (NULL, top, &error));
	VIRT_REFUSED(bpull_virt_detach, path, (virt, NULL, &error));
	VIRT_REFUSED(bpull_virt_block_pull, virt, (NULL, top, 0, 0, &error));
	VIRT_REFUSED(bpull_virt_block_pull, path, (virt, NULL, 0, 0, &error));
	VIRT_REFUSED(bpull_virt_block_rebase, virt, (NULL, top, NULL, 0, 0, &error));
	VIRT_REFUSED(bpull_virt_block_rebase, path, (virt, NULL, NULL, 0, 0, &error));
	/* NULL means the whole chain, of which there is no relative name. */
	VIRT_REFUSED(bpull_virt_block_rebase, base,
		     (virt, top, NULL, 0, BPULL_VIRT_BLOCK_REBASE_RELATIVE, &error));
	VIRT_REFUSED(bpull_virt_block_commit, virt, (NULL, top, NULL, top, 0, 0, &error));
	VIRT_REFUSED(bpull_virt_block_commit, path, (virt, NULL, NULL, top, 0, 0, &error));
	/* NULL is the last file, and the image; the first needs one, the second a flag. */
	VIRT_REFUSED(bpull_virt_block_commit, top, (virt, top, NULL, NULL, 0, 0, &error));
	VIRT_REFUSED(
		bpull_virt_block_commit, base,
		(virt, scratch("base"), NULL, NULL, 0, BPULL_VIRT_BLOCK_COMMIT_ACTIVE, &error));
	VIRT_REFUSED(bpull_virt_block_job_info, virt, (NULL, top, &job, 0, &error));
	VIRT_REFUSED(bpull_virt_block_job_info, path, (virt, NULL, &job, 0, &error));
	VIRT_REFUSED(bpull_virt_block_job_info, info, (virt, top, NULL, 0, &error));
	VIRT_REFUSED(bpull_virt_block_job_abort, virt, (NULL, top, 0, &error));
	VIRT_REFUSED(bpull_virt_block_job_abort, path, (virt, NULL, 0, &error));
	VIRT_REFUSED(bpull_virt_block_job_set_speed, virt, (NULL, top, 0, 0, &error));
	VIRT_REFUSED(bpull_virt_block_job_set_speed, path, (virt, NULL, 0, 0, &error));
	VIRT_REFUSED(bpull_virt_event_register, virt, (NULL, no_event, NULL, &error));
	VIRT_REFUSED(bpull_virt_event_register, callback, (virt, NULL, NULL, &error));
	VIRT_REFUSED(bpull_virt_event_deregister, virt, (NULL, 0, &error));
}

/* Option structs are read as all others are: a size that is none was taken for "all defaults". */
Test(api_null, the_libvirt_way_reads_the_size)
{
	struct bpull_disk_options o = { .backing_rule = BPULL_BACKING_NONE };
	struct bpull_virt *opened;

	VIRT_REFUSED(bpull_virt_open, disk_options, (NULL, &o, &opened, &error));
	VIRT_REFUSED(bpull_virt_open, engine_options,
		     (&(struct bpull_engine_options){ 0 }, NULL, &opened, &error));
}

/* ---- after success ---- */

/* Its locks would be in the way. */
static void close_info(void)
{
	bpull_info_close(info);
	info = NULL;
}

#define LEAVES_NONE(call, value)                                        \
	do {                                                            \
		dirty();                                                \
		cr_assert_eq(call, value, #call ": %s", error.message); \
		cr_expect_eq(error.code, 0, #call ": %d", error.code);  \
		cr_expect_str_empty(error.message, #call);              \
	} while (0)

Test(api_null, success_leaves_no_error)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .virtual_size = BASE_LEN };
	struct bpull_check_result checked = { .size = sizeof(checked) };
	struct bpull_measure measured = { .size = sizeof(measured) };
	struct bpull_extent extent;
	struct bpull_engine *e;
	struct bpull_info *i;
	struct bpull_disk *d;
	uint32_t depth;

	close_info();
	LEAVES_NONE(bpull_create(scratch("new"), &o, &error), 0);
	LEAVES_NONE(bpull_check(top, NULL, &checked, &error), 0);
	LEAVES_NONE(bpull_image_measure(top, NULL, &measured, &error), 0);
	LEAVES_NONE(bpull_measure_job(top, NULL, NULL, &measured, &error), 0);
	LEAVES_NONE(bpull_info_open(top, NULL, &i, &error), 0);
	bpull_info_close(i);
	LEAVES_NONE(bpull_engine_open(NULL, &e, &error), 0);
	LEAVES_NONE(bpull_flatten_open(e, top, NULL, out, NULL, &d, &error), 0);
	bpull_disk_close(d);
	LEAVES_NONE(bpull_disk_open(e, top, NULL, &d, &error), 0);
	LEAVES_NONE(bpull_disk_find(d, scratch("base"), &depth, &error), 0);
	LEAVES_NONE(bpull_disk_map(d, 0, &extent, 1, &error), 1);
	LEAVES_NONE(bpull_disk_map(d, BASE_LEN, &extent, 1, &error), 0);
	LEAVES_NONE(bpull_job_check(d, NULL, &error), 0);
	LEAVES_NONE(bpull_job_start(d, NULL, &error), 0);
	bpull_engine_close(e);
}

Test(api_null, success_of_the_libvirt_way_leaves_none)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_virt_block_job_info job;
	struct bpull_virt *v;
	struct bpull_disk *d;

	close_info();
	LEAVES_NONE(bpull_virt_open(NULL, NULL, &v, &error), 0);
	cr_assert_eq(bpull_disk_open(bpull_virt_engine(v), top, &o, &d, &error), 0);
	LEAVES_NONE(bpull_virt_attach(v, top, d, &error), 0);
	LEAVES_NONE(bpull_virt_event_register(v, no_event, NULL, &error), 0);
	LEAVES_NONE(bpull_virt_block_job_info(v, top, &job, 0, &error), 0);
	LEAVES_NONE(bpull_virt_block_pull(v, top, 1, BPULL_VIRT_BLOCK_PULL_BANDWIDTH_BYTES, &error),
		    0);
	LEAVES_NONE(bpull_virt_block_job_info(v, top, &job, 0, &error), 1);
	LEAVES_NONE(bpull_virt_block_job_set_speed(v, top, 1, 0, &error), 0);
	LEAVES_NONE(bpull_virt_block_job_abort(v, top, 0, &error), 0);
	LEAVES_NONE(bpull_virt_event_deregister(v, 0, &error), 0);
	LEAVES_NONE(bpull_virt_detach(v, top, &error), 0);
	bpull_disk_close(d);
	bpull_virt_close(v);
}
