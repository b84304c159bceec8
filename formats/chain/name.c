/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The names that images record of their backing and data files, made into paths. "file:" is a
 * plain name with a mark on it. A relative one leads, as in QEMU, from the directory that the
 * process runs in or was started in, and not from the image's: two readers of one image must
 * find the same file.
 */
#include "formats/chain/name.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "io/err.h"

const struct chain_name_use chain_backing_use = { "backing file", "qemu-img rebase -u" };
const struct chain_name_use chain_data_use = { "data file", "qemu-img amend -o data_file=NAME" };

const char *chain_name_show(const char *name, char shown[CHAIN_NAME_SHOWN])
{
	return err_escape(name, strlen(name), shown, CHAIN_NAME_SHOWN);
}

static int bad_name(const char *image_name, const char *recorded, const struct chain_name_use *use,
		    int code, const char *why, struct err *err)
{
	char shown[CHAIN_NAME_SHOWN], other[CHAIN_NAME_SHOWN];

	return err_set(err, code, "'%s' names '%s' as its %s: %s; set a plain file name with %s",
		       chain_name_show(image_name, shown), chain_name_show(recorded, other),
		       use->what, why, use->remedy);
}

static bool is_ascii_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static const char *why_no_path(const char *name)
{
	if (is_ascii_letter(name[0]) && name[1] == ':')
		return "it begins with a drive letter, as on Windows, and leads to no file here "
		       "(a file of that name would be written ./NAME)";
	return "protocols are not supported (a file of that name would be written ./NAME)";
}

bool chain_name_has_control(const char *name)
{
	for (const char *c = name; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return true;
	return false;
}

bool chain_name_is_plain(const char *name)
{
	return *name && name[strcspn(name, ":/")] != ':' && !chain_name_has_control(name);
}

int chain_name_path(const char *image_name, const char *recorded, const struct chain_name_use *use,
		    const char *here, char **out, struct err *err)
{
	const char *name = recorded;
	bool from_here = false;
	const char *slash;
	int dir_len, n;

	if (chain_name_has_control(recorded))
		return bad_name(image_name, recorded, use, -ENOTSUP, "it holds control characters",
				err);
	if (!strncmp(name, "json:", 5))
		return bad_name(image_name, recorded, use, -ENOTSUP,
				"json: descriptions are not followed", err);
	if (!strncmp(name, "file:", 5)) {
		name += 5;
		from_here = true;
	} else if (name[strcspn(name, ":/")] == ':') {
		return bad_name(image_name, recorded, use, -ENOTSUP, why_no_path(name), err);
	}
	if (!*name)
		return bad_name(image_name, recorded, use, -EUCLEAN, "the name is empty", err);

	slash = strrchr(image_name, '/');
	dir_len = slash && *name != '/' && !from_here ? (int)(slash + 1 - image_name) : 0;
	n = from_here && here && *name != '/' ? asprintf(out, "%s/%s", here, name)
					      : asprintf(out, "%.*s%s", dir_len, image_name, name);
	if (n < 0)
		return err_set(err, -ENOMEM, "out of memory while opening a %s", use->what);
	return 0;
}

int chain_backing_path(const char *image_name, const char *recorded, char **out, struct err *err)
{
	return chain_name_path(image_name, recorded, &chain_backing_use, NULL, out, err);
}

const char *chain_name_where(const char *recorded)
{
	if (strncmp(recorded, "file:", 5) || recorded[5] == '/')
		return "";
	return " (a relative name behind 'file:' leads from the directory the command runs in, as "
	       "in QEMU)";
}
