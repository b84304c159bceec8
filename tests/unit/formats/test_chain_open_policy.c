/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Opening chains: which files a name in an image may lead to. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "formats/chain/chain.h"
#include "io/base.h"
#include "io/file/path_policy.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/rigs/chain_rig.h"

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
	struct mem_inode *any = mem_fs_add(&chain_rig.fs, "any", 4096);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char top[32], middle[32];
		struct chain *chain;

		mem_fs_link(&chain_rig.fs, rows[i].name, rows[i].real_name, any);
		/* Named by the overlay, and by the image below it in another directory. */
		snprintf(top, sizeof(top), "d/top%zu", i);
		snprintf(middle, sizeof(middle), "/mem/d/sub/m%zu", i);
		const char *name = rows[i].name;
		chain_rig_add_qcow2(top, name[0] == '/' ? name : name + 2, "raw");
		cr_assert_eq(chain_rig_open(top, true, &chain), rows[i].rc, "row %zu: %s", i,
			     chain_rig.err.message);
		if (!rows[i].rc)
			chain_close(chain, NULL, NULL);
		else
			chain_rig_says("not allowed", "backing file of");
		if (name[0] != '/')
			continue;
		snprintf(top, sizeof(top), "d/upper%zu", i);
		chain_rig_add_qcow2(middle, name, "raw");
		chain_rig_add_qcow2(top, middle, "qcow2");
		cr_assert_eq(chain_rig_open(top, true, &chain), rows[i].rc, "row %zu: %s", i,
			     chain_rig.err.message);
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

	mem_fs_add(&chain_rig.fs, "/base", 4096);
	chain_rig_add_qcow2("/top", "base", "raw");
	chain_rig_refused("/top", -EPERM, "'/top'", "'/base' is not allowed");
	cr_assert_eq(chain_rig_open_how(&how, &chain), -EPERM);
	how.policy = &named;
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	chain_close(chain, NULL, NULL);
}

/* The overlay's own name may be a link: its real place counts, names are still joined to the
 * link's. */
Test(chain_open, tree_is_that_of_the_real_overlay)
{
	struct mem_inode *top = chain_rig_add_qcow2("d/top", "base", "raw");
	struct mem_inode *base = mem_fs_add(&chain_rig.fs, "links/base", 4096);
	struct chain *chain;

	mem_fs_link(&chain_rig.fs, "links/top", "/mem/d/top", top);
	cr_assert_eq(chain_rig_open("links/top", true, &chain), -EPERM, "%s",
		     chain_rig.err.message);
	mem_fs_link(&chain_rig.fs, "d/base", NULL, base);
	cr_assert_eq(chain_rig_open("d/top", true, &chain), 0, "%s", chain_rig.err.message);
	chain_close(chain, NULL, NULL);
}

/* On every level: what a device shares its directory with is other people's. */
Test(chain_open, a_device_has_no_directory_of_its_own)
{
	struct path_policy own = { .rule = PATH_RULE_TREE, .own_dir = "/mem/d" };
	struct chain_open how = { .name = "d/top", .write = true };
	struct mem_inode *top, *middle, *base;
	struct chain *chain;

	base = mem_fs_add(&chain_rig.fs, "d/base", 4096);
	middle = chain_rig_add_qcow2("d/middle", "base", "raw");
	top = chain_rig_add_qcow2("d/top", "middle", "qcow2");
	for (unsigned i = 0; i < 16; i++) {
		bool is_device = i & 1;

		how.policy = i & 8 ? &own : NULL;
		top->is_block = is_device;
		middle->is_block = i & 2;
		base->is_block = i & 4;
		if (i & 7) {
			cr_assert_eq(chain_rig_open_how(&how, &chain), -EPERM, "%u", i);
			chain_rig_says(is_device || i & 2 ? "'d/top'" : "'d/middle'",
				       "not allowed");
		} else {
			cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%u: %s", i,
				     chain_rig.err.message);
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

	mem_fs_add(&chain_rig.fs, "/srv/base", 4096);
	mem_fs_add(&chain_rig.fs, "base", 4096);
	chain_rig_add_qcow2("srv", "/srv/base", "raw");
	chain_rig_add_qcow2("here", "base", "raw");
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	chain_close(chain, NULL, NULL);
	how.name = "here";
	cr_assert_eq(chain_rig_open_how(&how, &chain), -EPERM);
	how.policy = &any;
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	chain_close(chain, NULL, NULL);
	how.policy = &none;
	cr_assert_eq(chain_rig_open_how(&how, &chain), -EPERM);
	how.no_backing = true;
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	chain_close(chain, NULL, NULL);
}
