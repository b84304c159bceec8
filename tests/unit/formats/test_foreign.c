/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Formats that are known by sight only: formats/core/foreign.h. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/foreign.h"
#include "io/base.h"
#include "io/err.h"

/* As files of these formats begin, by their specifications. */
static const struct {
	const char *bytes;
	size_t off, len;
	const char *says;
} heads[] = {
	{ "QFI\xfb\0\0\0\1", 0, 8, "qcow version 1" },
	{ "KDMV", 0, 4, "VMDK" },
	{ "COWD", 0, 4, "VMDK" },
	{ "# Disk DescriptorFile", 0, 21, "VMDK" },
	{ "\x7f\x10\xda\xbe", 64, 4, "VDI" },
	{ "vhdxfile", 0, 8, "VHDX" },
	{ "conectix", 0, 8, "VHD " },
	{ "LUKS\xba\xbe", 0, 6, "LUKS" },
	{ "WithoutFreeSpace", 0, 16, "Parallels" },
	{ "WithouFreSpacExt", 0, 16, "Parallels" },
	{ "Bochs Virtual HD Image", 0, 22, "Bochs" },
	{ "#!/bin/sh\n#V2.0 Format\n", 0, 23, "cloop" },
};

static bool says(const char *text, const char *want)
{
	return text && !strncmp(text, want, strlen(want));
}

Test(foreign, each_mark_is_known_and_only_as_a_whole)
{
	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		uint8_t head[FOREIGN_HEAD_LEN] = { 0 };

		memcpy(head + heads[i].off, heads[i].bytes, heads[i].len);
		cr_assert(says(foreign_by_head(head), heads[i].says), "head %zu", i);
		for (size_t k = 0; k < heads[i].len; k++) {
			head[heads[i].off + k] ^= 0x20;
			cr_assert_null(foreign_by_head(head), "head %zu, byte %zu", i, k);
			head[heads[i].off + k] ^= 0x20;
		}
	}
}

/* qcow2 has the same four bytes as qcow, and another version behind them. */
Test(foreign, what_is_ours_or_a_guests_is_none_of_them)
{
	uint8_t head[FOREIGN_HEAD_LEN] = { 0 };

	cr_assert_null(foreign_by_head(head));
	memcpy(head, "QFI\xfb\0\0\0\3", 8);
	cr_assert_null(foreign_by_head(head));
	memcpy(head, "QED\0\0\0\1\0", 8);
	cr_assert_null(foreign_by_head(head));
	srand(1);
	for (unsigned i = 0; i < 100000; i++) {
		for (size_t k = 0; k < sizeof(head); k++)
			head[k] = (uint8_t)(rand() >> 7);
		cr_assert_null(foreign_by_head(head), "draw %u", i);
	}
}

Test(foreign, names_are_those_that_qemu_uses)
{
	static const char *const names[] = { "qcow", "vmdk",      "vdi",   "vhdx", "vpc",
					     "luks", "parallels", "bochs", "dmg",  "cloop" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		cr_assert_not_null(foreign_by_name(names[i]), "%s", names[i]);
	cr_assert(says(foreign_by_name("vpc"), "VHD (Virtual PC)"));
	cr_assert_null(foreign_by_name("qcow2"));
	cr_assert_null(foreign_by_name("VDI"));
	cr_assert_null(foreign_by_name(""));
}

Test(foreign, a_refusal_names_file_format_and_remedy)
{
	struct err err;

	cr_assert_eq(foreign_refuse("a.vdi", foreign_by_name("vdi"), &err), -ENOTSUP);
	cr_assert_eq(err.code, -ENOTSUP);
	cr_assert_not_null(strstr(err.message, "'a.vdi'"));
	cr_assert_not_null(strstr(err.message, "VDI (VirtualBox)"));
	cr_assert_not_null(strstr(err.message, "qemu-img convert -O qcow2"));
}
