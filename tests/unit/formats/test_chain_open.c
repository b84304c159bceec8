/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Opening chains from files in memory: names, formats, policy, loops, depth,
 * locks and sharing. mem_fs_destroy() checks after every test that no file was
 * left open, so each refusal is a test of its way out, too.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "formats/chain/chain.h"
#include "formats/chain/layer_set.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/disk.h"
#include "formats/qed/disk.h"
#include "io/base.h"
#include "tests/support/fail_alloc.h"
#include "tests/support/mem_file.h"

#define GUEST_LEN 32768u

static struct mem_fs fs;
static struct table_cache *cache;
static struct layer_set *set;
static struct err err;

static void setup(void)
{
	mem_fs_init(&fs);
	cache = table_cache_new(1 << 20);
	set = layer_set_new(&fs.opener, cache);
}

/* The test framework loses what the leak checker says at exit, so it is asked here. */
#ifdef __SANITIZE_ADDRESS__
int __lsan_do_recoverable_leak_check(void);
#else
static int __lsan_do_recoverable_leak_check(void)
{
	return 0;
}
#endif

static void teardown(void)
{
	layer_set_free(set); /* checks that no layer is left */
	table_cache_free(cache);
	mem_fs_destroy(&fs);
	if (__lsan_do_recoverable_leak_check())
		abort();
}

TestSuite(chain_open, .init = setup, .fini = teardown);

/* ---- Images ---- */

/* QED with 4 KiB clusters and an empty L1 table. */
static struct mem_inode *add_qed(const char *name, const char *backing, uint64_t more_features)
{
	struct mem_inode *inode = mem_fs_add(&fs, name, 8192);
	uint8_t *h = inode->bytes;

	memcpy(h, "QED", 4);
	put_le32(h + QED_H_CLUSTER_LEN, 4096);
	put_le32(h + QED_H_TABLE_CLUSTERS, 1);
	put_le32(h + QED_H_HEADER_CLUSTERS, 1);
	put_le64(h + QED_H_FEATURES, more_features | (backing ? QED_F_BACKING_FILE : 0));
	put_le64(h + QED_H_L1_OFF, 4096);
	put_le64(h + QED_H_GUEST_LEN, GUEST_LEN);
	if (backing) {
		put_le32(h + QED_H_BACKING_OFF, QED_HEADER_LEN);
		put_le32(h + QED_H_BACKING_LEN, (uint32_t)strlen(backing));
		memcpy(h + QED_HEADER_LEN, backing, strlen(backing));
	}
	return inode;
}

/* qcow2 with 512-byte clusters: header, refcount table and L1 table, all empty. */
static struct mem_inode *add_qcow2(const char *name, const char *backing, const char *format)
{
	struct mem_inode *inode = mem_fs_add(&fs, name, 3 * 512);
	uint8_t *h = inode->bytes;

	put_be32(h + QCOW2_H_MAGIC, QCOW2_MAGIC);
	put_be32(h + QCOW2_H_VERSION, 3);
	put_be32(h + QCOW2_H_CLUSTER_BITS, 9);
	put_be64(h + QCOW2_H_SIZE, GUEST_LEN);
	put_be32(h + QCOW2_H_L1_SIZE, 1);
	put_be64(h + QCOW2_H_L1_OFF, 1024);
	put_be64(h + QCOW2_H_REFTABLE_OFF, 512);
	put_be32(h + QCOW2_H_REFTABLE_CLUSTERS, 1);
	put_be32(h + QCOW2_H_REFCOUNT_ORDER, 4);
	put_be32(h + QCOW2_H_LEN, 104);
	if (format) {
		put_be32(h + 104, 0xe2792aca);
		put_be32(h + 108, (uint32_t)strlen(format));
		memcpy(h + 112, format, strlen(format));
	}
	if (backing) {
		put_be64(h + QCOW2_H_BACKING_OFF, 256);
		put_be32(h + QCOW2_H_BACKING_LEN, (uint32_t)strlen(backing));
		memcpy(h + 256, backing, strlen(backing));
	}
	return inode;
}

static int open_how(const struct chain_open *how, struct chain **out)
{
	err = (struct err){ 0 };
	int rc = chain_open(set, how, out, &err);

	cr_assert_eq(rc, err.code, "%d, but the error says %d: %s", rc, err.code, err.message);
	return rc;
}

static int open_chain(const char *name, bool write, struct chain **out)
{
	return open_how(&(struct chain_open){ .name = name, .write = write }, out);
}

/* The sentence must hold all of the words. */
static void says(const char *a, const char *b)
{
	cr_assert(strstr(err.message, a), "'%s' is not in: %s", a, err.message);
	cr_assert(strstr(err.message, b), "'%s' is not in: %s", b, err.message);
}

static void refused(const char *name, int code, const char *a, const char *b)
{
	struct chain *chain;

	cr_assert_eq(open_chain(name, true, &chain), code, "%s: %s", name, err.message);
	says(a, b);
}

/* ---- Following names ---- */

struct told {
	unsigned n_opened, n_closing, n_no_locks;
	struct file *last;
};

static void count_opened(void *opaque, struct file *file)
{
	struct told *told = opaque;

	told->n_opened++;
	told->last = file;
}

static void count_closing(void *opaque, struct file *file)
{
	struct told *told = opaque;

	cr_assert_not_null(file->name, "it is still open");
	told->n_closing++;
}

static void count_no_locks(void *opaque, const char *name)
{
	((struct told *)opaque)->n_no_locks++;
}

Test(chain_open, follows_names_from_directory_to_directory)
{
	struct mem_inode *base = mem_fs_add(&fs, "d/base.raw", 5000);
	struct mem_inode *middle = add_qcow2("d/sub/middle", "../base.raw", "raw");
	struct mem_inode *top = add_qcow2("d/top", "file:d/sub/middle", "qcow2");
	struct told told = { 0 };
	struct chain_open how = {
		.name = "d/top", .write = true, .file_opened = count_opened, .opaque = &told
	};
	struct chain *chain;

	mem_fs_link(&fs, "d/sub/../base.raw", "/mem/d/base.raw", base);
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
	cr_assert_eq(chain->n_layers, 3);
	cr_assert_eq(told.n_opened, 3);
	cr_assert_eq(layer_format(chain->layers[0]), IMAGE_QCOW2);
	cr_assert_eq(layer_format(chain->layers[2]), IMAGE_RAW);
	cr_assert_eq(chain->layers[2]->guest_len, 5000);
	cr_assert(chain->layers[0]->is_overlay && chain->layers[0]->file->writable);
	cr_assert(!chain->layers[1]->is_overlay && !chain->layers[1]->file->writable);
	cr_assert(top->n_overlay == 1 && middle->n_shared == 1 && base->n_shared == 1);
	chain_close(chain, count_closing, &told);
	cr_assert_eq(told.n_closing, 3);
	cr_assert(!top->n_overlay && !middle->n_shared && !base->n_open);
}

Test(chain_open, no_backing_opens_the_image_alone)
{
	struct chain *chain;

	add_qcow2("top", "nowhere", "raw");
	cr_assert_eq(open_how(&(struct chain_open){ .name = "top", .no_backing = true }, &chain),
		     0);
	cr_assert_eq(chain->n_layers, 1);
	cr_assert(chain->layers[0]->has_backing);
	chain_close(chain, NULL, NULL);
}

Test(chain_open, missing_files_are_named_with_who_wants_them)
{
	add_qcow2("top", "middle", "qcow2");
	add_qcow2("middle", "base", "raw");
	refused("top", -ENOENT, "'base' does not exist", "backing file of 'middle'");
	refused("nothing", -ENOENT, "'nothing'", "does not exist");
	add_qcow2("json", "json:{\"filename\":\"/etc/shadow\"}", "raw");
	refused("json", -ENOTSUP, "'json'", "json: descriptions");
	add_qcow2("control", "ba\x1bse", "raw");
	refused("control", -ENOTSUP, "\\x1b", "control characters");
}

Test(chain_open, a_failed_opening_tells_nobody_of_its_files)
{
	struct told told = { 0 };
	struct chain_open how = { .name = "top", .file_opened = count_opened, .opaque = &told };
	struct chain *chain;

	add_qcow2("top", "middle", "qcow2");
	add_qcow2("middle", "base", "raw");
	cr_assert_eq(open_how(&how, &chain), -ENOENT);
	cr_assert_eq(told.n_opened, 0);
}

/* Two chains share a middle image they found in different directories. Each goes on from where it
 * came, though the open file has but one name. */
Test(chain_open, names_are_joined_to_the_name_this_chain_used)
{
	struct mem_inode *middle = add_qcow2("a/middle", "base", "raw");
	struct chain *a, *b;

	mem_fs_link(&fs, "b/middle", NULL, middle);
	mem_fs_add(&fs, "a/base", 1000);
	mem_fs_add(&fs, "b/base", 2000);
	add_qcow2("a/top", "middle", "qcow2");
	add_qcow2("b/top", "middle", "qcow2");
	cr_assert_eq(open_chain("a/top", true, &a), 0, "%s", err.message);
	cr_assert_eq(open_chain("b/top", true, &b), 0, "%s", err.message);
	cr_assert_eq(a->layers[1], b->layers[1]);
	cr_assert_eq(a->layers[2]->guest_len, 1000);
	cr_assert_eq(b->layers[2]->guest_len, 2000);
	chain_close(a, NULL, NULL);
	chain_close(b, NULL, NULL);
}

/* ---- Formats ---- */

Test(chain_open, what_a_guest_may_have_written_is_not_followed)
{
	struct chain *chain;

	add_qcow2("evil", "/etc/shadow", "raw");
	add_qcow2("a", "evil", NULL);
	refused("a", -ENOTSUP, "'a'", "it must be named");
	cr_assert_eq(err.remedy, ERR_REMEDY_BACKING_FORMAT);
	add_qed("b", "evil", 0);
	refused("b", -EPERM, "'evil'", "names '/etc/shadow' as its backing file");
	cr_assert_eq(err.remedy, ERR_REMEDY_TRUST_BACKING);
	cr_assert_str_eq(err.remedy_name, "evil=qcow2");
	add_qed("qed", "/etc/shadow", QED_F_NO_PROBE);
	add_qed("b2", "qed", 0);
	refused("b2", -EPERM, "looks like a qed image", "'/etc/shadow'");
	struct mem_inode *data = add_qcow2("data", NULL, NULL);
	put_be64(data->bytes + QCOW2_H_INCOMPAT, QCOW2_INCOMPAT_DATA_FILE);
	add_qed("b3", "data", 0);
	cr_assert_lt(open_chain("b3", true, &chain), 0);
	put_be32(data->bytes + 104, 0x44415441);
	put_be32(data->bytes + 108, 11);
	memcpy(data->bytes + 112, "/etc/shadow", 11);
	refused("b3", -EPERM, "names '/etc/shadow' as its data file", "'data'");

	/* Raw means raw, whatever a guest has written into it. */
	add_qcow2("c", "evil", "raw");
	cr_assert_eq(open_chain("c", true, &chain), 0, "%s", err.message);
	cr_assert(chain->n_layers == 2 && layer_format(chain->layers[1]) == IMAGE_RAW);
	chain_close(chain, NULL, NULL);
	add_qed("d", "evil", QED_F_NO_PROBE);
	cr_assert_eq(open_chain("d", true, &chain), 0, "%s", err.message);
	cr_assert(chain->n_layers == 2 && layer_format(chain->layers[1]) == IMAGE_RAW);
	chain_close(chain, NULL, NULL);
}

Test(chain_open, the_user_names_formats_only_where_none_is_recorded)
{
	struct chain_open how = { .name = "top", .backing_format = IMAGE_QED };
	struct chain *chain;

	mem_fs_add(&fs, "base", 4096);
	add_qed("lower", "base", QED_F_NO_PROBE);
	add_qed("middle", "lower", 0);
	add_qcow2("top", "middle", NULL);
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
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

	mem_fs_add(&fs, "raw", 4096);
	add_qcow2("qcow2", NULL, NULL);
	add_qed("qed", NULL, 0);
	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		enum image_format formats[] = { IMAGE_QED, kinds[i] };
		char top[8];

		snprintf(top, sizeof(top), "top%u", i);
		add_qed(top, names[i], 0);
		cr_assert_eq(open_chain(top, true, &chain), 0, "%s", err.message);
		layers_are(chain, formats, from, 2);
		cr_assert(!chain->layers[0]->backing_told_raw);
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
	struct mem_inode *base = mem_fs_add(&fs, "base", 4096);
	struct chain *chain;

	add_qed("top", "base", 0);
	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		memset(base->bytes, 0, 512);
		memcpy(base->bytes + kinds[i].off, kinds[i].bytes, strlen(kinds[i].bytes));
		refused("top", -ENOTSUP, kinds[i].name, "give its format as raw");
		cr_assert_eq(open_how(&how, &chain), -ENOTSUP);
	}
	how.trust_formats = false;
	how.told = &told;
	how.n_told = 1;
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
	cr_assert(chain->layers[0]->backing_told_raw);
	chain_close(chain, NULL, NULL);
}

/* QED over QED over qcow2 over raw, of which the last records a format only. */
static void add_kinds(void)
{
	mem_fs_add(&fs, "base", 4096);
	add_qcow2("lowest", "base", "raw");
	add_qed("lower", "lowest", 0);
	add_qcow2("middle", "lower", NULL);
	add_qed("top", "middle", 0);
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
	refused("top", -EPERM, "'middle'", "'lower'");
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
	layers_are(chain, formats, from, 5);
	chain_close(chain, NULL, NULL);
	how.policy = &none; /* which files may be opened is another question */
	cr_assert_lt(open_how(&how, &chain), 0);
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
		cr_assert_lt(open_how(&how, &chain), 0, "%zu are enough", how.n_told);
		for (unsigned i = 0; i < 3; i++)
			told[i].depth = 0;
	}
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
	layers_are(chain, formats, from, 5);
	cr_assert(told[0].depth == 1 && told[1].depth == 2 && told[2].depth == 3);
	chain_close(chain, NULL, NULL);
}

static void told_is_refused(struct chain_told *told, size_t n, const char *a, const char *b)
{
	struct chain_open how = { .name = "top", .told = told, .n_told = n, .trust_formats = true };
	struct chain *chain;

	cr_assert_eq(open_how(&how, &chain), -EINVAL, "%s", err.message);
	says(a, b);
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
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
	chain_close(chain, NULL, NULL);
	absent[0].optional = false;
	how.no_backing = true;
	cr_assert_eq(open_how(&how, &chain), -EINVAL);
	says("'nowhere'", "no backing file is opened here");
}

Test(chain_open, a_name_that_two_files_are_recorded_by_is_ambiguous)
{
	struct chain_told told[] = { { .name = "d/x", .format = IMAGE_QED } };

	add_qed("d/d/x", NULL, 0);
	add_qed("d/x", "d/x", 0);
	add_qed("top", "d/x", 0);
	told_is_refused(told, 1, "'d/x'", "either of two");
}

Test(chain_open, recorded_formats_that_are_none_of_ours)
{
	struct chain *chain;
	struct chain_open how = { .name = "vmdk", .backing_format = IMAGE_RAW };

	mem_fs_add(&fs, "base", 4096);
	add_qcow2("vmdk", "base", "vmdk");
	refused("vmdk", -ENOTSUP, "'vmdk'", "not supported");
	cr_assert_eq(open_how(&how, &chain), -ENOTSUP, "an override is no opinion on a record");
	add_qcow2("file", "base", "file");
	add_qcow2("device", "base", "host_device");
	static const char *const raw[] = { "file", "device" };
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(open_chain(raw[i], true, &chain), 0, "%s", err.message);
		cr_assert_eq(layer_format(chain->layers[1]), IMAGE_RAW);
		chain_close(chain, NULL, NULL);
	}
}

Test(chain_open, a_wrong_format_is_an_error)
{
	mem_fs_add(&fs, "base", 4096);
	add_qcow2("top", "base", "qcow2");
	refused("top", -EINVAL, "backing file of 'top'", "base");
}

/* ---- Loops and depth ---- */

Test(chain_open, loops_are_found_by_inode)
{
	struct chain *chain;

	add_qcow2("self", "./self", "qcow2");
	mem_fs_link(&fs, "./self", "/mem/self", fs.names->inode);
	refused("self", -ELOOP, "'self'", "'./self'");
	cr_assert_eq(open_chain("self", false, &chain), -ELOOP);

	struct mem_inode *a = add_qcow2("a", "b", "qcow2");
	add_qcow2("b", "c", "qcow2");
	add_qcow2("c", "hard", "qcow2");
	mem_fs_link(&fs, "hard", NULL, a);
	refused("a", -ELOOP, "'hard'", "'a'");
	refused("b", -ELOOP, "'b'", "loop");

	struct mem_inode *d = add_qed("d", "soft", 0);
	mem_fs_link(&fs, "soft", "/mem/d", d);
	struct chain_open how = { .name = "d", .backing_format = IMAGE_QED };
	cr_assert_eq(open_how(&how, &chain), -ELOOP);
	says("'soft'", "'d'");
	/* As raw it would end, but an image that reads itself is still none. */
	add_qcow2("raw", "raw2", "raw");
	mem_fs_link(&fs, "raw2", "/mem/raw", fs.names->inode);
	refused("raw", -ELOOP, "'raw2'", "'raw'");
}

static void add_deep(int n_backing)
{
	char name[16], backing[16];

	for (int i = 0; i <= n_backing; i++) {
		snprintf(name, sizeof(name), "%d", i);
		snprintf(backing, sizeof(backing), "%d", i + 1);
		add_qcow2(name, i < n_backing ? backing : NULL, "qcow2");
	}
}

Test(chain_open, depth_at_the_limit)
{
	struct chain *chain;

	add_deep(CHAIN_MAX_DEPTH);
	cr_assert_eq(open_chain("0", true, &chain), 0, "%s", err.message);
	cr_assert_eq(chain->n_layers, CHAIN_MAX_DEPTH + 1);
	chain_close(chain, NULL, NULL);
}

Test(chain_open, depth_beyond_the_limit)
{
	add_deep(CHAIN_MAX_DEPTH + 1);
	refused("0", -ELOOP, "'0'", "256");
}

/* ---- Policy ---- */

Test(chain_open, by_default_the_tree_of_the_overlay_and_no_more)
{
	static const struct {
		const char *name, *real_name;
		int rc;
	} rows[] = {
		{ "d/base", NULL, 0 },
		{ "d/sub/base", NULL, 0 },
		{ "d/link-in", "/mem/d/sub/x", 0 },
		{ "/mem/d/absolute", NULL, 0 },
		{ "/etc/shadow", NULL, -EPERM },
		{ "d/link-out", "/etc/shadow", -EPERM },
		{ "d/../other", "/mem/other", -EPERM },
		{ "/mem/d2/base", NULL, -EPERM },
	};
	struct mem_inode *any = mem_fs_add(&fs, "any", 4096);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char top[32], middle[32];
		struct chain *chain;

		mem_fs_link(&fs, rows[i].name, rows[i].real_name, any);
		/* Named by the overlay, and by the image below it in another directory. */
		snprintf(top, sizeof(top), "d/top%zu", i);
		snprintf(middle, sizeof(middle), "/mem/d/sub/m%zu", i);
		const char *name = rows[i].name;
		add_qcow2(top, name[0] == '/' ? name : name + 2, "raw");
		cr_assert_eq(open_chain(top, true, &chain), rows[i].rc, "row %zu: %s", i,
			     err.message);
		if (!rows[i].rc)
			chain_close(chain, NULL, NULL);
		else
			says("not allowed", "backing file of");
		if (name[0] != '/')
			continue;
		snprintf(top, sizeof(top), "d/upper%zu", i);
		add_qcow2(middle, name, "raw");
		add_qcow2(top, middle, "qcow2");
		cr_assert_eq(open_chain(top, true, &chain), rows[i].rc, "row %zu: %s", i,
			     err.message);
		if (!rows[i].rc)
			chain_close(chain, NULL, NULL);
	}
}

/* Its tree would be the whole machine. */
Test(chain_open, an_overlay_in_the_root_directory_has_no_tree)
{
	const char *file = "/base";
	struct path_policy own = { .rule = PATH_RULE_TREE, .own_dir = "/" };
	struct path_policy named = { .rule = PATH_RULE_TREE, .files = &file, .n_files = 1 };
	struct chain_open how = { .name = "/top", .write = true, .policy = &own };
	struct chain *chain;

	mem_fs_add(&fs, "/base", 4096);
	add_qcow2("/top", "base", "raw");
	refused("/top", -EPERM, "'/top'", "'/base' is not allowed");
	cr_assert_eq(open_how(&how, &chain), -EPERM);
	how.policy = &named;
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
	chain_close(chain, NULL, NULL);
}

/* The overlay's own name may be a link: its real place counts, names are still joined to the
 * link's. */
Test(chain_open, tree_is_that_of_the_real_overlay)
{
	struct mem_inode *top = add_qcow2("d/top", "base", "raw");
	struct mem_inode *base = mem_fs_add(&fs, "links/base", 4096);
	struct chain *chain;

	mem_fs_link(&fs, "links/top", "/mem/d/top", top);
	cr_assert_eq(open_chain("links/top", true, &chain), -EPERM, "%s", err.message);
	mem_fs_link(&fs, "d/base", NULL, base);
	cr_assert_eq(open_chain("d/top", true, &chain), 0, "%s", err.message);
	chain_close(chain, NULL, NULL);
}

/* On every level: what a device shares its directory with is other people's. */
Test(chain_open, a_device_has_no_directory_of_its_own)
{
	struct path_policy own = { .rule = PATH_RULE_TREE, .own_dir = "/mem/d" };
	struct chain_open how = { .name = "d/top", .write = true };
	struct mem_inode *top, *middle, *base;
	struct chain *chain;

	base = mem_fs_add(&fs, "d/base", 4096);
	middle = add_qcow2("d/middle", "base", "raw");
	top = add_qcow2("d/top", "middle", "qcow2");
	for (unsigned i = 0; i < 16; i++) {
		bool is_device = i & 1;

		how.policy = i & 8 ? &own : NULL;
		top->is_block = is_device;
		middle->is_block = i & 2;
		base->is_block = i & 4;
		if (i & 7) {
			cr_assert_eq(open_how(&how, &chain), -EPERM, "%u", i);
			says(is_device || i & 2 ? "'d/top'" : "'d/middle'", "not allowed");
		} else {
			cr_assert_eq(open_how(&how, &chain), 0, "%u: %s", i, err.message);
			chain_close(chain, NULL, NULL);
		}
	}
}

Test(chain_open, a_given_policy_is_asked_instead_but_not_about_the_overlay)
{
	static const char *const dirs[] = { "/srv" };
	struct path_policy any = { .rule = PATH_RULE_ANY }, none = { .rule = PATH_RULE_NONE };
	struct path_policy srv = { .rule = PATH_RULE_TREE, .dirs = dirs, .n_dirs = 1 };
	struct chain_open how = { .name = "srv", .policy = &srv };
	struct chain *chain;

	mem_fs_add(&fs, "/srv/base", 4096);
	mem_fs_add(&fs, "base", 4096);
	add_qcow2("srv", "/srv/base", "raw");
	add_qcow2("here", "base", "raw");
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
	chain_close(chain, NULL, NULL);
	how.name = "here";
	cr_assert_eq(open_how(&how, &chain), -EPERM);
	how.policy = &any;
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
	chain_close(chain, NULL, NULL);
	how.policy = &none;
	cr_assert_eq(open_how(&how, &chain), -EPERM);
	how.no_backing = true;
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
	chain_close(chain, NULL, NULL);
}

/* ---- Sharing and locks ---- */

Test(chain_open, chains_share_a_template)
{
	struct mem_inode *base = mem_fs_add(&fs, "base", 4096);
	struct told told = { 0 };
	struct chain_open how = { .write = true, .file_opened = count_opened, .opaque = &told };
	struct chain *a, *b, *c;

	add_qcow2("a", "base", "raw");
	add_qcow2("b", "alias", "raw");
	add_qcow2("c", "base", "raw");
	mem_fs_link(&fs, "alias", "/mem/base", base);
	how.name = "a";
	cr_assert_eq(open_how(&how, &a), 0, "%s", err.message);
	how.name = "b";
	cr_assert_eq(open_how(&how, &b), 0, "%s", err.message);
	cr_assert_eq(a->layers[1], b->layers[1]);
	cr_assert_eq(a->layers[1]->n_users, 2);
	cr_assert_eq(base->n_open, 1);
	cr_assert_eq(told.n_opened, 3);

	chain_close(a, count_closing, &told);
	cr_assert_eq(told.n_closing, 1, "the template is still in use");
	cr_assert_eq(open_chain("b", false, &c), -EBUSY, "the other overlay is still known");
	says("'b' is being written to", "this process");
	cr_assert_eq(base->n_shared, 1);
	chain_close(b, count_closing, &told);
	cr_assert_eq(told.n_closing, 3);
	cr_assert_eq(base->n_open, 0);

	/* Changed in between: what is cached of the old one does not hold. */
	how.name = "a";
	cr_assert_eq(open_how(&how, &a), 0);
	base->mtime_ns++;
	how.name = "c";
	cr_assert_eq(open_how(&how, &c), 0);
	cr_assert_neq(a->layers[1], c->layers[1]);
	chain_close(a, NULL, NULL);
	chain_close(c, NULL, NULL);
}

Test(chain_open, an_overlay_belongs_to_one_chain)
{
	struct chain *chain, *other;
	struct chain_open reader = { .name = "middle", .no_lock = true };

	mem_fs_add(&fs, "base", 4096);
	add_qcow2("middle", "base", "raw");
	add_qcow2("top", "middle", "qcow2");

	cr_assert_eq(open_chain("middle", true, &chain), 0);
	refused("middle", -EBUSY, "'middle' is being written to", "this process");
	refused("top", -EBUSY, "'middle' is being written to", "backing file of 'top'");
	cr_assert_eq(open_chain("middle", false, &other), -EBUSY);
	cr_assert_eq(open_how(&reader, &other), -EBUSY, "what it caches would go stale");
	chain_close(chain, NULL, NULL);

	cr_assert_eq(open_chain("top", true, &chain), 0);
	refused("middle", -EBUSY, "'middle' is in use in this process", "can't be changed");
	chain_close(chain, NULL, NULL);

	cr_assert_eq(open_chain("top", false, &chain), 0);
	cr_assert_eq(open_chain("top", false, &other), 0, "readers share");
	cr_assert_eq(chain->layers[0], other->layers[0]);
	refused("top", -EBUSY, "'top'", "this process");
	chain_close(chain, NULL, NULL);
	chain_close(other, NULL, NULL);
}

Test(chain_open, an_image_read_as_two_formats_is_two_layers)
{
	struct chain *as_qcow2, *as_raw;

	add_qcow2("top", NULL, NULL);
	cr_assert_eq(open_chain("top", false, &as_qcow2), 0);
	cr_assert_eq(open_how(&(struct chain_open){ .name = "top", .format = IMAGE_RAW }, &as_raw),
		     0);
	cr_assert_neq(as_qcow2->layers[0], as_raw->layers[0]);
	cr_assert_eq(as_raw->layers[0]->guest_len, 3 * 512);
	chain_close(as_qcow2, NULL, NULL);
	chain_close(as_raw, NULL, NULL);
}

Test(chain_open, others_locks_are_respected_and_named)
{
	struct mem_inode *top = add_qcow2("top", NULL, NULL);
	struct chain_open look = { .name = "top", .no_lock = true };
	struct chain *chain, *locked;

	top->n_overlay = 1; /* somebody else's */
	refused("top", -EBUSY, "'top' is locked", "");
	cr_assert_eq(open_chain("top", false, &chain), -EBUSY);
	/* Nobody writes without locks, even if told to. */
	look.write = true;
	cr_assert_eq(open_how(&look, &chain), -EBUSY);
	look.write = false;
	cr_assert_eq(open_how(&look, &chain), 0);
	top->n_overlay = 0;
	/* One who wants locks gets a file that has them. */
	cr_assert_eq(open_chain("top", false, &locked), 0);
	cr_assert_neq(chain->layers[0], locked->layers[0]);
	cr_assert_eq(top->n_shared, 1);
	chain_close(chain, NULL, NULL);
	cr_assert_eq(top->n_shared, 1);
	chain_close(locked, NULL, NULL);
}

Test(chain_open, a_file_system_without_locks_is_told_of_once)
{
	struct told told = { 0 };
	struct chain_open how = {
		.name = "top", .write = true, .no_locks_here = count_no_locks, .opaque = &told
	};
	struct chain *chain, *other;

	fs.no_locks = true;
	add_qcow2("top", "middle", "qcow2");
	add_qcow2("middle", NULL, NULL);
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
	cr_assert_eq(told.n_no_locks, 1);
	/* Within the engine it is found out all the same. */
	cr_assert_eq(open_how(&how, &other), -EBUSY);
	says("'top' is being written to", "this process");
	chain_close(chain, NULL, NULL);
}

/* ---- Refusals ---- */

Test(chain_open, what_can_not_be_read_is_refused_at_every_level)
{
	struct mem_inode *base = add_qcow2("base", NULL, NULL);
	struct chain_open how = { .name = "top", .allow_unreadable = true };
	struct chain *chain;

	put_be64(base->bytes + QCOW2_H_INCOMPAT, UINT64_C(1) << 40);
	add_qcow2("top", "base", "qcow2");
	refused("base", -ENOTSUP, "base: ", "incompatible feature");
	refused("top", -ENOTSUP, "backing file of 'top'", "incompatible feature");
	cr_assert_eq(open_chain("top", false, &chain), -ENOTSUP);
	cr_assert_eq(open_how(&how, &chain), 0, "%s", err.message);
	cr_assert_eq(chain->layers[1]->unreadable.code, -ENOTSUP);
	chain_close(chain, NULL, NULL);
}

Test(chain_open, what_can_not_be_changed_is_refused_as_overlay_only)
{
	struct mem_inode *corrupt = add_qcow2("corrupt", NULL, NULL);
	struct chain *chain;

	put_be64(corrupt->bytes + QCOW2_H_INCOMPAT, QCOW2_INCOMPAT_CORRUPT);
	refused("corrupt", -EUCLEAN, "corrupt: ", "marked corrupt");
	cr_assert_eq(open_chain("corrupt", false, &chain), 0, "%s", err.message);
	chain_close(chain, NULL, NULL);
	add_qcow2("top", "corrupt", "qcow2");
	cr_assert_eq(open_chain("top", true, &chain), 0, "%s", err.message);
	chain_close(chain, NULL, NULL);
	mem_fs_add(&fs, "raw", 4096);
	/* Also whatever has no magic: to pull into that is a mistake. */
	refused("raw", -ENOTSUP, "raw: ", "it is raw");
	cr_assert_eq(open_chain("raw", false, &chain), 0);
	chain_close(chain, NULL, NULL);
}

Test(chain_open, a_damaged_header_or_disk_is_refused)
{
	struct mem_inode *base = add_qcow2("base", NULL, NULL);

	add_qcow2("top", "base", "qcow2");
	put_be32(base->bytes + QCOW2_H_CLUSTER_BITS, 60);
	refused("top", -EUCLEAN, "cluster_bits", "backing file of 'top'");
	base->read_error = -EIO;
	refused("top", -EIO, "base", "backing file of 'top'");
	refused("base", -EIO, "base", "format");
}

Test(chain_open, out_of_memory_at_any_point_leaves_nothing_behind)
{
	struct chain *chain;
	long n = 0;
	int rc;

	mem_fs_add(&fs, "base", 4096);
	add_qed("middle", "base", QED_F_NO_PROBE);
	add_qcow2("top", "middle", "qed");
	do {
		err = (struct err){ 0 };
		fail_alloc_after = n++;
		rc = chain_open(set, &(struct chain_open){ .name = "top", .write = true }, &chain,
				&err);
		fail_alloc_after = -1;
		cr_assert(rc == 0 || rc == -ENOMEM, "allocation %ld: %d %s", n, rc, err.message);
		cr_assert_eq(rc, err.code);
		for (struct mem_name *name = fs.names; rc < 0 && name; name = name->next)
			cr_assert_eq(name->inode->n_open, 0, "allocation %ld", n);
	} while (rc < 0);
	cr_assert_gt(n, 4);
	chain_close(chain, NULL, NULL);
}
