/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which names may lead to a block device: random trees of directories, nodes and
 * links to links, some of them made by another user, against a model that knows
 * the tree because it drew it. A policy refuses with -EPERM; whether the device
 * behind a node can be opened does not matter, so the nodes are made here and
 * lead nowhere in particular. That takes root.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/opener.h"
#include "io/file/path_policy.h"
#include "io/posix/opener.h"
#include "tests/support/files/scratch.h"

#define N_DIRS     6
#define N_ENTRIES  24
#define N_TREES    60
#define N_OPENINGS 60
#define STRANGER   65534

enum kind {
	PLAIN,
	NODE,
	LINK
};

struct dir {
	int parent; /* -1: the scratch directory */
	bool is_kept;
	char path[512];
};

struct entry {
	enum kind kind;
	int dir, target; /* target: an earlier entry, so there is no loop */
	bool is_ours;
	char path[600];
};

static struct dir dirs[N_DIRS];
static struct entry entries[N_ENTRIES];
static uint64_t rng;

static unsigned draw(unsigned n)
{
	rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (unsigned)(rng >> 33) % n;
}

static void make_dirs(void)
{
	for (int i = 0; i < N_DIRS; i++) {
		struct dir *d = &dirs[i];
		unsigned fault = draw(6);

		d->parent = i ? (int)draw(i + 1) - 1 : -1;
		snprintf(d->path, sizeof(d->path), "%s/d%d",
			 d->parent < 0 ? scratch_dir() : dirs[d->parent].path, i);
		cr_assert_eq(mkdir(d->path, 0755), 0, "%s", d->path);
		d->is_kept = fault > 2;
		if (fault == 0)
			cr_assert_eq(chmod(d->path, 0777), 0);
		else if (fault == 1)
			cr_assert_eq(chmod(d->path, 0775), 0);
		else if (fault == 2)
			cr_assert_eq(chown(d->path, STRANGER, STRANGER), 0);
	}
}

/* How a link in one directory names an entry: absolute, or up to the top and down again. */
static void link_text(const struct entry *from, const struct entry *to, char *out, size_t size)
{
	size_t len = 0;

	if (draw(2)) {
		snprintf(out, size, "%s", to->path);
		return;
	}
	out[0] = '\0';
	for (int d = from->dir; d >= 0; d = dirs[d].parent)
		len += snprintf(out + len, size - len, "../");
	snprintf(out + len, size - len, "%s", to->path + strlen(scratch_dir()) + 1);
}

static void make_entry(int i)
{
	struct entry *e = &entries[i];
	char text[700];

	*e = (struct entry){ .dir = (int)draw(N_DIRS), .is_ours = draw(4) };
	e->kind = i < 3 ? NODE : i < 6 ? PLAIN : LINK;
	snprintf(e->path, sizeof(e->path), "%s/e%d", dirs[e->dir].path, i);
	if (e->kind == NODE) {
		cr_assert_eq(mknod(e->path, S_IFBLK | 0600, makedev(7, 200 + i)), 0);
	} else if (e->kind == PLAIN) {
		scratch_file(e->path + strlen(scratch_dir()) + 1, "x", 1);
	} else {
		e->target = (int)draw(i);
		link_text(e, &entries[e->target], text, sizeof(text));
		cr_assert_eq(symlink(text, e->path), 0, "%s", e->path);
	}
	if (!e->is_ours)
		cr_assert_eq(lchown(e->path, STRANGER, STRANGER), 0);
}

/* ---- the model ---- */

struct wish {
	bool named_dir[N_DIRS], named_file[N_ENTRIES];
	int own_dir; /* -1: none */
};

static bool below(int d, int above)
{
	for (; d >= 0; d = dirs[d].parent)
		if (d == above)
			return true;
	return false;
}

static bool in_named(const struct wish *w, int d)
{
	for (int i = 0; i < N_DIRS; i++)
		if (w->named_dir[i] && below(d, i))
			return true;
	return false;
}

static bool expected(const struct wish *w, int at)
{
	bool by_link = false;

	for (; entries[at].kind == LINK; at = entries[at].target)
		by_link |= entries[at].is_ours && dirs[entries[at].dir].is_kept &&
			   in_named(w, entries[at].dir);
	if (w->named_file[at] || in_named(w, entries[at].dir))
		return true;
	if (entries[at].kind == NODE)
		return by_link;
	return w->own_dir >= 0 && below(entries[at].dir, w->own_dir);
}

/* ---- the two of them ---- */

static void draw_wish(struct wish *w)
{
	*w = (struct wish){ .own_dir = (int)draw(N_DIRS + 1) - 1 };
	for (int i = 0; i < N_DIRS; i++)
		w->named_dir[i] = !draw(6);
	for (int i = 0; i < 6; i++)
		w->named_file[i] = !draw(12);
}

static int try_open(const struct wish *w, int at)
{
	const char *named[N_DIRS], *files[N_ENTRIES];
	struct path_policy policy = { .rule = PATH_RULE_TREE, .dirs = named, .files = files };
	struct file_open how = { .name = entries[at].path, .policy = &policy };
	struct file *file;
	struct err err;
	int rc;

	policy.own_dir = w->own_dir < 0 ? NULL : dirs[w->own_dir].path;
	for (int i = 0; i < N_DIRS; i++)
		if (w->named_dir[i])
			named[policy.n_dirs++] = dirs[i].path;
	for (int i = 0; i < N_ENTRIES; i++)
		if (w->named_file[i])
			files[policy.n_files++] = entries[i].path;
	rc = file_opener_posix()->open(file_opener_posix(), &how, &file, &err);
	if (!rc)
		file_close(file);
	if (rc == -EPERM)
		cr_assert(err.remedy == ERR_REMEDY_ALLOW_BACKING && err.remedy_name[0] == '/',
			  "%s: %s", err.message, err.remedy_name);
	return rc;
}

static bool make_tree(void)
{
	scratch_make();
	if (mknod(scratch("probe"), S_IFBLK | 0600, makedev(7, 200)))
		return false;
	make_dirs();
	for (int i = 0; i < N_ENTRIES; i++)
		make_entry(i);
	return true;
}

Test(device_links, random_trees_are_judged_as_their_model_does)
{
	const char *given = getenv("BB_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	unsigned n_allowed = 0, n_refused = 0;

	if (geteuid())
		cr_skip("making device nodes takes root");
	for (unsigned tree = 0; tree < N_TREES; tree++) {
		rng = seed + tree;
		if (!make_tree())
			scratch_skip("may not make device nodes");
		for (unsigned i = 0; i < N_OPENINGS; i++) {
			int at = (int)draw(N_ENTRIES), rc;
			struct wish w;

			draw_wish(&w);
			rc = try_open(&w, at);
			cr_assert_eq(rc != -EPERM, expected(&w, at), "BB_SEED=%llu: %s: %d",
				     (unsigned long long)(seed + tree), entries[at].path, rc);
			n_allowed += rc != -EPERM;
			n_refused += rc == -EPERM;
		}
		scratch_remove();
	}
	cr_assert(n_allowed > N_TREES && n_refused > N_TREES, "%u, %u", n_allowed, n_refused);
}

/* What the refusal says is what allows it. */
Test(device_links, the_refusal_names_the_link_that_can_be_trusted, .init = scratch_make,
     .fini = scratch_remove)
{
	struct path_policy policy = { .rule = PATH_RULE_TREE, .own_dir = scratch_dir() };
	struct file_open how = { .policy = &policy };
	struct file *file;
	struct err err;

	if (mknod(scratch("dm-3"), S_IFBLK | 0600, makedev(7, 200)))
		scratch_skip("making device nodes takes root");
	cr_assert_eq(mkdir(scratch("vg"), 0755), 0);
	cr_assert_eq(symlink("../dm-3", scratch("vg/base")), 0);
	how.name = scratch("vg/base");
	cr_assert_eq(file_opener_posix()->open(file_opener_posix(), &how, &file, &err), -EPERM);
	cr_assert(strstr(err.message, "block device"), "%s", err.message);
	cr_assert(strstr(err.remedy_name, "/vg/base"), "%s", err.remedy_name);
	cr_assert(strstr(err.message, err.remedy_name), "%s", err.message);
	cr_assert_eq(chmod(scratch("vg"), 0777), 0);
	cr_assert_eq(file_opener_posix()->open(file_opener_posix(), &how, &file, &err), -EPERM);
	cr_assert(strstr(err.remedy_name, "/dm-3"), "%s", err.remedy_name);
}
