/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which files an image may name: the tree rule at its boundaries, and names
 * that are not plain.
 */
#include <criterion/criterion.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/path_policy.h"

static bool in_tree(const char *dir, const char *name)
{
	struct path_policy policy = { .rule = PATH_RULE_TREE, .dirs = &dir, .n_dirs = 1 };
	return path_policy_allows(&policy, name, false);
}

Test(path_policy, a_tree_holds_what_lies_below_it)
{
	cr_assert(in_tree("/srv/vm", "/srv/vm/base.raw"));
	cr_assert(in_tree("/srv/vm", "/srv/vm/a/b/c/base.raw"));
	cr_assert(in_tree("/srv/vm/", "/srv/vm/base.raw"));
	cr_assert(in_tree("/", "/base.raw"));
	cr_assert(in_tree("/", "/etc/shadow"));
	cr_assert(in_tree("/srv/vm", "/srv/vm/..data/x"));
	cr_assert(in_tree("/srv/vm", "/srv/vm/.hidden"));
}

Test(path_policy, a_tree_holds_nothing_else)
{
	cr_assert_not(in_tree("/srv/vm", "/srv/vm"));
	cr_assert_not(in_tree("/srv/vm", "/srv/vmx/base.raw"));
	cr_assert_not(in_tree("/srv/vm", "/srv/v"));
	cr_assert_not(in_tree("/srv/vm", "/srv/other/vm/base.raw"));
	cr_assert_not(in_tree("/srv/vm", "/etc/shadow"));
	cr_assert_not(in_tree("/", "/"));
	cr_assert_not(in_tree("", "/etc/shadow"));
	cr_assert_not(in_tree("srv", "srv/base.raw"));
}

Test(path_policy, names_that_were_not_resolved_are_refused)
{
	static const char *const names[] = { "",
					     "base.raw",
					     "srv/vm/base.raw",
					     "/srv/vm/../../etc/shadow",
					     "/srv/vm/./base.raw",
					     "/srv/vm//base.raw",
					     "/srv/vm/base.raw/",
					     "/srv/vm/..",
					     "//srv/vm/base.raw" };
	struct path_policy any = { .rule = PATH_RULE_ANY };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		cr_assert_not(in_tree("/srv/vm", names[i]), "%s", names[i]);
		cr_assert_not(path_policy_allows(&any, names[i], false), "%s", names[i]);
	}
}

Test(path_policy, any_directory_of_several_will_do)
{
	const char *dirs[] = { "/a", "/b/c", "/d" };
	struct path_policy policy = { .rule = PATH_RULE_TREE, .dirs = dirs, .n_dirs = 3 };
	cr_assert(path_policy_allows(&policy, "/a/x", false));
	cr_assert(path_policy_allows(&policy, "/b/c/x", false));
	cr_assert(path_policy_allows(&policy, "/d/e/x", false));
	cr_assert_not(path_policy_allows(&policy, "/b/x", false));
	policy.n_dirs = 0;
	cr_assert_not(path_policy_allows(&policy, "/a/x", false));
}

Test(path_policy, any_allows_all_and_none_allows_nothing)
{
	struct path_policy policy = { .rule = PATH_RULE_ANY };
	cr_assert(path_policy_allows(&policy, "/etc/shadow", false));
	policy.rule = PATH_RULE_NONE;
	cr_assert_not(path_policy_allows(&policy, "/etc/shadow", false));
	policy.rule = 77;
	cr_assert_not(path_policy_allows(&policy, "/etc/shadow", false));
}

static bool own_tree(const char *dir, const char *name, bool is_block)
{
	struct path_policy policy = { .rule = PATH_RULE_TREE, .own_dir = dir };
	return path_policy_allows(&policy, name, is_block);
}

Test(path_policy, the_directory_of_the_image_holds_no_devices)
{
	cr_assert(own_tree("/srv/vm", "/srv/vm/a/base.raw", false));
	cr_assert_not(own_tree("/srv/vm", "/srv/vm/node", true));
	cr_assert_not(own_tree("/srv/vm", "/srv/other", false));
	cr_assert(own_tree("/dev/shm", "/dev/shm/base.raw", false));
	cr_assert_not(own_tree("/dev", "/dev/sda", true));
}

Test(path_policy, an_image_in_the_root_has_no_directory_of_its_own)
{
	static const char *const none[] = { "/", "//", "", NULL };
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		cr_assert_not(own_tree(none[i], "/base.raw", false), "%zu", i);
		cr_assert_not(own_tree(none[i], "/etc/shadow", false), "%zu", i);
		cr_assert_not(own_tree(none[i], "/dev/sda", true), "%zu", i);
	}
	cr_assert(in_tree("/", "/base.raw"), "but it can be named");
}

Test(path_policy, what_was_named_may_be_a_device)
{
	const char *dir = "/dev/mapper", *file = "/dev/dm-3";
	struct path_policy policy = {
		.rule = PATH_RULE_TREE, .dirs = &dir, .n_dirs = 1, .files = &file, .n_files = 1
	};

	cr_assert(path_policy_allows(&policy, "/dev/mapper/base", true));
	cr_assert(path_policy_allows(&policy, "/dev/dm-3", true));
	cr_assert(path_policy_allows(&policy, "/dev/dm-3", false));
	cr_assert_not(path_policy_allows(&policy, "/dev/dm-30", true));
	cr_assert_not(path_policy_allows(&policy, "/dev/dm-3/x", true));
	cr_assert_not(path_policy_allows(&policy, "/dev/dm-2", true));
}

Test(path_policy, a_link_counts_in_a_directory_that_was_named)
{
	const char *dir = "/dev/vg0", *file = "/dev/vg1";
	struct path_policy policy = { .rule = PATH_RULE_TREE,
				      .own_dir = "/srv",
				      .dirs = &dir,
				      .n_dirs = 1,
				      .files = &file,
				      .n_files = 1 };

	cr_assert(path_policy_allows_link(&policy, "/dev/vg0/base"));
	cr_assert_not(path_policy_allows_link(&policy, "/dev/vg0"));
	cr_assert_not(path_policy_allows_link(&policy, "/dev/vg1"));
	cr_assert_not(path_policy_allows_link(&policy, "/dev/vg1/base"));
	cr_assert_not(path_policy_allows_link(&policy, "/srv/base"));
	cr_assert_not(path_policy_allows_link(&policy, "/dev/vg0/../sda"));
	cr_assert_not(path_policy_allows_link(&policy, "vg0/base"));
	policy.rule = PATH_RULE_NONE;
	cr_assert_not(path_policy_allows_link(&policy, "/dev/vg0/base"));
}
