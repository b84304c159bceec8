/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a program gets wrong, or leaves out, at the public interface: each call
 * says which argument it does not take and changes nothing.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/blockpull-libvirt.h"
#include "tests/api/api_rig.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(120);
TestSuite(api_misuse, .init = api_rig_begin_small, .fini = api_rig_end,
	  .timeout = TIME_LIMIT_CLOCK(120));

/* -EINVAL, with a word about it, and nothing at that name. */
static void refuse_create(struct bpull_create_options o)
{
	o.size = sizeof(o);
	error.message[0] = '\0';
	cr_assert_eq(bpull_create(scratch("new"), &o, &error), -EINVAL);
	cr_assert(error.message[0]);
	cr_assert_neq(access(scratch("new"), F_OK), 0, "%s", error.message);
}

Test(api_misuse, create_says_what_is_missing)
{
	struct bpull_create_options huge = { .size = sizeof(huge),
					     .format = BPULL_FORMAT_QCOW2,
					     .virtual_size = UINT64_MAX - 4096 };

	refuse_create((struct bpull_create_options){ .virtual_size = MiB });
	refuse_create(
		(struct bpull_create_options){ .format = BPULL_FORMAT_RAW, .virtual_size = MiB });
	refuse_create((struct bpull_create_options){ .format = BPULL_FORMAT_QED });
	refuse_create((struct bpull_create_options){ .format = BPULL_FORMAT_QCOW2,
						     .backing_name = "base" });
	refuse_create((struct bpull_create_options){ .format = BPULL_FORMAT_QCOW2,
						     .backing_name = "base",
						     .backing_format = BPULL_FORMAT_QED + 1 });
	refuse_create((struct bpull_create_options){
		.format = BPULL_FORMAT_QED, .virtual_size = MiB, .version = 3 });
	refuse_create((struct bpull_create_options){
		.format = BPULL_FORMAT_QED, .virtual_size = MiB, .zstd = 1 });
	refuse_create((struct bpull_create_options){
		.format = BPULL_FORMAT_QCOW2, .virtual_size = MiB, .table_size = 4 });
	cr_assert_eq(bpull_create(scratch("new"), &huge, &error), -EFBIG);
	cr_assert_neq(access(scratch("new"), F_OK), 0);
}

Test(api_misuse, open_says_which_options_do_not_go_together)
{
	const char *dirs[] = { "/nonexistent-directory" };

	cr_assert_eq(
		api_rig_try_open((struct bpull_disk_options){ .flags = BPULL_DISK_COPY_ON_READ }),
		-EINVAL);
	cr_assert_eq(api_rig_try_open((struct bpull_disk_options){
			     .flags = BPULL_DISK_COPY_ON_READ | BPULL_DISK_GUEST_IO |
				      BPULL_DISK_READ_ONLY }),
		     -EINVAL);
	cr_assert_eq(
		api_rig_try_open((struct bpull_disk_options){ .flags = BPULL_DISK_NO_BACKING }),
		-EINVAL);
	cr_assert_eq(api_rig_try_open((struct bpull_disk_options){
			     .backing_rule = (enum bpull_backing_rule)(BPULL_BACKING_NONE + 1) }),
		     -EINVAL);
	cr_assert_eq(api_rig_try_open((struct bpull_disk_options){ .allowed_dirs = dirs,
								   .n_allowed_dirs = 1 }),
		     0);
	dirs[0] = "/dev/null";
	cr_assert_eq(api_rig_try_open((struct bpull_disk_options){ .allowed_dirs = dirs,
								   .n_allowed_dirs = 1 }),
		     -EINVAL);
	cr_assert(strstr(error.message, "/dev/null"), "%s", error.message);
	dirs[0] = scratch("base"); /* a file by itself */
	cr_assert_eq(api_rig_try_open((struct bpull_disk_options){ .allowed_dirs = dirs,
								   .n_allowed_dirs = 1 }),
		     0);
	cr_assert_eq(api_rig_try_open((struct bpull_disk_options){
			     .flags = BPULL_DISK_READ_HOLES | BPULL_DISK_TRUST_HOLES }),
		     -EINVAL);
	cr_assert_eq(api_rig_try_open((struct bpull_disk_options){ .flags = 1 << 9 }), -EINVAL);
	cr_assert_eq(
		api_rig_try_open((struct bpull_disk_options){ .flags = BPULL_DISK_TRUST_HOLES }),
		0);
	cr_assert_eq(api_rig_try_open((struct bpull_disk_options){ .flags = 0 }), 0);
}

static struct bpull_disk_options allowing(const char *const *dirs, size_t n)
{
	return (struct bpull_disk_options){ .size = sizeof(struct bpull_disk_options),
					    .allowed_dirs = dirs,
					    .n_allowed_dirs = n };
}

Test(api_misuse, a_name_allowed_that_is_not_there_allows_nothing_and_is_told_of)
{
	static const char *const gone[] = { "/nonexistent-directory", "/dev/null/x", "dangling" };
	const char *dirs[2] = { 0 };
	struct bpull_info *info;
	struct bpull_disk *disk;

	cr_assert_eq(mkdir(scratch("far"), 0700) || mkdir(scratch("images"), 0700), 0);
	scratch_file("far/base", (char[4096]){ "x" }, 4096);
	make_overlay("images/top", BPULL_FORMAT_QCOW2, "../far/base");
	cr_assert_eq(symlink("nowhere", scratch("dangling")), 0);
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		bool is_ours = gone[i][0] != '/';
		struct bpull_disk_options o = allowing(dirs, 1);

		dirs[0] = is_ours ? scratch(gone[i]) : gone[i];
		cr_assert_eq(bpull_disk_open(engine, scratch("images/top"), &o, &disk, &error),
			     -EPERM);
		cr_assert_eq(error.remedy, BPULL_REMEDY_ALLOW_BACKING);
		cr_assert(strstr(error.message, dirs[0]) && strstr(error.message, "far"), "%s",
			  error.message);
		cr_assert(strstr(error.message, "does not exist"), "%s", error.message);
		cr_assert_eq(bpull_info_open(scratch("images/top"), &o, &info, &error), -EPERM);
		cr_assert(strstr(error.message, dirs[0]), "%s", error.message);
		dirs[1] = scratch("far");
		o.n_allowed_dirs = 2;
		cr_assert_eq(bpull_disk_open(engine, scratch("images/top"), &o, &disk, &error), 0,
			     "%s", error.message);
		cr_assert(bpull_disk_warning(disk) && strstr(bpull_disk_warning(disk), dirs[0]));
		bpull_disk_close(disk);
		cr_assert_eq(bpull_info_open(scratch("images/top"), &o, &info, &error), 0);
		bpull_info_close(info);
	}
}

/* As behind a daemon's fork: the process has gone to another directory since it was started. */
Test(api_misuse, relative_dir_is_where_file_names_lead_from)
{
	struct bpull_disk_options o = { .size = sizeof(o) };
	struct bpull_info *info;
	struct bpull_disk *disk;

	cr_assert_eq(mkdir(scratch("sub"), 0700) || chdir(scratch_dir()), 0);
	make_overlay("top_here", BPULL_FORMAT_QCOW2, "file:base");
	cr_assert_eq(chdir("/"), 0);
	cr_assert_eq(bpull_disk_open(engine, scratch("top_here"), &o, &disk, &error), -ENOENT);
	o.relative_dir = scratch_dir();
	cr_assert_eq(bpull_disk_open(engine, scratch("top_here"), &o, &disk, &error), 0, "%s",
		     error.message);
	bpull_disk_close(disk);
	cr_assert_eq(bpull_info_open(scratch("top_here"), &o, &info, &error), 0);
	cr_assert_eq(bpull_info_depth(info), 2);
	bpull_info_close(info);
	o.relative_dir = scratch("sub");
	cr_assert_eq(bpull_disk_open(engine, scratch("top_here"), &o, &disk, &error), -ENOENT);
	o.relative_dir = "tmp";
	cr_assert_eq(bpull_disk_open(engine, scratch("top_here"), &o, &disk, &error), -EINVAL);
	cr_assert(strstr(error.message, "relative_dir"), "%s", error.message);
}

Test(api_misuse, a_name_for_the_base_needs_a_base)
{
	struct bpull_job_options o = { .size = sizeof(o), .base_name = "base" };
	struct bpull_measure measure = { .size = sizeof(measure) };
	struct bpull_disk *disk = api_rig_open("top", 0);

	cr_assert_eq(bpull_job_start(disk, &o, &error), -EINVAL);
	cr_assert(strstr(error.message, "no base"), "%s", error.message);
	cr_assert_eq(bpull_job_check(disk, &o, &error), -EINVAL);
	bpull_disk_close(disk);
	error.message[0] = '\0';
	cr_assert_eq(bpull_measure_job(scratch("top"), NULL, &o, &measure, &error), -EINVAL);
	cr_assert(strstr(error.message, "no base"), "%s", error.message);
	o.base = scratch("base");
	cr_assert_eq(bpull_measure_job(scratch("top"), NULL, &o, &measure, &error), 0, "%s",
		     error.message);
}

Test(api_misuse, jobs_of_what_cannot_be_pulled_say_why)
{
	struct bpull_job_options o = { .size = sizeof(o), .guest_share = 101 };
	struct bpull_disk_options raw = { .size = sizeof(raw), .format = BPULL_FORMAT_RAW };
	struct bpull_disk *disk = api_rig_open("top", 0);
	struct bpull_event event;

	cr_assert_eq(bpull_job_start(disk, &o, &error), -EINVAL);
	cr_assert_eq(bpull_job_check(disk, &o, &error), -EINVAL);
	o = (struct bpull_job_options){ .size = sizeof(o),
					.compression = BPULL_COMPRESSION_ZSTD + 1 };
	cr_assert_eq(bpull_job_start(disk, &o, &error), -EINVAL);
	o = (struct bpull_job_options){ .size = sizeof(o), .n_first = 1 };
	cr_assert_eq(bpull_job_start(disk, &o, &error), -EINVAL);
	bpull_disk_close(disk);

	scratch_file("empty", "x", 1);
	cr_assert_eq(truncate(scratch("empty"), 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		const char *path = scratch(i ? "base" : "empty");

		raw.flags = 0;
		cr_assert_eq(bpull_disk_open(engine, path, &raw, &disk, &error), -ENOTSUP);
		cr_assert(strstr(error.message, "raw"), "%s", error.message);
		raw.flags = BPULL_DISK_GUEST_IO; /* a guest may have it; there is nothing to pull */
		cr_assert_eq(bpull_disk_open(engine, path, &raw, &disk, &error), 0, "%s",
			     error.message);
		cr_assert_eq(bpull_job_start(disk, NULL, &error), 0, "%s", error.message);
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
		cr_assert_eq(event.status, BPULL_JOB_COMPLETED);
		bpull_disk_close(disk);
	}
}

Test(api_misuse, calls_on_images_say_what_they_do_not_take)
{
	struct bpull_disk_options bad = { .size = sizeof(bad), .format = BPULL_FORMAT_QED + 1 };
	struct bpull_check_options check = { .size = sizeof(check),
					     .repair = BPULL_REPAIR_ALL + 1 };
	struct bpull_job_options job = { .size = sizeof(job),
					 .compression = BPULL_COMPRESSION_ZSTD + 1 };
	struct bpull_check_result checked = { .size = sizeof(checked) };
	struct bpull_measure measured = { .size = sizeof(measured) };
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_extent extents[4];
	struct bpull_info *info;
	struct bpull_disk *disk;

	cr_assert_eq(bpull_info_open(scratch("top"), &bad, &info, &error), -EINVAL);
	cr_assert_eq(bpull_info_open(scratch("missing"), NULL, &info, &error), -ENOENT);
	cr_assert_eq(bpull_image_measure(scratch("top"), &bad, &measured, &error), -EINVAL);
	cr_assert_eq(bpull_measure_job(scratch("top"), NULL, &job, &measured, &error), -EINVAL);
	job = (struct bpull_job_options){ .size = sizeof(job), .base = "none of the chain" };
	cr_assert_eq(bpull_measure_job(scratch("top"), NULL, &job, &measured, &error), -EINVAL);
	cr_assert_eq(bpull_check(scratch("top"), &check, &checked, &error), -EINVAL);
	check = (struct bpull_check_options){ .size = sizeof(check),
					      .repair = BPULL_REPAIR_ALL,
					      .flags = BPULL_DISK_FORCE_SHARE };
	cr_assert_eq(bpull_check(scratch("top"), &check, &checked, &error), -EINVAL);

	cr_assert_eq(bpull_info_open(scratch("top"), NULL, &info, &error), 0);
	cr_assert_eq(bpull_info_depth(info), 2);
	cr_assert_eq(bpull_info_layer(info, 2, &layer), -EINVAL);
	bpull_info_close(info);

	/* The top alone holds nothing, and says so, although the base does. */
	disk = api_rig_open("top", BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING);
	cr_assert_eq(bpull_disk_map(disk, 0, extents, 0, &error), -EINVAL);
	cr_assert_eq(bpull_disk_map(disk, 0, extents, 4, &error), 1);
	cr_assert_eq(extents[0].length, API_RIG_SMALL_LEN);
	cr_assert(!extents[0].present && extents[0].zero);
	bpull_disk_close(disk);
}

Test(api_misuse, finding_what_is_not_below_is_refused)
{
	struct bpull_disk *disk = api_rig_open("top", BPULL_DISK_READ_ONLY);
	uint32_t depth = 0;

	cr_assert_eq(bpull_disk_find(disk, scratch("base"), &depth, &error), 0);
	cr_assert_eq(depth, 1);
	cr_assert_eq(bpull_disk_find(disk, scratch("top"), &depth, &error), -EINVAL);
	cr_assert_eq(bpull_disk_find(disk, scratch("missing"), &depth, &error), -EINVAL);
	cr_assert(error.message[0]);
	bpull_disk_close(disk);
}

static void note_opened(void *user_data)
{
	++*(int *)user_data;
}

Test(api_misuse, the_word_that_all_is_open_comes_once)
{
	int n = 0;
	struct bpull_disk_options o = { .size = sizeof(o), .opened = note_opened, .user_data = &n };
	struct bpull_check_options check = { .size = sizeof(check),
					     .opened = note_opened,
					     .opaque = &n };
	struct bpull_check_result checked = { .size = sizeof(checked) };
	struct bpull_measure measured = { .size = sizeof(measured) };
	struct bpull_info *info;
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), 0);
	cr_assert_eq(n, 1);
	bpull_disk_close(disk);
	cr_assert_eq(
		bpull_flatten_open(engine, scratch("top"), &o, scratch("out"), NULL, &disk, &error),
		0, "%s", error.message);
	cr_assert_eq(n, 2);
	bpull_disk_close(disk);
	cr_assert_eq(bpull_info_open(scratch("top"), &o, &info, &error), 0);
	cr_assert_eq(n, 3);
	bpull_info_close(info);
	cr_assert_eq(bpull_image_measure(scratch("top"), &o, &measured, &error), 0);
	cr_assert_eq(n, 4);
	cr_assert_eq(bpull_check(scratch("top"), &check, &checked, &error), 0);
	cr_assert_eq(n, 5);
	o.format = BPULL_FORMAT_QED;
	cr_assert_neq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), 0);
	cr_assert_eq(n, 5, "it was called although the image could not be opened");
}

Test(api_misuse, flattening_to_where_nothing_can_be_is_refused)
{
	struct bpull_disk *disk;

	cr_assert_eq(bpull_flatten_open(engine, scratch("top"), NULL, scratch("no/where"), NULL,
					&disk, &error),
		     -ENOENT);
	cr_assert(strstr(error.message, "no/where"), "%s", error.message);
	cr_assert_eq(bpull_flatten_open(engine, scratch("top"), NULL, scratch("base"), NULL, &disk,
					&error),
		     -EEXIST);
	cr_assert_eq(bpull_flatten_open(engine, scratch("top"), NULL, scratch("base/x"), NULL,
					&disk, &error),
		     -ENOTDIR);
}

Test(api_misuse, closing_nothing_does_nothing)
{
	bpull_disk_close(NULL);
	bpull_engine_close(NULL);
	bpull_info_close(NULL);
	bpull_virt_close(NULL);
}

static void no_event(struct bpull_virt *virt, const char *path, int type, int status, void *opaque)
{
}

Test(api_misuse, the_libvirt_way_passes_options_on)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .io = BPULL_IO_THREADS };
	struct bpull_disk_options none = { .size = sizeof(none),
					   .backing_rule = BPULL_BACKING_NONE };
	struct bpull_virt *virt;
	int id;

	eo.memory = 1; /* too little */
	cr_assert_eq(bpull_virt_open(&eo, NULL, &virt, &error), -1);
	cr_assert(error.message[0]);
	eo.memory = 0;
	cr_assert_eq(bpull_virt_open(&eo, &none, &virt, &error), 0, "%s", error.message);
	cr_assert_str_eq(bpull_engine_io_name(bpull_virt_engine(virt)), "threads");
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("top"), 0, 0, &error), -1);
	cr_assert(strstr(error.message, "base"), "%s", error.message);
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("missing"), 0, 0, &error), -1);
	cr_assert_eq(bpull_virt_event_register(virt, NULL, NULL, &error), -1);
	id = bpull_virt_event_register(virt, no_event, NULL, &error);
	cr_assert_geq(id, 0);
	cr_assert_eq(bpull_virt_event_deregister(virt, id + 1, &error), -1);
	cr_assert_eq(bpull_virt_event_deregister(virt, id, &error), 0);
	cr_assert_eq(bpull_virt_event_deregister(virt, id, &error), -1);
	bpull_virt_close(virt);
}
