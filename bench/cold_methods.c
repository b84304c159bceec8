/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The files of cold.c, how they leave the page cache, and the four ways to read the base. That it
 * is gone is looked at, with mincore(), which reads nothing: a file system may keep what it is told
 * to drop. Dropping all caches (/proc/sys/vm/drop_caches) was rejected: it needs rights, and makes
 * all other programs of the machine slow.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/cold.h"
#include "bench/rig/complain.h"
#include "bench/rig/ends.h"
#include "bench/rig/place.h"
#include "tools/words/exit_code.h"

#define READ_LEN (1u << 20)

/* What the overlay stands on. */
static const char *const base_names[] = { "base", "layered" };

/* ---- the files ---- */

/* One that waits for the job's end; *info: what it did. */
static int cold_pull_image(const char *name, struct bpull_job_info *info)
{
	struct bpull_disk_options o = scene_disk_options(BPULL_FORMAT_QCOW2, 0);
	struct bpull_error error = { 0 };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	int rc = bpull_engine_open(NULL, &engine, &error);
	int code;

	o.backing_rule = BPULL_BACKING_ANY; /* the base may be in another directory */
	if (!rc)
		rc = bpull_disk_open(engine, name, &o, &disk, &error);
	if (!rc)
		rc = bpull_job_start(disk, NULL, &error);
	code = rc ? complain_library("pull", &error, rc) : ends_wait_job(engine, "pull");
	if (!code)
		bpull_job_get_info(disk, info);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return code;
}

/* A qcow2 base is what a pull made of an overlay on the raw one. */
static int cold_make_layered(const struct cold *c)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	int code = cold_pull_image("fresh", &info);

	if (!code && rename("fresh", "layered"))
		code = complain_system("layered");
	return code ? code
		    : scene_overlay("fresh", BPULL_FORMAT_QCOW2, c->scene.size,
				    c->scene.cluster_size, "layered", BPULL_FORMAT_QCOW2);
}

/* The overlay, whose base is found from any directory. */
static int cold_make_far(const struct cold *c)
{
	char *base = realpath(base_names[c->base_format], NULL);
	int code = base ? 0 : complain_system(base_names[c->base_format]);

	unlink("fresh");
	if (!code)
		code = scene_overlay("fresh", BPULL_FORMAT_QCOW2, c->scene.size,
				     c->scene.cluster_size, base,
				     c->base_format ? BPULL_FORMAT_QCOW2 : BPULL_FORMAT_RAW);
	free(base);
	return code;
}

int cold_make(const struct cold *c)
{
	int code = scene_make(&c->scene);

	if (!code && c->base_format)
		code = cold_make_layered(c);
	return !code && c->image_dir ? cold_make_far(c) : code;
}

static void cold_name(const struct cold *c, const char *name, char path[PATH_MAX + 16])
{
	snprintf(path, PATH_MAX + 16, "%s/%s", c->image_place, name);
}

/* ---- the page cache ---- */

static int cold_count_pages(int fd, uint64_t len, uint64_t *n_cached)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), n = (len + page - 1) / page;
	void *map = mmap(NULL, len, PROT_NONE, MAP_SHARED, fd, 0);
	unsigned char *there = map == MAP_FAILED ? NULL : calloc(n, 1);
	int rc = there && !mincore(map, len, there) ? 0 : -1;

	*n_cached = 0;
	for (uint64_t i = 0; !rc && i < n; i++)
		*n_cached += there[i] & 1;
	if (map != MAP_FAILED)
		munmap(map, len);
	free(there);
	return rc;
}

static int cold_drop(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	uint64_t n_cached = 0;
	struct stat st;
	int code = 0;

	if (fd < 0 || fstat(fd, &st) || fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) ||
	    cold_count_pages(fd, (uint64_t)st.st_size, &n_cached))
		code = complain_system(name);
	else if (n_cached)
		code = complain(EXIT_CODE_FAILED,
				"%s: %llu pages of it stay in the page cache: this file system "
				"keeps what it is told to drop (see --dir)",
				name, (unsigned long long)n_cached);
	if (fd >= 0)
		close(fd);
	return code;
}

/* ---- the methods ---- */

static int cold_read_device(void *opaque)
{
	const struct cold *c = opaque;
	int fd = open(base_names[c->base_format], O_RDONLY | O_DIRECT | O_CLOEXEC);
	char *buf = aligned_alloc(READ_LEN, READ_LEN);
	ssize_t n = READ_LEN;

	while (fd >= 0 && buf && n == READ_LEN)
		n = read(fd, buf, READ_LEN);
	if (fd < 0 || !buf || n < 0)
		return complain_system("the base, read with O_DIRECT");
	close(fd);
	free(buf);
	return 0;
}

static int cold_pull(void *opaque)
{
	struct cold *c = opaque;
	struct bpull_job_info info = { .size = sizeof(info) };
	char image[PATH_MAX + 16];
	int code;

	cold_name(c, "image", image);
	code = cold_pull_image(image, &info);
	c->past_cache_len[c->round] = info.past_cache_bytes;
	return code;
}

static int cold_copy(void *opaque)
{
	struct copies_job job = { .method = COPIES_CEILING, .from = "packed" };
	char copy[PATH_MAX + 16];

	cold_name(opaque, "copy", copy);
	job.to = copy;
	return ends_copy(&job);
}

bool cold_has_qemu(void)
{
	return !system("command -v qemu-img >/dev/null 2>&1");
}

static int cold_rebase(void *opaque)
{
	const struct cold *c = opaque;
	int status;

	if (chdir(c->image_place)) /* of this process, which ends */
		return complain_system(c->image_place);
	/* No option of ours and no name of a user's is in it. */
	status = system("qemu-img rebase -f qcow2 -b '' image");
	return status ? complain(EXIT_CODE_FAILED, "qemu-img: it ended with status %#x",
				 (unsigned)status)
		      : 0;
}

static int cold_prepare(const struct cold *c, const char *image, const char *copy)
{
	int code = scene_fresh(image);

	unlink(copy);
	sync();
	if (!code)
		place_touch_memory(scene_moved_len(&c->scene) + (64 << 20));
	if (!code)
		code = cold_drop(base_names[c->base_format]);
	return code ? code : cold_drop("packed");
}

int cold_one_run(struct cold *c, unsigned method)
{
	static int (*const works[])(void *opaque) = { cold_read_device, cold_pull, cold_copy,
						      cold_rebase };
	char image[PATH_MAX + 16], copy[PATH_MAX + 16];
	const char *const made[] = { NULL, image, copy, image };
	int code;

	cold_name(c, "image", image);
	cold_name(c, "copy", copy);
	code = cold_prepare(c, image, copy);
	if (!code)
		code = timed_run(works[method], c, made[method], &c->costs[method][c->round]);
	if (!code && !c->round && (method == COLD_BLOCKPULL || method == COLD_REBASE))
		code = scene_judge(&c->scene, image);
	return code;
}
