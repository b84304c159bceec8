/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Image formats that are known by sight only. What is not recognised counts as a
 * raw disk, so an image of another kind would be copied or hashed as if its own
 * header and tables were the guest's bytes. Better to name it.
 *
 * Only marks at the beginning count: those at a file's end (fixed VHD, DMG) may
 * as well be what a guest wrote to its last sector.
 */
#include "formats/core/foreign.h"

#include <errno.h>
#include <string.h>

#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"

/* Marks: `len` bytes at `off`. The texts are parts of sentences. */
static const struct foreign {
	const char *name; /* as QEMU calls the format */
	const char *text;
	const char *mark; /* NULL: known by its name only */
	size_t off, len;
} foreign[] = {
	{ "qcow", "qcow version 1", "QFI\xfb\0\0\0\1", 0, 8 },
	{ "vmdk", "VMDK (VMware)", "KDMV", 0, 4 },
	{ "vmdk", "VMDK (VMware)", "COWD", 0, 4 },
	{ "vmdk", "VMDK (VMware)", "# Disk DescriptorFile", 0, 21 },
	{ "vdi", "VDI (VirtualBox)", "\x7f\x10\xda\xbe", 64, 4 },
	{ "vhdx", "VHDX (Hyper-V)", "vhdxfile", 0, 8 },
	{ "vpc", "VHD (Virtual PC)", "conectix", 0, 8 },
	{ "luks", "LUKS (encrypted)", "LUKS\xba\xbe", 0, 6 },
	{ "parallels", "Parallels", "WithoutFreeSpace", 0, 16 },
	{ "parallels", "Parallels", "WithouFreSpacExt", 0, 16 },
	{ "bochs", "Bochs", "Bochs Virtual HD Image", 0, 22 },
	{ "dmg", "DMG (macOS)", NULL, 0, 0 },
	{ "cloop", "cloop", "#!/bin/sh\n#V2.0 Format\n", 0, 23 },
};

const char *foreign_by_head(const uint8_t head[FOREIGN_HEAD_LEN])
{
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (foreign[i].mark &&
		    !memcmp(head + foreign[i].off, foreign[i].mark, foreign[i].len))
			return foreign[i].text;
	return NULL;
}

const char *foreign_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (!strcmp(foreign[i].name, name))
			return foreign[i].text;
	return NULL;
}

int foreign_refuse(const char *shown_name, const char *text, struct err *err)
{
	return err_set(err, -ENOTSUP,
		       "'%s' is an image of the format %s, which is not supported; convert it to "
		       "qcow2 (qemu-img convert -O qcow2)",
		       shown_name, text);
}
