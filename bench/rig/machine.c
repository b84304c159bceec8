/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What decides figures and can be asked for without rights: kernel, processors,
 * memory, file system. The device's name was left out: it says nothing to others.
 */
#include "bench/rig/machine.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include "bench/rig/complain.h"
#include "engine/blockpull.h"
#include "tools/words/exit_code.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

static void machine_file_system(struct json_object *machine)
{
	static const struct {
		long type;
		const char *name;
	} known[] = {
		{ EXT4_SUPER_MAGIC, "ext4" },           { XFS_SUPER_MAGIC, "xfs" },
		{ BTRFS_SUPER_MAGIC, "btrfs" },         { TMPFS_MAGIC, "tmpfs" },
		{ OVERLAYFS_SUPER_MAGIC, "overlayfs" },
	};
	struct statfs fs;
	char other[32];
	const char *name = other;

	if (statfs(".", &fs))
		return;
	snprintf(other, sizeof(other), "%#lx", (long)fs.f_type);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if ((long)fs.f_type == known[i].type)
			name = known[i].name;
	json_object_object_add(machine, "file_system", json_object_new_string(name));
}

struct json_object *machine_head(const char *kind)
{
	struct json_object *head = json_object_new_object(), *machine = json_object_new_object();
	struct utsname kernel;
	struct sysinfo info;

	if (!uname(&kernel)) {
		json_object_object_add(machine, "kernel", json_object_new_string(kernel.release));
		json_object_object_add(machine, "processor",
				       json_object_new_string(kernel.machine));
	}
	json_object_object_add(machine, "processors", json_object_new_int(get_nprocs()));
	if (!sysinfo(&info))
		json_object_object_add(
			machine, "memory_bytes",
			json_object_new_uint64((uint64_t)info.totalram * info.mem_unit));
	machine_file_system(machine);
	json_object_object_add(head, "tool", json_object_new_string("blockpull-bench"));
	json_object_object_add(head, "version", json_object_new_string(bpull_version()));
	json_object_object_add(head, "kind", json_object_new_string(kind));
	json_object_object_add(head, "machine", machine);
	return head;
}

int machine_print(struct json_object *result)
{
	puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_NOSLASHESCAPE |
							    JSON_C_TO_STRING_SPACED));
	json_object_put(result);
	errno = 0;
	return fflush(stdout) ? complain_system("standard output") : 0;
}
