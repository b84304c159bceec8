/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The kernel keeps the process inside (cli/confine.c), and what clients name is
 * looked at before, so that they are told what is wrong: the kernel's refusal
 * has no sentence, and there is none at all with --no-sandbox.
 */
#include "tools/serve/fence.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/confine.h"
#include "tools/cli/sandbox.h"
#include "tools/serve/options.h"

int fence_add(struct fence *fence, const char *dir)
{
	if (fence->n == FENCE_MAX_DIRS)
		return -E2BIG;
	fence->dirs[fence->n] = realpath(dir, NULL);
	if (!fence->dirs[fence->n])
		return -errno;
	fence->n++;
	return 0;
}

void fence_free(struct fence *fence)
{
	while (fence->n)
		free(fence->dirs[--fence->n]);
}

/* The directory of a name, for the caller to free. NULL: no memory. */
static char *fence_dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, slash - path);
}

static bool fence_is_below(const char *dir, const char *path)
{
	size_t len = strlen(dir);

	return !strcmp(dir, "/") || (!strncmp(dir, path, len) && (path[len] == '/' || !path[len]));
}

int fence_check(const struct fence *fence, const char *path, struct bpull_error *error)
{
	char *dir = fence_dir_of(path), *real = dir ? realpath(dir, NULL) : NULL;
	bool is_inside = !real; /* there is no such directory, which is said in other words */

	for (unsigned i = 0; !is_inside && i < fence->n; i++)
		is_inside = fence_is_below(fence->dirs[i], real);
	free(real);
	free(dir);
	if (is_inside)
		return 0;
	*error = (struct bpull_error){ .code = -EPERM };
	snprintf(error->message, sizeof(error->message),
		 "'%.900s' lies below no directory that serve was given as --snapshot-dir", path);
	return -EPERM;
}

/* ---- the kernel's part ---- */

static int fence_allow_dir_of(struct confine *confine, const char *path, unsigned what)
{
	char *dir = path ? fence_dir_of(path) : NULL;
	int rc = dir ? confine_allow(confine, dir, what) : path ? -ENOMEM : 0;

	free(dir);
	return rc;
}

/* The chain's files, which are opened again below, by their names. */
static int fence_allow_chain(struct confine *confine, const struct serve_options *options,
			     struct bpull_error *error)
{
	struct bpull_disk_options o = options->line.chain.disk;
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	int rc;

	o.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE;
	o.opened = NULL;
	rc = bpull_info_open(options->image, &o, &info, error);
	for (unsigned i = 0; !rc && i < bpull_info_depth(info); i++) {
		unsigned what = CONFINE_READ | (i ? 0 : CONFINE_WRITE);

		bpull_info_layer(info, i, &layer);
		rc = confine_allow(confine, layer.path, what);
		/* Its name is as recorded: relative to the image's directory. */
		if (!rc && layer.data_file)
			rc = fence_allow_dir_of(confine, layer.path, what);
	}
	if (info)
		bpull_info_close(info);
	return rc;
}

static int fence_allow_all(struct confine *confine, const struct serve_options *options,
			   struct bpull_error *error)
{
	int rc = fence_allow_chain(confine, options, error);

	for (unsigned i = 0; !rc && i < options->fence.n; i++)
		rc = confine_allow(confine, options->fence.dirs[i],
				   CONFINE_READ | CONFINE_WRITE | CONFINE_FILES);
	/* Whether a file system tells the truth of holes is read there. */
	if (!rc)
		rc = confine_allow(confine, "/proc/self/mountinfo", CONFINE_READ);
	if (!rc)
		rc = confine_allow(confine, "/sys", CONFINE_READ);
	if (!rc)
		rc = fence_allow_dir_of(confine, options->socket_path, CONFINE_SOCKETS);
	if (!rc)
		rc = fence_allow_dir_of(confine, options->control, CONFINE_SOCKETS);
	return rc ? rc
		  : fence_allow_dir_of(confine, options->trace,
				       CONFINE_READ | CONFINE_WRITE | CONFINE_FILES);
}

int fence_close(const struct serve_options *options, struct bpull_error *error)
{
	struct confine confine;
	int rc;

	if (!options->fence.n || sandbox_is_disabled())
		return 0;
	rc = confine_begin(&confine);
	if (!rc)
		rc = fence_allow_all(&confine, options, error);
	if (!rc)
		rc = confine_close(&confine);
	if (!rc || error->code == rc)
		return rc;
	*error = (struct bpull_error){ .code = rc };
	snprintf(error->message, sizeof(error->message),
		 "--snapshot-dir: the process can't be kept inside of these directories (%s): it "
		 "needs Linux 5.13 with Landlock, or --no-sandbox",
		 strerror(-rc));
	return rc;
}
