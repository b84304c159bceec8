/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Opening chains from files in memory: following names, loops, depth and refusals.
 * mem_fs_destroy() checks after every test that no file was left open, so each
 * refusal is a test of its way out, too. Formats, policy and locks have files of
 * their own beside this one.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qed/disk.h"
#include "io/base.h"
#include "tests/support/fail_alloc.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/rigs/chain_rig.h"

TestSuite(chain_open, .init = chain_rig_begin, .fini = chain_rig_end);

/* ---- Following names ---- */

Test(chain_open, follows_names_from_directory_to_directory)
{
	struct mem_inode *base = mem_fs_add(&chain_rig.fs, "d/base.raw", 5000);
	struct mem_inode *middle = chain_rig_add_qcow2("d/sub/middle", "../base.raw", "raw");
	struct mem_inode *top = chain_rig_add_qcow2("d/top", "file:d/sub/middle", "qcow2");
	struct chain_rig_told told = { 0 };
	struct chain_open how = { .name = "d/top",
				  .write = true,
				  .file_opened = chain_rig_count_opened,
				  .opaque = &told };
	struct chain *chain;

	mem_fs_link(&chain_rig.fs, "d/sub/../base.raw", "/mem/d/base.raw", base);
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	cr_assert_eq(chain->n_layers, 3);
	cr_assert_eq(told.n_opened, 3);
	cr_assert_eq(layer_format(chain->layers[0]), IMAGE_QCOW2);
	cr_assert_eq(layer_format(chain->layers[2]), IMAGE_RAW);
	cr_assert_eq(chain->layers[2]->guest_len, 5000);
	cr_assert(chain->layers[0]->is_overlay && chain->layers[0]->file->writable);
	cr_assert(!chain->layers[1]->is_overlay && !chain->layers[1]->file->writable);
	cr_assert(top->n_overlay == 1 && middle->n_shared == 1 && base->n_shared == 1);
	chain_close(chain, chain_rig_count_closing, &told);
	cr_assert_eq(told.n_closing, 3);
	cr_assert(!top->n_overlay && !middle->n_shared && !base->n_open);
}

Test(chain_open, no_backing_opens_the_image_alone)
{
	struct chain *chain;

	chain_rig_add_qcow2("top", "nowhere", "raw");
	cr_assert_eq(chain_rig_open_how(&(struct chain_open){ .name = "top", .no_backing = true },
					&chain),
		     0);
	cr_assert_eq(chain->n_layers, 1);
	cr_assert(chain->layers[0]->has_backing);
	chain_close(chain, NULL, NULL);
}

Test(chain_open, missing_files_are_named_with_who_wants_them)
{
	chain_rig_add_qcow2("top", "middle", "qcow2");
	chain_rig_add_qcow2("middle", "base", "raw");
	chain_rig_refused("top", -ENOENT, "'base' does not exist", "backing file of 'middle'");
	chain_rig_refused("nothing", -ENOENT, "'nothing'", "does not exist");
	chain_rig_add_qcow2("json", "json:{\"filename\":\"/etc/shadow\"}", "raw");
	chain_rig_refused("json", -ENOTSUP, "'json'", "json: descriptions");
	chain_rig_add_qcow2("control", "ba\x1bse", "raw");
	chain_rig_refused("control", -ENOTSUP, "\\x1b", "control characters");
}

Test(chain_open, a_failed_opening_tells_nobody_of_its_files)
{
	struct chain_rig_told told = { 0 };
	struct chain_open how = { .name = "top",
				  .file_opened = chain_rig_count_opened,
				  .opaque = &told };
	struct chain *chain;

	chain_rig_add_qcow2("top", "middle", "qcow2");
	chain_rig_add_qcow2("middle", "base", "raw");
	cr_assert_eq(chain_rig_open_how(&how, &chain), -ENOENT);
	cr_assert_eq(told.n_opened, 0);
}

/* Two chains share a middle image they found in different directories. Each goes on from where it
 * came, though the open file has but one name. */
Test(chain_open, names_are_joined_to_the_name_this_chain_used)
{
	struct mem_inode *middle = chain_rig_add_qcow2("a/middle", "base", "raw");
	struct chain *a, *b;

	mem_fs_link(&chain_rig.fs, "b/middle", NULL, middle);
	mem_fs_add(&chain_rig.fs, "a/base", 1000);
	mem_fs_add(&chain_rig.fs, "b/base", 2000);
	chain_rig_add_qcow2("a/top", "middle", "qcow2");
	chain_rig_add_qcow2("b/top", "middle", "qcow2");
	cr_assert_eq(chain_rig_open("a/top", true, &a), 0, "%s", chain_rig.err.message);
	cr_assert_eq(chain_rig_open("b/top", true, &b), 0, "%s", chain_rig.err.message);
	cr_assert_eq(a->layers[1], b->layers[1]);
	cr_assert_eq(a->layers[2]->guest_len, 1000);
	cr_assert_eq(b->layers[2]->guest_len, 2000);
	chain_close(a, NULL, NULL);
	chain_close(b, NULL, NULL);
}

/* ---- Loops and depth ---- */

Test(chain_open, loops_are_found_by_inode)
{
	struct chain *chain;

	chain_rig_add_qcow2("self", "./self", "qcow2");
	mem_fs_link(&chain_rig.fs, "./self", "/mem/self", chain_rig.fs.names->inode);
	chain_rig_refused("self", -ELOOP, "'self'", "'./self'");
	cr_assert_eq(chain_rig_open("self", false, &chain), -ELOOP);

	struct mem_inode *a = chain_rig_add_qcow2("a", "b", "qcow2");
	chain_rig_add_qcow2("b", "c", "qcow2");
	chain_rig_add_qcow2("c", "hard", "qcow2");
	mem_fs_link(&chain_rig.fs, "hard", NULL, a);
	chain_rig_refused("a", -ELOOP, "'hard'", "'a'");
	chain_rig_refused("b", -ELOOP, "'b'", "loop");

	struct mem_inode *d = chain_rig_add_qed("d", "soft", 0);
	mem_fs_link(&chain_rig.fs, "soft", "/mem/d", d);
	struct chain_open how = { .name = "d", .backing_format = IMAGE_QED };
	cr_assert_eq(chain_rig_open_how(&how, &chain), -ELOOP);
	chain_rig_says("'soft'", "'d'");
	/* As raw it would end, but an image that reads itself is still none. */
	chain_rig_add_qcow2("raw", "raw2", "raw");
	mem_fs_link(&chain_rig.fs, "raw2", "/mem/raw", chain_rig.fs.names->inode);
	chain_rig_refused("raw", -ELOOP, "'raw2'", "'raw'");
}

static void add_deep(int n_backing)
{
	char name[16], backing[16];

	for (int i = 0; i <= n_backing; i++) {
		snprintf(name, sizeof(name), "%d", i);
		snprintf(backing, sizeof(backing), "%d", i + 1);
		chain_rig_add_qcow2(name, i < n_backing ? backing : NULL, "qcow2");
	}
}

Test(chain_open, a_chain_as_deep_as_the_limit_opens)
{
	struct chain *chain;

	add_deep(CHAIN_MAX_DEPTH);
	cr_assert_eq(chain_rig_open("0", true, &chain), 0, "%s", chain_rig.err.message);
	cr_assert_eq(chain->n_layers, CHAIN_MAX_DEPTH + 1);
	chain_close(chain, NULL, NULL);
}

Test(chain_open, a_chain_deeper_than_the_limit_is_refused)
{
	add_deep(CHAIN_MAX_DEPTH + 1);
	chain_rig_refused("0", -ELOOP, "'0'", "256");
}

/* ---- Refusals ---- */

Test(chain_open, what_can_not_be_read_is_refused_at_every_level)
{
	struct mem_inode *base = chain_rig_add_qcow2("base", NULL, NULL);
	struct chain_open how = { .name = "top", .allow_unreadable = true };
	struct chain *chain;

	put_be64(base->bytes + QCOW2_H_INCOMPAT, UINT64_C(1) << 40);
	chain_rig_add_qcow2("top", "base", "qcow2");
	chain_rig_refused("base", -ENOTSUP, "base: ", "incompatible feature");
	chain_rig_refused("top", -ENOTSUP, "backing file of 'top'", "incompatible feature");
	cr_assert_eq(chain_rig_open("top", false, &chain), -ENOTSUP);
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	cr_assert_eq(chain->layers[1]->refused.read.code, -ENOTSUP);
	chain_close(chain, NULL, NULL);
}

Test(chain_open, what_can_not_be_changed_is_refused_as_overlay_only)
{
	struct mem_inode *corrupt = chain_rig_add_qcow2("corrupt", NULL, NULL);
	struct chain *chain;

	put_be64(corrupt->bytes + QCOW2_H_INCOMPAT, QCOW2_INCOMPAT_CORRUPT);
	chain_rig_refused("corrupt", -EUCLEAN, "corrupt: ", "marked corrupt");
	cr_assert_eq(chain_rig_open("corrupt", false, &chain), 0, "%s", chain_rig.err.message);
	chain_close(chain, NULL, NULL);
	chain_rig_add_qcow2("top", "corrupt", "qcow2");
	cr_assert_eq(chain_rig_open("top", true, &chain), 0, "%s", chain_rig.err.message);
	chain_close(chain, NULL, NULL);
	mem_fs_add(&chain_rig.fs, "raw", 4096);
	/* Also whatever has no magic: to pull into that is a mistake. */
	chain_rig_refused("raw", -ENOTSUP, "raw: ", "it is raw");
	cr_assert_eq(chain_rig_open("raw", false, &chain), 0);
	chain_close(chain, NULL, NULL);
}

Test(chain_open, a_damaged_header_or_disk_is_refused)
{
	struct mem_inode *base = chain_rig_add_qcow2("base", NULL, NULL);

	chain_rig_add_qcow2("top", "base", "qcow2");
	put_be32(base->bytes + QCOW2_H_CLUSTER_BITS, 60);
	chain_rig_refused("top", -EUCLEAN, "cluster_bits", "backing file of 'top'");
	base->read_error = -EIO;
	chain_rig_refused("top", -EIO, "base", "backing file of 'top'");
	chain_rig_refused("base", -EIO, "base", "format");
}

Test(chain_open, out_of_memory_at_any_point_leaves_nothing_behind)
{
	struct chain *chain;
	long n = 0;
	int rc;

	mem_fs_add(&chain_rig.fs, "base", 4096);
	chain_rig_add_qed("middle", "base", QED_F_NO_PROBE);
	chain_rig_add_qcow2("top", "middle", "qed");
	do {
		chain_rig.err = (struct err){ 0 };
		fail_alloc_after = n++;
		rc = chain_open(chain_rig.set, &(struct chain_open){ .name = "top", .write = true },
				&chain, &chain_rig.err);
		fail_alloc_after = -1;
		cr_assert(rc == 0 || rc == -ENOMEM, "allocation %ld: %d %s", n, rc,
			  chain_rig.err.message);
		cr_assert_eq(rc, chain_rig.err.code);
		for (struct mem_name *name = chain_rig.fs.names; rc < 0 && name; name = name->next)
			cr_assert_eq(name->inode->n_open, 0, "allocation %ld", n);
	} while (rc < 0);
	cr_assert_gt(n, 4);
	chain_close(chain, NULL, NULL);
}
