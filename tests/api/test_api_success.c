/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* After a call that succeeds its error says so, whatever was in it before. */
#include <criterion/criterion.h>

#include "engine/blockpull-libvirt.h"
#include "tests/api/null_rig.h"
#include "tests/support/files/scratch.h"

/* ---- after success ---- */

/* Its locks would be in the way. */
static void close_info(void)
{
	bpull_info_close(null_info);
	null_info = NULL;
}

#define LEAVES_NONE(call, value)                                                 \
	do {                                                                     \
		null_dirty();                                                    \
		cr_assert_eq(call, value, #call ": %s", null_error.message);     \
		cr_expect_eq(null_error.code, 0, #call ": %d", null_error.code); \
		cr_expect_str_empty(null_error.message, #call);                  \
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
	LEAVES_NONE(bpull_create(scratch("new"), &o, &null_error), 0);
	LEAVES_NONE(bpull_check(null_top, NULL, &checked, &null_error), 0);
	LEAVES_NONE(bpull_image_measure(null_top, NULL, &measured, &null_error), 0);
	LEAVES_NONE(bpull_measure_job(null_top, NULL, NULL, &measured, &null_error), 0);
	LEAVES_NONE(bpull_info_open(null_top, NULL, &i, &null_error), 0);
	bpull_info_close(i);
	LEAVES_NONE(bpull_engine_open(NULL, &e, &null_error), 0);
	LEAVES_NONE(bpull_flatten_open(e, null_top, NULL, null_out, NULL, &d, &null_error), 0);
	bpull_disk_close(d);
	LEAVES_NONE(bpull_disk_open(e, null_top, NULL, &d, &null_error), 0);
	LEAVES_NONE(bpull_disk_find(d, scratch("base"), &depth, &null_error), 0);
	LEAVES_NONE(bpull_disk_map(d, 0, &extent, 1, &null_error), 1);
	LEAVES_NONE(bpull_disk_map(d, BASE_LEN, &extent, 1, &null_error), 0);
	LEAVES_NONE(bpull_job_check(d, NULL, &null_error), 0);
	LEAVES_NONE(bpull_job_start(d, NULL, &null_error), 0);
	bpull_engine_close(e);
}

Test(api_null, success_of_the_libvirt_way_leaves_none)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_virt_block_job_info job;
	struct bpull_virt *v;
	struct bpull_disk *d;

	close_info();
	LEAVES_NONE(bpull_virt_open(NULL, NULL, &v, &null_error), 0);
	cr_assert_eq(bpull_disk_open(bpull_virt_engine(v), null_top, &o, &d, &null_error), 0);
	LEAVES_NONE(bpull_virt_attach(v, null_top, d, &null_error), 0);
	LEAVES_NONE(bpull_virt_event_register(v, null_no_event, NULL, &null_error), 0);
	LEAVES_NONE(bpull_virt_block_job_info(v, null_top, &job, 0, &null_error), 0);
	LEAVES_NONE(bpull_virt_block_pull(v, null_top, 1, BPULL_VIRT_BLOCK_PULL_BANDWIDTH_BYTES,
					  &null_error),
		    0);
	LEAVES_NONE(bpull_virt_block_job_info(v, null_top, &job, 0, &null_error), 1);
	LEAVES_NONE(bpull_virt_block_job_set_speed(v, null_top, 1, 0, &null_error), 0);
	LEAVES_NONE(bpull_virt_block_job_abort(v, null_top, 0, &null_error), 0);
	LEAVES_NONE(bpull_virt_event_deregister(v, 0, &null_error), 0);
	LEAVES_NONE(bpull_virt_detach(v, null_top, &null_error), 0);
	bpull_disk_close(d);
	bpull_virt_close(v);
}
