/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A new image is the guest's disk and the mode of the file, no more. What else a
 * file and an image may have is looked for, and only what is there is said:
 * users stop reading a line that always comes. Times are not looked for: a new file
 * is new.
 */
#include "tools/pull/not_taken.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tools/cli/say.h"

#define NOT_TAKEN_CAP       256
#define NOT_TAKEN_NAMES_CAP 65536 /* the kernel's own limit */

static void not_taken_add(char *list, const char *what)
{
	size_t used = strlen(list);
	snprintf(list + used, NOT_TAKEN_CAP - used, "%s%s", used ? ", " : "", what);
}

/* A label of SELinux is not counted: the new file has the one that its place calls for. */
static void not_taken_attributes(const char *path, char *list)
{
	static char names[NOT_TAKEN_NAMES_CAP];
	ssize_t n = listxattr(path, names, sizeof(names));
	bool has_acl = false, has_others = false;

	for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
		if (!strcmp(name, "system.posix_acl_access") ||
		    !strncmp(name, "system.nfs4_acl", strlen("system.nfs4_acl")))
			has_acl = true;
		else if (strcmp(name, "security.selinux") != 0)
			has_others = true;
	}
	if (has_acl)
		not_taken_add(list, "its access list");
	if (has_others)
		not_taken_add(list, "its extended attributes");
}

static void not_taken_file(const char *path, char *list)
{
	struct stat st;

	if (stat(path, &st))
		return;
	if (st.st_uid != geteuid())
		not_taken_add(list, "its owner");
	if (st.st_gid != getegid())
		not_taken_add(list, "its group");
	if (S_ISREG(st.st_mode) && st.st_mode & (S_ISUID | S_ISGID | S_ISVTX))
		not_taken_add(list, "set-ID and sticky bits");
	not_taken_attributes(path, list);
}

static int not_taken_image(const char *path, const struct bpull_disk_options *options, char *list,
			   struct bpull_error *error)
{
	struct bpull_disk_options alone = *options;
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	char text[64];
	int rc;

	alone.flags = BPULL_DISK_NO_BACKING | BPULL_DISK_FORCE_SHARE;
	alone.opened = NULL;
	alone.n_backing_formats = 0; /* of files that are not opened here */
	rc = bpull_info_open(path, &alone, &info, error);
	if (rc)
		return rc;
	if (!bpull_info_layer(info, 0, &layer)) {
		if (layer.n_snapshots)
			snprintf(text, sizeof(text), "%u internal snapshot%s", layer.n_snapshots,
				 layer.n_snapshots == 1 ? "" : "s");
		if (layer.n_snapshots)
			not_taken_add(list, text);
		if (layer.has_bitmaps)
			not_taken_add(list, "its bitmaps");
	}
	bpull_info_close(info);
	return 0;
}

int not_taken_say(const char *path, const char *out, const struct bpull_disk_options *options,
		  struct bpull_error *error)
{
	char list[NOT_TAKEN_CAP] = "";
	int rc;

	not_taken_file(path, list);
	rc = not_taken_image(path, options, list, error);
	if (!rc && *list)
		say_note("note: %s: '%s' does not get %s", path, out, list);
	return rc;
}
