/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The files of merge.c, the three ways to make one of two, and whether the result is right. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/commands.h"
#include "bench/merge.h"
#include "bench/rig/complain.h"
#include "bench/rig/ends.h"
#include "bench/rig/place.h"
#include "bench/rig/qsd.h"
#include "bench/rig/scene.h"
#include "bench/rig/timed.h"
#include "tools/words/exit_code.h"

/* ---- the files ---- */

static uint64_t merge_stride(const struct merge *m)
{
	return m->pattern ? (uint64_t)MERGE_PIECE_LEN * MERGE_SCATTER : MERGE_BUF_LEN;
}

static uint64_t merge_piece(const struct merge *m)
{
	return m->pattern ? MERGE_PIECE_LEN : MERGE_BUF_LEN;
}

/* Each piece into the image, and all of them into a file of their own, back to back. */
static int merge_write(const struct merge *m, struct bpull_disk *disk, char *buf)
{
	int packed = open("packed", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint64_t len = merge_piece(m);
	int rc = packed < 0 ? -errno : 0;

	for (uint64_t off = 0; !rc && off < m->size; off += merge_stride(m)) {
		scene_content(buf, len, off);
		rc = bpull_pwrite(disk, buf, len, off, 0);
		if (!rc && write(packed, buf, len) != (ssize_t)len)
			rc = -EIO;
	}
	if (!rc && fsync(packed))
		rc = -errno;
	if (packed >= 0)
		close(packed);
	return rc;
}

static int merge_fill(const struct merge *m)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	struct bpull_error error = { 0 };
	char *buf = malloc(MERGE_BUF_LEN);
	int rc = buf ? bpull_engine_open(&eo, &engine, &error) : -ENOMEM;

	if (!rc)
		rc = bpull_disk_open(engine, "mid", &o, &disk, &error);
	if (!rc)
		rc = merge_write(m, disk, buf);
	if (!rc)
		rc = bpull_pflush(disk);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	free(buf);
	return rc ? complain_library("the data", &error, rc) : 0;
}

int merge_make(const struct merge *m)
{
	int code = scene_raw("low", m->size, 0, 0);

	if (!code)
		code = scene_overlay("mid", BPULL_FORMAT_QCOW2, m->size, m->cluster_size, "low",
				     BPULL_FORMAT_RAW);
	if (!code)
		code = merge_fill(m);
	/* A commit empties it: each gets a copy of its own. */
	if (!code && m->is_commit && rename("mid", "fresh"))
		code = complain_system("fresh");
	return code;
}

static const char *merge_made(const struct merge *m, unsigned method)
{
	if (method == MERGE_CEILING)
		return "copy";
	return m->is_commit ? "low" : "upper";
}

/* What a run begins with. */
static int merge_refresh(const struct merge *m)
{
	unlink("copy");
	if (!m->is_commit) {
		unlink("upper");
		return scene_overlay("upper", BPULL_FORMAT_QCOW2, m->size, m->cluster_size, "mid",
				     BPULL_FORMAT_QCOW2);
	}
	unlink("mid");
	unlink("low");
	return scene_raw("low", m->size, 0, 0) || scene_fresh("mid") ? EXIT_CODE_FAILED : 0;
}

/* ---- the methods ---- */

static int merge_by_job(const struct merge *m, uint32_t flags)
{
	struct bpull_job_options job = { .size = sizeof(job), .base = "low", .flags = flags };
	struct bpull_error error = { 0 };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	int rc = bpull_engine_open(NULL, &engine, &error);
	int code;

	if (m->is_commit)
		job.type = BPULL_JOB_TYPE_COMMIT;
	if (!rc)
		rc = bpull_disk_open(engine, m->is_commit ? "mid" : "upper", NULL, &disk, &error);
	if (!rc)
		rc = bpull_job_start(disk, &job, &error);
	code = rc ? complain_library("blockpull", &error, rc) : ends_wait_job(engine, "blockpull");
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return code;
}

static int merge_with_blockpull(void *opaque)
{
	return merge_by_job(opaque, 0);
}

static int merge_with_keep(void *opaque)
{
	return merge_by_job(opaque, BPULL_JOB_KEEP);
}

static int merge_with_qemu(void *opaque)
{
	static const char *const up[] = {
		"--blockdev", "file,node-name=low-file,filename=low,read-only=on",
		"--blockdev", "raw,node-name=low,file=low-file,read-only=on",
		"--blockdev", "file,node-name=mid-file,filename=mid,read-only=on",
		"--blockdev", "qcow2,node-name=mid,file=mid-file,backing=low,read-only=on",
		"--blockdev", "file,node-name=upper-file,filename=upper",
		"--blockdev", "qcow2,node-name=upper,file=upper-file,backing=mid",
		NULL,
	};
	static const char *const down[] = {
		"--blockdev", "file,node-name=low-file,filename=low",
		"--blockdev", "raw,node-name=low,file=low-file",
		"--blockdev", "file,node-name=mid-file,filename=mid",
		"--blockdev", "qcow2,node-name=mid,file=mid-file,backing=low",
		NULL,
	};

	if (((const struct merge *)opaque)->is_commit)
		return qsd_run_job(down, "{\"execute\":\"block-commit\",\"arguments\":{"
					 "\"job-id\":\"j\",\"device\":\"mid\","
					 "\"base-node\":\"low\"}}");
	return qsd_run_job(up, "{\"execute\":\"block-stream\",\"arguments\":{"
			       "\"job-id\":\"j\",\"device\":\"upper\","
			       "\"base-node\":\"low\"}}");
}

static int merge_with_copy(void *opaque)
{
	struct copies_job job = { .method = COPIES_CEILING, .from = "packed", .to = "copy" };

	(void)opaque;
	return ends_copy(&job);
}

/* ---- is the result right ---- */

static int merge_compare(const struct merge *m, struct bpull_disk *disk, char *got, char *wanted)
{
	uint64_t piece = merge_piece(m), stride = merge_stride(m);

	for (uint64_t off = 0; off < m->size; off += stride) {
		scene_content(wanted, piece, off);
		if (bpull_pread(disk, got, piece, off) || memcmp(got, wanted, piece))
			return complain(EXIT_CODE_DIFFERENT, "the data at %llu is wrong",
					(unsigned long long)off);
	}
	return 0;
}

static int merge_judge(const struct merge *m)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = m->is_commit ? BPULL_FORMAT_RAW
							       : BPULL_FORMAT_QCOW2,
					.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	struct bpull_error error = { 0 };
	char *buf = malloc(2 * MERGE_BUF_LEN);
	int code, rc = buf ? bpull_engine_open(&eo, &engine, &error) : -ENOMEM;

	if (!rc)
		rc = bpull_disk_open(engine, m->is_commit ? "low" : "upper", &o, &disk, &error);
	code = rc ? complain_library("the result", &error, rc)
		  : merge_compare(m, disk, buf, buf + MERGE_BUF_LEN);
	if (!code && !m->is_commit && bpull_disk_depth(disk) != 2)
		code = complain(EXIT_CODE_FAILED, "the chain has %u files afterwards, not 2",
				bpull_disk_depth(disk));
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	free(buf);
	return code;
}

int merge_one_run(struct merge *m, unsigned method, uint64_t round)
{
	static int (*const works[])(void *opaque) = { merge_with_blockpull, merge_with_copy,
						      merge_with_qemu, merge_with_keep };
	int code = merge_refresh(m);

	sync();
	if (code)
		return code;
	place_touch_memory(m->data_len + (64 << 20));
	code = timed_run(works[method], m, merge_made(m, method), &m->costs[method][round]);
	if (!code && method != MERGE_CEILING && !round)
		code = merge_judge(m);
	return code;
}
