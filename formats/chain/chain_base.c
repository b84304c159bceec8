/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The base of a partial pull: which layer of the chain it is, and the name
 * under which the overlay will find it.
 *
 * A name is matched by the file it leads to, since the user types another one
 * than the image next to the base has recorded. The new name is made from the
 * directories as they really are, because a ".." over a symlink leads
 * elsewhere than it looks; the file's own name stays what it was, so that a
 * link to "current.img" stays one. Copying the recorded name was rejected: it
 * is relative to another image's directory.
 */
#include "formats/chain/chain_base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/chain/chain.h"
#include "formats/chain/identity.h"
#include "formats/chain/name.h"
#include "formats/core/layer.h"
#include "formats/core/layer_header.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/dir.h"
#include "io/file/opener.h"

static int find_by_name(const struct chain *chain, const char *name, unsigned *depth)
{
	for (unsigned i = 0; i < chain->n_layers; i++) {
		const struct layer *above = i ? chain->layers[i - 1] : NULL;

		if (strcmp(chain->layers[i]->file->name, name) &&
		    (!above || strcmp(above->backing.name, name)))
			continue;
		*depth = i;
		return 0;
	}
	return -ENOENT;
}

static int find_by_identity(const struct chain *chain, struct file_opener *opener, const char *name,
			    unsigned *depth)
{
	struct file_open how = { .name = name };
	struct file *file;
	int rc = WAITING(opener->open(opener, &how, &file, NULL));

	if (rc)
		return rc;
	rc = -ENOENT;
	for (unsigned i = 0; rc && i < chain->n_layers; i++) {
		const struct file *have = chain->layers[i]->file;

		if (identity_is_same(have, file)) {
			*depth = i;
			rc = 0;
		}
	}
	file_close(file);
	return rc;
}

/* The process lacks descriptors or memory: the error says nothing of the file. */
static bool is_out_of_resources(int rc)
{
	return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM;
}

/* The program opened the files: names lead nowhere. */
static bool chain_is_given(const struct chain *chain)
{
	return chain->layers[chain->n_layers - 1]->file->is_given;
}

int chain_find_base(const struct chain *chain, struct file_opener *opener, const char *name,
		    unsigned *depth, struct err *err)
{
	char shown[CHAIN_NAME_SHOWN], top[CHAIN_NAME_SHOWN];
	int rc = chain_is_given(chain) ? -ENOENT : find_by_identity(chain, opener, name, depth);

	if (is_out_of_resources(rc))
		return err_errno(err, rc, "cannot open '%s' to find it in the backing chain",
				 chain_name_show(name, shown));
	if (rc)
		rc = find_by_name(chain, name, depth);
	if (rc) {
		err_set(err, -EINVAL,
			"'%s' is not in the backing chain of '%s'; nothing was changed",
			chain_name_show(name, shown),
			chain_name_show(chain->layers[0]->file->name, top));
		return err_remedy(err, -EINVAL, ERR_REMEDY_LIST_CHAIN, NULL);
	}
	if (!*depth)
		return err_set(err, -EINVAL,
			       "'%s' is the image itself, not a file of its backing chain; nothing "
			       "was changed",
			       chain_name_show(name, shown));
	return 0;
}

/* ---- the new name ---- */

/* The directory a path's last component is looked up in, symlinks resolved, with a slash at its
 * end; where the file is of no real file system, the directory of its resolved name. NULL and *why
 * < 0. */
static char *real_dir(const struct file *file, int *why)
{
	const char *slash = strrchr(file->name, '/');
	autofree char *dir = slash ? strndup(file->name, slash - file->name + 1) : strdup(".");
	autofree char *real = dir ? realpath(dir, NULL) : NULL;
	char *out;

	*why = !dir || real || errno == ENOENT ? -ENOMEM : -errno;
	if (!dir || (!real && errno != ENOENT))
		return NULL;
	if (!real) {
		slash = strrchr(file->real_name, '/');
		return strndup(file->real_name, slash - file->real_name + 1);
	}
	return asprintf(&out, "%s%s", real, real[1] ? "/" : "") < 0 ? NULL : out;
}

/* The directory as the name has it, where names lead nowhere; "" where it has none. */
static char *written_dir(const struct file *file)
{
	const char *slash = strrchr(file->name, '/');

	return strndup(file->name, slash ? (size_t)(slash - file->name) + 1 : 0);
}

static char *dir_of(const struct file *file, int *why)
{
	*why = -ENOMEM;
	return file->is_given ? written_dir(file) : real_dir(file, why);
}

static bool goes_up(const char *dir)
{
	return !strncmp(dir, "../", 3) || strstr(dir, "/../");
}

/* Directories that are written, not looked up, lead from one to the other only where both begin at
 * the same place and none goes up on the way. */
static int check_written(const struct file *base, const char *from, const char *to, struct err *err)
{
	char shown[CHAIN_NAME_SHOWN];

	if (!base->is_given ||
	    ((from[0] == '/') == (to[0] == '/') && !goes_up(from) && !goes_up(to)))
		return 0;
	return err_set(err, -EINVAL,
		       "the image's name for its new base '%s' can't be told from the names that "
		       "the files were given under: it must be named (base_name)",
		       chain_name_show(base->name, shown));
}

/* How to come from one absolute directory to another, both with a slash at the end: "", "a/",
 * "../". */
static char *relative_dir(const char *from, const char *to)
{
	size_t same = 0, n_up = 0, len;
	char *path;

	for (size_t i = 0; from[i] && from[i] == to[i]; i++)
		if (from[i] == '/')
			same = i + 1;
	for (const char *c = from + same; *c; c++)
		n_up += *c == '/';
	len = strlen(to + same);
	path = malloc(3 * n_up + len + 1);
	if (!path)
		return NULL;
	for (size_t i = 0; i < n_up; i++)
		memcpy(path + 3 * i, "../", 3);
	memcpy(path + 3 * n_up, to + same, len + 1);
	return path;
}

/* A name that the program resolves is recorded as the chain had it, unless it could be a path: it
 * would be another image's, and lead to a file of this machine where the program is not asked. */
static int resolved_base_name(const struct chain *chain, unsigned depth, char **out,
			      struct err *err)
{
	const struct file *base = chain->layers[depth]->file;
	char shown[CHAIN_NAME_SHOWN];

	if (!base->is_source || chain_name_is_plain(base->name))
		return err_set(err, -EINVAL,
			       "another file was opened for '%s' (json:, or a name that was "
			       "mapped), so the image's name for its new base must be named "
			       "(base_name, or backing-file of QMP); nothing was changed",
			       chain_name_show(base->name, shown));
	*out = strdup(base->name);
	return *out ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int path_base_name(const struct chain *chain, unsigned depth, char **out, struct err *err)
{
	const struct layer *overlay = chain->layers[0];
	const struct file *base = chain->layers[depth]->file;
	const char *recorded = overlay->backing.name, *guard = "";
	int why_from, why_to;
	autofree char *from = dir_of(overlay->file, &why_from), *to = dir_of(base, &why_to);
	autofree char *dir = NULL, *path = NULL;
	bool relative;

	recorded += strncmp(recorded, "file:", 5) ? 0 : 5;
	relative = recorded[0] != '/';
	if (!from || !to)
		return err_errno(err, from ? why_to : why_from,
				 "cannot find the way from the image to its new base");
	if (check_written(base, from, to, err))
		return -EINVAL;
	dir = relative ? relative_dir(from, to) : strdup(to);
	if (!dir || asprintf(&path, "%s%s", dir, dir_last_part(base->name)) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	/* A colon before any slash would make it a protocol. */
	if (path[strcspn(path, ":/")] == ':')
		guard = "./";
	if (asprintf(out, "%s%s", guard, path) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

static int base_name_of(const struct chain *chain, unsigned depth, char **out, struct err *err)
{
	if (chain->layers[depth]->file->is_source || chain->is_resolved[depth])
		return resolved_base_name(chain, depth, out, err);
	return path_base_name(chain, depth, out, err);
}

/* The name as the image will resolve it, from the directory that it lies in. NULL: no memory. */
static char *resolve_beside(const struct file *overlay, const char *name)
{
	const char *slash = strrchr(overlay->name, '/');
	char *out;

	if (name[0] == '/' || !slash)
		return strdup(name);
	return asprintf(&out, "%.*s%s", (int)(slash + 1 - overlay->name), overlay->name, name) < 0
		       ? NULL
		       : out;
}

int chain_name_base(const struct chain *chain, struct file_opener *opener, unsigned depth,
		    const char *wanted, char **out, struct err *err)
{
	const struct layer *overlay = chain->layers[0];
	char shown[CHAIN_NAME_SHOWN], base[CHAIN_NAME_SHOWN];
	autofree char *path = NULL;
	unsigned found;
	int rc;

	if (!wanted)
		return base_name_of(chain, depth, out, err);
	if (chain->layers[depth]->file->is_source &&
	    !strcmp(wanted, chain->layers[depth]->file->name)) {
		*out = strdup(wanted);
		return *out ? 0 : err_set(err, -ENOMEM, "out of memory");
	}
	if (!chain_name_is_plain(wanted))
		return err_set(
			err, -EINVAL,
			"'%s' can't be the name of the new backing file: it must be that of a "
			"plain file",
			chain_name_show(wanted, shown));
	path = resolve_beside(overlay->file, wanted);
	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	found = depth;
	if (!chain_is_given(chain))
		rc = find_by_identity(chain, opener, path, &found);
	else
		rc = strcmp(path, chain->layers[depth]->file->name) ? -ENOENT : 0;
	if (is_out_of_resources(rc))
		return err_errno(err, rc, "cannot open '%s' to see where it leads",
				 chain_name_show(wanted, shown));
	if (rc || found != depth)
		return err_set(err, -EINVAL,
			       "'%s' does not lead to '%s' from the image's directory; nothing was "
			       "changed",
			       chain_name_show(wanted, shown),
			       chain_name_show(chain->layers[depth]->file->name, base));
	if (depth == 1 && strcmp(overlay->backing.name, wanted) != 0)
		return err_set(err, -EINVAL,
			       "'%s' is the backing file already, and a pull does not rename it",
			       chain_name_show(overlay->backing.name, shown));
	*out = strdup(wanted);
	return *out ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int chain_plan_link(const struct chain *chain, const char *base_name, struct err *err)
{
	struct layer *overlay = chain->layers[0];

	return layer_plan_link(
		overlay, base_name,
		base_name ? layer_format(chain->layers[chain->pull_to]) : IMAGE_UNKNOWN, err);
}
