/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See null_rig.h. */
#include "tests/api/null_rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull-libvirt.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"

struct bpull_engine *null_engine, *null_threaded;
struct bpull_disk *null_disk, *null_other;
struct bpull_virt *null_virt;
struct bpull_info *null_info;
struct bpull_error null_error;
char null_top[512], null_out[512];

void null_dirty(void)
{
	null_error.code = 77;
	strcpy(null_error.message, "of an earlier call");
}

struct bpull_disk *null_open_disk(struct bpull_engine *on, const char *name)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_disk *opened;

	cr_assert_eq(bpull_disk_open(on, scratch(name), &o, &opened, &null_error), 0, "%s",
		     null_error.message);
	return opened;
}

void null_begin(void)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = BPULL_ENGINE_THREAD };
	uint8_t *bytes = calloc(1, BASE_LEN);

	scratch_make();
	scratch_file("base", bytes, BASE_LEN);
	free(bytes);
	make_overlay("top", BPULL_FORMAT_QCOW2, "base");
	make_overlay("other", BPULL_FORMAT_QCOW2, "base");
	make_overlay("third", BPULL_FORMAT_QCOW2, "base");
	strcpy(null_top, scratch("third"));
	strcpy(null_out, scratch("out"));
	cr_assert_eq(bpull_engine_open(NULL, &null_engine, &null_error), 0, "%s",
		     null_error.message);
	cr_assert_eq(bpull_engine_open(&o, &null_threaded, &null_error), 0, "%s",
		     null_error.message);
	null_disk = null_open_disk(null_engine, "top");
	null_other = null_open_disk(null_threaded, "other");
	cr_assert_eq(bpull_virt_open(NULL, NULL, &null_virt, &null_error), 0, "%s",
		     null_error.message);
	cr_assert_eq(bpull_info_open(null_top, NULL, &null_info, &null_error), 0, "%s",
		     null_error.message);
}

void null_end(void)
{
	bpull_info_close(null_info);
	bpull_virt_close(null_virt);
	bpull_engine_close(null_threaded);
	bpull_engine_close(null_engine);
	scratch_remove();
}

void null_no_event(struct bpull_virt *from, const char *path, int type, int status, void *opaque)
{
}
