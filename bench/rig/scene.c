/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every byte of the guest's disk is a function of its offset, so a result is
 * judged without a second copy of the truth, and nothing on the way can compress
 * it or find zeros in it. Images are made by the library's own calls: a user has
 * no qemu-img. (bench/run.py, which has, judges with it.)
 */
#include "bench/rig/scene.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/rig/complain.h"
#include "tools/words/exit_code.h"

#define MIB           (UINT64_C(1) << 20)
#define N_LAYERS      16
#define BUF_LEN       MIB
#define SCATTERED_LEN (64 * UINT64_C(1024))
#define CHAIN_LEN     (256 * UINT64_C(1024))

void scene_content(void *buf, uint64_t len, uint64_t guest_off)
{
	uint64_t *words = buf;

	for (uint64_t i = 0; i < len / 8; i++) {
		uint64_t x = (guest_off / 8 + i + 1) * UINT64_C(0x9e3779b97f4a7c15);

		x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
		words[i] = x ^ x >> 31;
	}
}

static uint64_t scene_larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Length of one piece of data, never less than a cluster, and from one piece's beginning to the
 * next's. */
static uint64_t scene_piece_len(const struct scene *s)
{
	switch (s->pattern) {
	case SCENE_SCATTERED: return scene_larger(SCATTERED_LEN, s->cluster_size);
	case SCENE_CHAIN: return scene_larger(CHAIN_LEN, s->cluster_size);
	case SCENE_DENSE:
	case SCENE_HALF: return MIB;
	}
	abort();
}

static uint64_t scene_piece_stride(const struct scene *s)
{
	uint64_t len = scene_piece_len(s);

	return s->size / (s->data_len / len) / len * len;
}

void scene_settle(struct scene *s)
{
	uint64_t unit = scene_larger(2 * MIB, 2 * (uint64_t)s->cluster_size);

	if (!s->data_len)
		s->data_len = s->size && s->size < 1024 * MIB ? s->size : 1024 * MIB;
	s->data_len = (s->data_len + unit - 1) / unit * unit;
	if (!s->size)
		s->size = s->pattern == SCENE_SCATTERED ? 16 * s->data_len : s->data_len;
	s->size = (s->size + unit - 1) / unit * unit;
	if (s->size < s->data_len || s->pattern == SCENE_HALF)
		s->size = s->data_len;
}

uint64_t scene_moved_len(const struct scene *s)
{
	return s->pattern == SCENE_HALF ? s->data_len / 2 : s->data_len;
}

uint64_t scene_room(const struct scene *s)
{
	/* base, fresh, packed, image, copy; tables are small beside 64 MiB and a 64th */
	return 4 * s->data_len + s->data_len / 4 + s->size / 64 + 64 * MIB;
}

int scene_raw(const char *name, uint64_t len, uint64_t off, uint64_t data_len)
{
	uint64_t *buf = malloc(BUF_LEN);
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && buf && !ftruncate(fd, (off_t)len);
	int code;

	for (uint64_t at = 0; ok && at < data_len; at += BUF_LEN) {
		uint64_t n = data_len - at < BUF_LEN ? data_len - at : BUF_LEN;

		scene_content(buf, n, off + at);
		ok = pwrite(fd, buf, n, off + at) == (ssize_t)n;
	}
	code = ok ? 0 : complain_system(name);
	if (fd >= 0)
		close(fd);
	free(buf);
	return code;
}

/* A raw base's pieces, or the packed bytes: those that the overlay lacks. */
static int scene_write_pieces(const struct scene *s, const char *name, bool packed)
{
	uint64_t len = scene_piece_len(s), stride = scene_piece_stride(s), to = 0;
	uint64_t step = packed && s->pattern == SCENE_HALF ? s->cluster_size : len;
	char *buf = malloc(len > step ? len : step);
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && buf && !ftruncate(fd, packed ? 0 : (off_t)s->size);
	int code;

	if (step != len) { /* HALF is dense: every second cluster of all */
		len = step;
		stride = 2 * step;
	}
	for (uint64_t at = 0, i = 0; ok && i < (packed ? scene_moved_len(s) : s->data_len) / len;
	     i++, at += stride, to += len) {
		scene_content(buf, len, at);
		ok = pwrite(fd, buf, len, packed ? to : at) == (ssize_t)len;
	}
	code = ok ? 0 : complain_system(name);
	if (fd >= 0)
		close(fd);
	free(buf);
	return code;
}

int scene_overlay(const char *name, enum bpull_format format, uint64_t size, uint32_t cluster_size,
		  const char *backing, enum bpull_format backing_format)
{
	struct bpull_create_options o = {
		.size = sizeof(o),
		.format = format,
		.virtual_size = size,
		.backing_name = backing,
		.backing_format = backing ? backing_format : BPULL_FORMAT_UNKNOWN,
		.cluster_size = cluster_size,
	};
	struct bpull_error error = { 0 };
	int rc = bpull_create(name, &o, &error);

	return rc ? complain_library(name, &error, rc) : 0;
}

struct bpull_disk_options scene_disk_options(enum bpull_format format, uint32_t flags)
{
	return (struct bpull_disk_options){
		.size = sizeof(struct bpull_disk_options),
		.flags = flags,
		.format = format,
		.backing_format = format,
	};
}

/* One image opened for calls that wait. */
struct opened {
	struct bpull_engine *engine;
	struct bpull_disk *disk;
};

static int scene_open_image(const char *name, enum bpull_format format, uint32_t flags,
			    struct opened *o)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options options = scene_disk_options(format, flags | BPULL_DISK_GUEST_IO);
	struct bpull_error error = { 0 };
	int rc;

	*o = (struct opened){ 0 };
	rc = bpull_engine_open(&eo, &o->engine, &error);
	if (!rc)
		rc = bpull_disk_open(o->engine, name, &options, &o->disk, &error);
	return rc ? complain_library(name, &error, rc) : 0;
}

static void scene_close_image(struct opened *o)
{
	bpull_disk_close(o->disk);
	bpull_engine_close(o->engine);
}

/* Pieces of scene_piece_len(), every stride bytes from `first` on, through the image's format. */
struct own_data {
	uint64_t first, len, stride, end;
};

static int scene_write_own(const struct scene *s, const char *name, struct own_data own)
{
	char *buf = malloc(own.len);
	struct opened image;
	int rc = buf ? 0 : -ENOMEM;
	int code = scene_open_image(name, s->format, 0, &image);

	for (uint64_t at = own.first; !code && !rc && at < own.end; at += own.stride) {
		scene_content(buf, own.len, at);
		rc = bpull_pwrite(image.disk, buf, own.len, at, 0);
	}
	if (!code && !rc)
		rc = bpull_pflush(image.disk);
	scene_close_image(&image);
	free(buf);
	return rc ? complain_library(name, NULL, rc) : code;
}

static int scene_make_chain(const struct scene *s)
{
	uint64_t stride = scene_piece_stride(s);
	char names[N_LAYERS][16];
	int code = 0;

	for (unsigned i = 0; i < N_LAYERS && !code; i++) {
		snprintf(names[i], sizeof(names[i]), "layer%u", i);
		code = scene_overlay(names[i], s->format, s->size, s->cluster_size,
				     i ? names[i - 1] : NULL, s->format);
		if (!code)
			code = scene_write_own(
				s, names[i],
				(struct own_data){ i * stride, scene_piece_len(s),
						   N_LAYERS * stride,
						   s->data_len / scene_piece_len(s) * stride });
	}
	return code ? code
		    : scene_overlay("fresh", s->format, s->size, s->cluster_size,
				    names[N_LAYERS - 1], s->format);
}

int scene_make(const struct scene *s)
{
	int code = scene_write_pieces(s, "packed", true);

	if (code)
		return code;
	if (s->pattern == SCENE_CHAIN) {
		code = scene_make_chain(s);
	} else {
		code = scene_write_pieces(s, "base", false);
		if (!code)
			code = scene_overlay("fresh", s->format, s->size, s->cluster_size, "base",
					     BPULL_FORMAT_RAW);
	}
	if (!code && s->pattern == SCENE_HALF)
		code = scene_write_own(s, "fresh",
				       (struct own_data){ s->cluster_size, s->cluster_size,
							  2 * (uint64_t)s->cluster_size, s->size });
	sync();
	return code;
}

/* All of it, whatever its file system calls a hole; zeros are left out of `to`, which is new. */
static bool scene_copy_all(int from, int to, char *buf)
{
	ssize_t n;

	for (off_t at = 0; (n = pread(from, buf, BUF_LEN, at)) > 0; at += n)
		if ((buf[0] || memcmp(buf, buf + 1, n - 1)) && pwrite(to, buf, n, at) != n)
			return false;
	return !n;
}

/* Into the page cache, which a hole is not in anyway. */
static bool scene_read_data(int from, char *buf)
{
	off_t end = 0, begin;

	while ((begin = lseek(from, end, SEEK_DATA)) >= 0) {
		end = lseek(from, begin, SEEK_HOLE);
		while (begin < end) {
			size_t len = end - begin < (off_t)BUF_LEN ? end - begin : BUF_LEN;
			ssize_t n = pread(from, buf, len, begin);

			if (n <= 0)
				return false;
			begin += n;
		}
	}
	return errno == ENXIO;
}

int scene_fresh(const char *name)
{
	char *buf = malloc(BUF_LEN);
	int from = open("fresh", O_RDONLY | O_CLOEXEC);
	int to = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat st;
	bool ok = buf && from >= 0 && to >= 0 && !fstat(from, &st) && !ftruncate(to, st.st_size) &&
		  scene_copy_all(from, to, buf) && !fsync(to);
	int code = ok ? 0 : complain_system(name);

	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	free(buf);
	return code;
}

static int scene_warm_file(const char *name, char *buf)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	int code = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : complain_system(name);
	if (!scene_read_data(fd, buf))
		code = complain_system(name);
	close(fd);
	return code;
}

int scene_warm(void)
{
	char *buf = malloc(BUF_LEN), name[16];
	int code = buf ? 0 : complain_system("memory");

	for (unsigned i = 0; i < N_LAYERS && !code; i++) {
		snprintf(name, sizeof(name), "layer%u", i);
		code = scene_warm_file(name, buf);
	}
	if (!code)
		code = scene_warm_file("base", buf);
	if (!code)
		code = scene_warm_file("packed", buf);
	free(buf);
	return code;
}

static int scene_judge_check(const struct scene *s, const char *name)
{
	struct bpull_check_options o = { .size = sizeof(o), .format = s->format };
	struct bpull_check_result result = { .size = sizeof(result) };
	struct bpull_error error = { 0 };
	int rc = bpull_check(name, &o, &result, &error);

	if (rc)
		return complain_library(name, &error, rc);
	if (result.n_corruptions || result.n_leaks || result.n_check_errors)
		return complain(EXIT_CODE_CORRUPT,
				"the pulled image is not sound: %llu errors, %llu leaks",
				(unsigned long long)result.n_corruptions,
				(unsigned long long)result.n_leaks);
	return 0;
}

static int scene_judge_content(const struct scene *s, const char *name, struct bpull_disk *disk)
{
	uint64_t len = scene_piece_len(s), stride = scene_piece_stride(s), n = s->data_len / len;
	char *is = malloc(len), *should = malloc(len);
	int code = is && should ? 0 : complain_system("memory");

	if (!code && bpull_disk_depth(disk) != 1)
		code = complain(EXIT_CODE_DIFFERENT, "the pulled image still has a backing file");
	for (uint64_t i = 0; i < n && !code; i++) {
		int rc = bpull_pread(disk, is, len, i * stride);

		scene_content(should, len, i * stride);
		if (rc)
			code = complain_library(name, NULL, rc);
		else if (memcmp(is, should, len))
			code = complain(EXIT_CODE_DIFFERENT,
					"the pulled image differs at byte %llu",
					(unsigned long long)(i * stride));
	}
	free(is);
	free(should);
	return code;
}

int scene_judge(const struct scene *s, const char *name)
{
	struct opened image;
	int code = scene_judge_check(s, name);

	if (code)
		return code;
	code = scene_open_image(name, s->format, BPULL_DISK_READ_ONLY, &image);
	if (!code)
		code = scene_judge_content(s, name, image.disk);
	scene_close_image(&image);
	return code;
}
