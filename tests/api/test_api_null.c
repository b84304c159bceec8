/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * NULL where a pointer is needed: one row for each function of the public
 * headers and each such parameter. check_tree.py reads the rows, and fails where
 * a function or a parameter has none. And what succeeds leaves no old error.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/blockpull-libvirt.h"
#include "tests/api/null_rig.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(120);
TestSuite(api_null, .init = null_begin, .fini = null_end, .timeout = TIME_LIMIT_CLOCK(120));

/* -EINVAL, and a sentence that names the parameter. */
#define REFUSED(function, parameter, args)                                               \
	do {                                                                             \
		null_dirty();                                                            \
		cr_expect_eq(function args, -EINVAL, #function ": " #parameter);         \
		cr_expect_eq(null_error.code, -EINVAL, #function ": " #parameter ": %d", \
			     null_error.code);                                           \
		cr_expect(strstr(null_error.message, #parameter),                        \
			  #function ": " #parameter ": %s", null_error.message);         \
	} while (0)
/* The same of a function that has no error to fill. */
#define INVALID(function, parameter, args) \
	cr_expect_eq(function args, -EINVAL, #function ": " #parameter)
/* libvirt's way. */
#define VIRT_REFUSED(function, parameter, args)                                                   \
	do {                                                                                      \
		null_dirty();                                                                     \
		cr_expect_eq(function args, -1, #function ": " #parameter);                       \
		cr_expect_eq(null_error.code, -EINVAL, #function ": " #parameter ": %d",          \
			     null_error.code);                                                    \
		cr_expect(*null_error.message &&strcmp(null_error.message, "of an earlier call"), \
			  #function ": " #parameter);                                             \
	} while (0)
/* Returns this, and does nothing. */
#define NOTHING(function, parameter, args, value) \
	cr_expect_eq(function args, value, #function ": " #parameter)
#define NO_EFFECT(function, parameter, args) function args

Test(api_null, null_engines_are_refused_in_every_call)
{
	struct bpull_event event;

	REFUSED(bpull_engine_open, engine, (NULL, NULL, &null_error));
	NO_EFFECT(bpull_engine_close, engine, (NULL));
	NOTHING(bpull_engine_io_name, engine, (NULL), NULL);
	NO_EFFECT(bpull_engine_set_speed, engine, (NULL, 0, 0));
	INVALID(bpull_engine_fd, engine, (NULL));
	INVALID(bpull_engine_process, engine, (NULL, &event, 1));
	INVALID(bpull_engine_process, events, (null_engine, NULL, 1));
	INVALID(bpull_engine_process, events, (null_threaded, NULL, 1));
	INVALID(bpull_engine_poll, engine, (NULL, &event, 1));
	INVALID(bpull_engine_poll, events, (null_engine, NULL, 1));
	INVALID(bpull_engine_poll, events, (null_threaded, NULL, 1));
	INVALID(bpull_engine_wait, engine, (NULL, &event, 1, 0));
	INVALID(bpull_engine_wait, events, (null_engine, NULL, 1, 0));
	NOTHING(bpull_format_by_name, name, (NULL), BPULL_FORMAT_UNKNOWN);
}

Test(api_null, null_disks_are_refused_in_every_call)
{
	struct bpull_disk_options o = { .size = sizeof(o), .n_allowed_dirs = 1 };
	const char *none[] = { NULL };
	struct bpull_disk *opened = null_disk;
	struct bpull_extent extent;
	uint32_t depth;
	struct bpull_disk_stats stats = { .size = sizeof(stats) };
	char name[16];

	REFUSED(bpull_disk_open, engine, (NULL, null_top, NULL, &opened, &null_error));
	REFUSED(bpull_disk_open, path, (null_engine, NULL, NULL, &opened, &null_error));
	REFUSED(bpull_disk_open, disk, (null_engine, null_top, NULL, NULL, &null_error));
	cr_expect_eq(bpull_disk_open(null_engine, null_top, &o, &opened, &null_error), -EINVAL);
	o.allowed_dirs = none;
	cr_expect_eq(bpull_disk_open(null_engine, null_top, &o, &opened, &null_error), -EINVAL);
	REFUSED(bpull_flatten_open, engine,
		(NULL, null_top, NULL, null_out, NULL, &opened, &null_error));
	REFUSED(bpull_flatten_open, source_path,
		(null_engine, NULL, NULL, null_out, NULL, &opened, &null_error));
	REFUSED(bpull_flatten_open, out_path,
		(null_engine, null_top, NULL, NULL, NULL, &opened, &null_error));
	REFUSED(bpull_flatten_open, disk,
		(null_engine, null_top, NULL, null_out, NULL, NULL, &null_error));
	cr_expect_eq(opened, null_disk, "a failed call filled it");
	NO_EFFECT(bpull_disk_close, disk, (NULL));
	REFUSED(bpull_disk_inactivate, disk, (NULL, &null_error));
	REFUSED(bpull_disk_activate, disk, (NULL, &null_error));
	REFUSED(bpull_disk_try_activate, disk, (NULL, &null_error));
	NOTHING(bpull_disk_size, disk, (NULL), 0);
	NOTHING(bpull_disk_depth, disk, (NULL), 0);
	INVALID(bpull_disk_layer_path, disk, (NULL, 0, name, sizeof(name)));
	INVALID(bpull_disk_layer_path, path, (null_disk, 0, NULL, 1));
	REFUSED(bpull_disk_find, disk, (NULL, null_top, &depth, &null_error));
	REFUSED(bpull_disk_find, path, (null_disk, NULL, &depth, &null_error));
	REFUSED(bpull_disk_find, depth, (null_disk, null_top, NULL, &null_error));
	REFUSED(bpull_disk_snapshot, snapshots, (NULL, 1, &null_error));
	NOTHING(bpull_disk_warning, disk, (NULL), NULL);
	NOTHING(bpull_disk_hint, disk, (NULL), NULL);
	NOTHING(bpull_job_dropped, disk, (NULL, 0), NULL);
	NOTHING(bpull_disk_note, disk, (NULL), NULL);
	REFUSED(bpull_disk_map, disk, (NULL, 0, &extent, 1, &null_error));
	REFUSED(bpull_disk_map, extents, (null_disk, 0, NULL, 1, &null_error));
	INVALID(bpull_disk_set_copy_on_read, disk, (NULL, 1));
	REFUSED(bpull_disk_resize, disk, (NULL, BASE_LEN, NULL, &null_error));
	NO_EFFECT(bpull_source_read_done, ask, (NULL, 0));
	NO_EFFECT(bpull_source_extents_done, ask, (NULL, 0, NULL, 0));
	NO_EFFECT(bpull_source_extents_done, extents, (NULL, 0, NULL, 1));
	INVALID(bpull_disk_get_stats, disk, (NULL, &stats));
	INVALID(bpull_disk_get_stats, stats, (null_disk, NULL));
}

Test(api_null, calls_on_the_job_of_a_null_disk_are_refused)
{
	struct bpull_job_rates rates = { .size = sizeof(rates) };
	struct bpull_job_info job = { .size = sizeof(job) };

	REFUSED(bpull_job_start, disk, (NULL, NULL, &null_error));
	REFUSED(bpull_job_check, disk, (NULL, NULL, &null_error));
	INVALID(bpull_job_get_info, disk, (NULL, &job));
	INVALID(bpull_job_get_info, info, (null_disk, NULL));
	INVALID(bpull_job_set_speed, disk, (NULL, 0, 0));
	INVALID(bpull_job_set_rates, disk, (NULL, &rates));
	INVALID(bpull_job_set_rates, rates, (null_disk, NULL));
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

	cr_assert_eq(bpull_engine_wait(null_engine, &event, 1, 30000), 1);
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
	REQUEST_INVALID(bpull_read, iov, (null_disk, NULL, 1, 0, &id));
	REQUEST_INVALID(bpull_read, iov, (null_disk, hole, 2, 0, &id));
	REQUEST_INVALID(bpull_write, iov, (null_disk, NULL, 1, 0, 0, &id));
	REQUEST_INVALID(bpull_write, iov, (null_disk, hole, 2, 0, 0, &id));
	REQUEST_INVALID(bpull_block_status, extents, (null_disk, 0, 1, NULL, 1, &id));
	/* No byte, no pointer. */
	bpull_read(null_disk, empty, 2, 0, &id);
	cr_expect_eq(result_of_request(), 0);
	bpull_write(null_disk, NULL, 0, 0, 0, &id);
	cr_expect_eq(result_of_request(), 0);
}

Test(api_null, requests_that_wait_refuse_null)
{
	struct iovec empty = { NULL, 0 }, hole = { NULL, 1 };
	char bytes[16] = { 0 };
	struct bpull_extent extent;

	INVALID(bpull_pread, disk, (NULL, bytes, 16, 0));
	INVALID(bpull_pread, buf, (null_other, NULL, 16, 0));
	cr_expect_eq(bpull_pread(null_other, NULL, 0, 0), 0);
	INVALID(bpull_pwrite, disk, (NULL, bytes, 16, 0, 0));
	INVALID(bpull_pwrite, buf, (null_other, NULL, 16, 0, 0));
	cr_expect_eq(bpull_pwrite(null_other, NULL, 0, 0, 0), 0);
	INVALID(bpull_preadv, disk, (NULL, &empty, 1, 0));
	INVALID(bpull_preadv, iov, (null_other, NULL, 1, 0));
	INVALID(bpull_preadv, iov, (null_other, &hole, 1, 0));
	cr_expect_eq(bpull_preadv(null_other, &empty, 1, 0), 0);
	INVALID(bpull_pwritev, disk, (NULL, &empty, 1, 0, 0));
	INVALID(bpull_pwritev, iov, (null_other, NULL, 1, 0, 0));
	INVALID(bpull_pwritev, iov, (null_other, &hole, 1, 0, 0));
	INVALID(bpull_disk_drain, disk, (NULL, 0));
	INVALID(bpull_pwrite_zeroes, disk, (NULL, 0, 16, 0));
	INVALID(bpull_pdiscard, disk, (NULL, 0, 16));
	INVALID(bpull_pflush, disk, (NULL));
	REFUSED(bpull_presize, disk, (NULL, BASE_LEN, &null_error));
	INVALID(bpull_pblock_status, disk, (NULL, 0, 16, &extent, 1));
	INVALID(bpull_pblock_status, extents, (null_other, 0, 16, NULL, 1));
}

Test(api_null, calls_on_images_at_rest_refuse_null)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .virtual_size = BASE_LEN };
	struct bpull_check_result checked = { .size = sizeof(checked) };
	struct bpull_measure measured = { .size = sizeof(measured) };
	struct bpull_layer_info layer = { .size = sizeof(layer) };

	REFUSED(bpull_info_open, path, (NULL, NULL, &null_info, &null_error));
	REFUSED(bpull_info_open, info, (null_top, NULL, NULL, &null_error));
	NOTHING(bpull_info_depth, info, (NULL), 0);
	INVALID(bpull_info_layer, info, (NULL, 0, &layer));
	INVALID(bpull_info_layer, layer, (null_info, 0, NULL));
	NO_EFFECT(bpull_info_close, info, (NULL));
	REFUSED(bpull_check, path, (NULL, NULL, &checked, &null_error));
	REFUSED(bpull_check, result, (null_top, NULL, NULL, &null_error));
	REFUSED(bpull_image_measure, path, (NULL, NULL, &measured, &null_error));
	REFUSED(bpull_image_measure, result, (null_top, NULL, NULL, &null_error));
	REFUSED(bpull_measure_job, path, (NULL, NULL, NULL, &measured, &null_error));
	REFUSED(bpull_measure_job, result, (null_top, NULL, NULL, NULL, &null_error));
	REFUSED(bpull_create, path, (NULL, &o, &null_error));
	REFUSED(bpull_create, options, (null_out, NULL, &null_error));
	cr_expect_neq(access(null_out, F_OK), 0);
}

Test(api_null, libvirts_calls_refuse_null)
{
	struct bpull_create_options alone = { .size = sizeof(alone),
					      .format = BPULL_FORMAT_QCOW2,
					      .virtual_size = BASE_LEN };
	struct bpull_virt_block_job_info job;

	cr_assert_eq(bpull_create(scratch("alone"), &alone, &null_error), 0);
	VIRT_REFUSED(bpull_virt_open, virt, (NULL, NULL, NULL, &null_error));
	NO_EFFECT(bpull_virt_close, virt, (NULL));
	NOTHING(bpull_virt_engine, virt, (NULL), NULL);
	VIRT_REFUSED(bpull_virt_attach, virt, (NULL, null_top, null_disk, &null_error));
	VIRT_REFUSED(bpull_virt_attach, path, (null_virt, NULL, null_disk, &null_error));
	VIRT_REFUSED(bpull_virt_attach, disk, (null_virt, null_top, NULL, &null_error));
	VIRT_REFUSED(bpull_virt_detach, virt, (NULL, null_top, &null_error));
	VIRT_REFUSED(bpull_virt_detach, path, (null_virt, NULL, &null_error));
	VIRT_REFUSED(bpull_virt_block_pull, virt, (NULL, null_top, 0, 0, &null_error));
	VIRT_REFUSED(bpull_virt_block_pull, path, (null_virt, NULL, 0, 0, &null_error));
	VIRT_REFUSED(bpull_virt_block_rebase, virt, (NULL, null_top, NULL, 0, 0, &null_error));
	VIRT_REFUSED(bpull_virt_block_rebase, path, (null_virt, NULL, NULL, 0, 0, &null_error));
	/* NULL means the whole chain, of which there is no relative name. */
	VIRT_REFUSED(bpull_virt_block_rebase, base,
		     (null_virt, null_top, NULL, 0, BPULL_VIRT_BLOCK_REBASE_RELATIVE, &null_error));
	VIRT_REFUSED(bpull_virt_block_commit, virt,
		     (NULL, null_top, NULL, null_top, 0, 0, &null_error));
	VIRT_REFUSED(bpull_virt_block_commit, path,
		     (null_virt, NULL, NULL, null_top, 0, 0, &null_error));
	/* NULL is the last file, and the image; the first needs one, the second a flag. */
	VIRT_REFUSED(bpull_virt_block_commit, top,
		     (null_virt, null_top, NULL, NULL, 0, 0, &null_error));
	VIRT_REFUSED(bpull_virt_block_commit, base,
		     (null_virt, scratch("alone"), NULL, NULL, 0, BPULL_VIRT_BLOCK_COMMIT_ACTIVE,
		      &null_error));
	VIRT_REFUSED(bpull_virt_block_job_info, virt, (NULL, null_top, &job, 0, &null_error));
	VIRT_REFUSED(bpull_virt_block_job_info, path, (null_virt, NULL, &job, 0, &null_error));
	VIRT_REFUSED(bpull_virt_block_job_info, info, (null_virt, null_top, NULL, 0, &null_error));
	VIRT_REFUSED(bpull_virt_block_job_abort, virt, (NULL, null_top, 0, &null_error));
	VIRT_REFUSED(bpull_virt_block_job_abort, path, (null_virt, NULL, 0, &null_error));
	VIRT_REFUSED(bpull_virt_block_job_set_speed, virt, (NULL, null_top, 0, 0, &null_error));
	VIRT_REFUSED(bpull_virt_block_job_set_speed, path, (null_virt, NULL, 0, 0, &null_error));
	VIRT_REFUSED(bpull_virt_event_register, virt, (NULL, null_no_event, NULL, &null_error));
	VIRT_REFUSED(bpull_virt_event_register, callback, (null_virt, NULL, NULL, &null_error));
	VIRT_REFUSED(bpull_virt_event_deregister, virt, (NULL, 0, &null_error));
}

/* Option structs are read as all others are: a size that is none was taken for "all defaults". */
Test(api_null, the_libvirt_way_reads_the_size)
{
	struct bpull_disk_options o = { .backing_rule = BPULL_BACKING_NONE };
	struct bpull_virt *opened;

	VIRT_REFUSED(bpull_virt_open, disk_options, (NULL, &o, &opened, &null_error));
	VIRT_REFUSED(bpull_virt_open, engine_options,
		     (&(struct bpull_engine_options){ 0 }, NULL, &opened, &null_error));
}
