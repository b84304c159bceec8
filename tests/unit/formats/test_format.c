/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is common to all formats: their names, and how a file is found to be of one. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "formats/chain/open.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"
#include "tests/support/files/mem_file.h"

Test(format, names_go_both_ways)
{
	for (int f = IMAGE_RAW; f <= IMAGE_LAST; f++) {
		const char *name = format_name((enum image_format)f);

		cr_assert_eq((int)format_by_name(name, strlen(name)), f);
	}
	cr_assert_eq(format_by_name("qcow2x", 5), IMAGE_QCOW2);
	cr_assert_eq(format_by_name("qcow2", 4), IMAGE_UNKNOWN);
	cr_assert_eq(format_by_name("", 0), IMAGE_UNKNOWN);
	cr_assert_eq(format_by_name("unknown", 7), IMAGE_UNKNOWN);
	cr_assert_eq(format_by_name("RAW", 3), IMAGE_UNKNOWN);
	cr_assert_str_eq(format_name(IMAGE_UNKNOWN), "unknown");
}

Test(format, probing_goes_by_all_four_bytes)
{
	static const struct {
		const char *bytes;
		size_t len;
		enum image_format format;
	} rows[] = {
		{ "QFI\xfb", 4, IMAGE_QCOW2 }, { "QED\0", 4, IMAGE_QED },
		{ "QFI\xfc", 4, IMAGE_RAW },   { "QEDx", 4, IMAGE_RAW },
		{ "QFI", 3, IMAGE_RAW },       { "", 0, IMAGE_RAW },
		{ "KDM", 3, IMAGE_RAW },       { "QFI\xfb\0\0\0\3", 8, IMAGE_QCOW2 },
		{ "vhdxfil", 7, IMAGE_RAW },   { "QFI\xfb\0\0\0\1", 8, IMAGE_QCOW2 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct file *file = mem_file_new("image", rows[i].len);
		enum image_format format;

		if (rows[i].len)
			memcpy(mem_file_inode(file)->bytes, rows[i].bytes, rows[i].len);
		cr_assert_eq(format_probe(file, &format, NULL), 0);
		cr_assert_eq(format, rows[i].format, "row %zu", i);
		file_close(file);
	}
}

Test(format, other_formats_are_named_instead_of_taken_for_raw)
{
	static const char *const heads[][2] = {
		{ "KDMV", "VMDK" },         { "# Disk DescriptorFile\nversion=1", "VMDK" },
		{ "vhdxfile", "VHDX" },     { "conectix", "VHD " },
		{ "LUKS\xba\xbe", "LUKS" }, { "WithouFreSpacExt", "Parallels" },
	};

	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		struct file *file = mem_file_new("image", strlen(heads[i][0]));
		enum image_format format;
		struct err err;

		memcpy(mem_file_inode(file)->bytes, heads[i][0], strlen(heads[i][0]));
		cr_assert_eq(format_probe(file, &format, &err), -ENOTSUP);
		cr_assert(strstr(err.message, heads[i][1]), "%s", err.message);
		file_close(file);
	}
}

Test(format, an_unreadable_file_can_not_be_probed)
{
	struct file *file = mem_file_new("image", 512);
	enum image_format format;
	struct err err;

	mem_file_inode(file)->read_error = -EIO;
	cr_assert_eq(format_probe(file, &format, &err), -EIO);
	cr_assert(strstr(err.message, "image: "), "%s", err.message);
	file_close(file);
}
