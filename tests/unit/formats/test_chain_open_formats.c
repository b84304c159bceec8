/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Opening chains: which format a backing file is taken for, by its record, by its
 * bytes or by the user's word.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qed/disk.h"
#include "io/base.h"
#include "io/file/path_policy.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/rigs/chain_rig.h"

Test(chain_open, what_a_guest_may_have_written_is_not_followed)
{
	struct chain *chain;

	chain_rig_add_qcow2("evil", "/etc/shadow", "raw");
	chain_rig_add_qcow2("a", "evil", NULL);
	chain_rig_refused("a", -ENOTSUP, "'a'", "it must be named");
	cr_assert_eq(chain_rig.err.remedy, ERR_REMEDY_BACKING_FORMAT);
	chain_rig_add_qed("b", "evil", 0);
	chain_rig_refused("b", -EPERM, "'evil'", "names '/etc/shadow' as its backing file");
	cr_assert_eq(chain_rig.err.remedy, ERR_REMEDY_TRUST_BACKING);
	cr_assert_str_eq(chain_rig.err.remedy_name, "evil=qcow2");
	chain_rig_add_qed("qed", "/etc/shadow", QED_F_NO_PROBE);
	chain_rig_add_qed("b2", "qed", 0);
	chain_rig_refused("b2", -EPERM, "looks like a qed image", "'/etc/shadow'");
	struct mem_inode *data = chain_rig_add_qcow2("data", NULL, NULL);
	put_be64(data->bytes + QCOW2_H_INCOMPAT, QCOW2_INCOMPAT_DATA_FILE);
	chain_rig_add_qed("b3", "data", 0);
	cr_assert_lt(chain_rig_open("b3", true, &chain), 0);
	put_be32(data->bytes + 104, 0x44415441);
	put_be32(data->bytes + 108, 11);
	memcpy(data->bytes + 112, "/etc/shadow", 11);
	chain_rig_refused("b3", -EPERM, "names '/etc/shadow' as its data file", "'data'");

	/* Raw means raw, whatever a guest has written into it. */
	chain_rig_add_qcow2("c", "evil", "raw");
	cr_assert_eq(chain_rig_open("c", true, &chain), 0, "%s", chain_rig.err.message);
	cr_assert(chain->n_layers == 2 && layer_format(chain->layers[1]) == IMAGE_RAW);
	chain_close(chain, NULL, NULL);
	chain_rig_add_qed("d", "evil", QED_F_NO_PROBE);
	cr_assert_eq(chain_rig_open("d", true, &chain), 0, "%s", chain_rig.err.message);
	cr_assert(chain->n_layers == 2 && layer_format(chain->layers[1]) == IMAGE_RAW);
	chain_close(chain, NULL, NULL);
}

Test(chain_open, the_user_names_formats_only_where_none_is_recorded)
{
	struct chain_open how = { .name = "top", .backing_format = IMAGE_QED };
	struct chain *chain;

	mem_fs_add(&chain_rig.fs, "base", 4096);
	chain_rig_add_qed("lower", "base", QED_F_NO_PROBE);
	chain_rig_add_qed("middle", "lower", 0);
	chain_rig_add_qcow2("top", "middle", NULL);
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	cr_assert_eq(chain->n_layers, 4);
	cr_assert_eq(layer_format(chain->layers[3]), IMAGE_RAW);
	chain_close(chain, NULL, NULL);
}

static void layers_are(const struct chain *chain, const enum image_format *formats,
		       const enum chain_format_from *from, unsigned n)
{
	cr_assert_eq(chain->n_layers, n);
	for (unsigned i = 0; i < n; i++) {
		cr_assert_eq(layer_format(chain->layers[i]), formats[i], "layer %u", i);
		cr_assert_eq(chain->format_from[i], from[i], "layer %u", i);
	}
}

Test(chain_open, below_qed_a_file_that_stands_alone_is_probed)
{
	static const enum image_format kinds[] = { IMAGE_RAW, IMAGE_QCOW2, IMAGE_QED };
	static const char *const names[] = { "raw", "qcow2", "qed" };
	enum chain_format_from from[] = { CHAIN_FORMAT_RECORDED, CHAIN_FORMAT_PROBED };
	struct chain *chain;

	mem_fs_add(&chain_rig.fs, "raw", 4096);
	chain_rig_add_qcow2("qcow2", NULL, NULL);
	chain_rig_add_qed("qed", NULL, 0);
	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		enum image_format formats[] = { IMAGE_QED, kinds[i] };
		char top[8];

		snprintf(top, sizeof(top), "top%u", i);
		chain_rig_add_qed(top, names[i], 0);
		cr_assert_eq(chain_rig_open(top, true, &chain), 0, "%s", chain_rig.err.message);
		layers_are(chain, formats, from, 2);
		cr_assert(!chain->layers[0]->backing.told_raw);
		chain_close(chain, NULL, NULL);
	}
}

/* QEMU would read them as what they are. */
Test(chain_open, formats_that_only_qemu_reads_are_not_taken_for_raw)
{
	static const struct {
		const char *bytes, *name;
		size_t off;
	} kinds[] = {
		{ "KDMV", "VMDK", 0 },
		{ "# Disk DescriptorFile", "VMDK", 0 },
		{ "\x7f\x10\xda\xbe", "VDI", 64 },
		{ "conectix", "VHD", 0 },
		{ "vhdxfile", "VHDX", 0 },
		{ "WithouFreSpacExt", "Parallels", 0 },
		{ "LUKS\xba\xbe", "LUKS", 0 },
	};
	struct chain_told told = { .name = "base", .format = IMAGE_RAW };
	struct chain_open how = { .name = "top", .write = true, .trust_formats = true };
	struct mem_inode *base = mem_fs_add(&chain_rig.fs, "base", 4096);
	struct chain *chain;

	chain_rig_add_qed("top", "base", 0);
	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		memset(base->bytes, 0, 512);
		memcpy(base->bytes + kinds[i].off, kinds[i].bytes, strlen(kinds[i].bytes));
		chain_rig_refused("top", -ENOTSUP, kinds[i].name, "give its format as raw");
		cr_assert_eq(chain_rig_open_how(&how, &chain), -ENOTSUP);
	}
	how.trust_formats = false;
	how.told = &told;
	how.n_told = 1;
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	cr_assert(chain->layers[0]->backing.told_raw);
	chain_close(chain, NULL, NULL);
}

/* QED over QED over qcow2 over raw, of which the last records a format only. */
static void add_kinds(void)
{
	mem_fs_add(&chain_rig.fs, "base", 4096);
	chain_rig_add_qcow2("lowest", "base", "raw");
	chain_rig_add_qed("lower", "lowest", 0);
	chain_rig_add_qcow2("middle", "lower", NULL);
	chain_rig_add_qed("top", "middle", 0);
}

Test(chain_open, all_is_trusted_when_the_user_says_so)
{
	static const enum image_format formats[] = { IMAGE_QED, IMAGE_QCOW2, IMAGE_QED, IMAGE_QCOW2,
						     IMAGE_RAW };
	static const enum chain_format_from from[] = { CHAIN_FORMAT_RECORDED, CHAIN_FORMAT_PROBED,
						       CHAIN_FORMAT_PROBED, CHAIN_FORMAT_PROBED,
						       CHAIN_FORMAT_RECORDED };
	struct path_policy none = { .rule = PATH_RULE_NONE };
	struct chain_open how = { .name = "top", .trust_formats = true };
	struct chain *chain;

	add_kinds();
	chain_rig_refused("top", -EPERM, "'middle'", "'lower'");
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	layers_are(chain, formats, from, 5);
	chain_close(chain, NULL, NULL);
	how.policy = &none; /* which files may be opened is another question */
	cr_assert_lt(chain_rig_open_how(&how, &chain), 0);
}

Test(chain_open, the_user_names_the_formats_of_single_files)
{
	static const enum chain_format_from from[] = { CHAIN_FORMAT_RECORDED, CHAIN_FORMAT_TOLD,
						       CHAIN_FORMAT_TOLD, CHAIN_FORMAT_TOLD,
						       CHAIN_FORMAT_RECORDED };
	static const enum image_format formats[] = { IMAGE_QED, IMAGE_QCOW2, IMAGE_QED, IMAGE_QCOW2,
						     IMAGE_RAW };
	struct chain_told told[] = {
		{ .name = "middle", .format = IMAGE_QCOW2 },
		{ .name = "elsewhere", .real = "/mem/lower", .format = IMAGE_QED },
		{ .name = "lowest", .format = IMAGE_QCOW2 },
	};
	struct chain_open how = { .name = "top", .told = told };
	struct chain *chain;

	add_kinds();
	for (how.n_told = 0; how.n_told < 3; how.n_told++) {
		cr_assert_lt(chain_rig_open_how(&how, &chain), 0, "%zu are enough", how.n_told);
		for (unsigned i = 0; i < 3; i++)
			told[i].depth = 0;
	}
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	layers_are(chain, formats, from, 5);
	cr_assert(told[0].depth == 1 && told[1].depth == 2 && told[2].depth == 3);
	chain_close(chain, NULL, NULL);
}

static void told_is_refused(struct chain_told *told, size_t n, const char *a, const char *b)
{
	struct chain_open how = { .name = "top", .told = told, .n_told = n, .trust_formats = true };
	struct chain *chain;

	cr_assert_eq(chain_rig_open_how(&how, &chain), -EINVAL, "%s", chain_rig.err.message);
	chain_rig_says(a, b);
}

Test(chain_open, what_the_user_says_of_formats_must_hold)
{
	struct chain_told absent[] = { { .name = "nowhere", .format = IMAGE_RAW } };
	struct chain_told against[] = { { .name = "base", .format = IMAGE_QCOW2 } };
	struct chain_told twice[] = { { .name = "middle", .format = IMAGE_QCOW2 },
				      { .name = "x", .real = "/mem/middle", .format = IMAGE_RAW } };
	struct chain_told wrong[] = { { .name = "lower", .format = IMAGE_QCOW2 } };
	struct chain_open how = {
		.name = "top", .told = absent, .n_told = 1, .trust_formats = true
	};
	struct chain *chain;

	add_kinds();
	told_is_refused(absent, 1, "'nowhere'", "no backing file of 'top'");
	told_is_refused(against, 1, "'lowest' records", "is raw");
	told_is_refused(twice, 2, "'middle'", "said to be qcow2 and to be raw");
	told_is_refused(wrong, 1, "lower", "not a qcow2 image");
	absent[0].optional = true;
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	chain_close(chain, NULL, NULL);
	absent[0].optional = false;
	how.no_backing = true;
	cr_assert_eq(chain_rig_open_how(&how, &chain), -EINVAL);
	chain_rig_says("'nowhere'", "no backing file is opened here");
}

Test(chain_open, a_name_that_two_files_are_recorded_by_is_ambiguous)
{
	struct chain_told told[] = { { .name = "d/x", .format = IMAGE_QED } };

	chain_rig_add_qed("d/d/x", NULL, 0);
	chain_rig_add_qed("d/x", "d/x", 0);
	chain_rig_add_qed("top", "d/x", 0);
	told_is_refused(told, 1, "'d/x'", "either of two");
}

Test(chain_open, recorded_formats_that_are_none_of_ours)
{
	struct chain *chain;
	struct chain_open how = { .name = "vmdk", .backing_format = IMAGE_RAW };

	mem_fs_add(&chain_rig.fs, "base", 4096);
	chain_rig_add_qcow2("vmdk", "base", "vmdk");
	chain_rig_refused("vmdk", -ENOTSUP, "'vmdk'", "not supported");
	cr_assert_eq(chain_rig_open_how(&how, &chain), -ENOTSUP,
		     "an override is no opinion on a record");
	chain_rig_add_qcow2("file", "base", "file");
	chain_rig_add_qcow2("device", "base", "host_device");
	static const char *const raw[] = { "file", "device" };
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(chain_rig_open(raw[i], true, &chain), 0, "%s", chain_rig.err.message);
		cr_assert_eq(layer_format(chain->layers[1]), IMAGE_RAW);
		chain_close(chain, NULL, NULL);
	}
}

Test(chain_open, a_wrong_format_is_an_error)
{
	mem_fs_add(&chain_rig.fs, "base", 4096);
	chain_rig_add_qcow2("top", "base", "qcow2");
	chain_rig_refused("top", -EINVAL, "backing file of 'top'", "base");
}
