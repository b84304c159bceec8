/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which files an image may name: the tree rule at its boundaries, and names
 * that are not plain.
 */
#include <criterion/criterion.h>

#include "io/base.h"
#include "io/file.h"

static bool in_tree(const char *dir, const char *name)
{
	struct path_policy policy = { .rule = PATH_RULE_TREE, .dirs = &dir, .n_dirs = 1 };
	return path_policy_allows(&policy, name);
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
		cr_assert_not(path_policy_allows(&any, names[i]), "%s", names[i]);
	}
}

Test(path_policy, any_directory_of_several_will_do)
{
	const char *dirs[] = { "/a", "/b/c", "/d" };
	struct path_policy policy = { .rule = PATH_RULE_TREE, .dirs = dirs, .n_dirs = 3 };
	cr_assert(path_policy_allows(&policy, "/a/x"));
	cr_assert(path_policy_allows(&policy, "/b/c/x"));
	cr_assert(path_policy_allows(&policy, "/d/e/x"));
	cr_assert_not(path_policy_allows(&policy, "/b/x"));
	policy.n_dirs = 0;
	cr_assert_not(path_policy_allows(&policy, "/a/x"));
}

Test(path_policy, any_and_none)
{
	struct path_policy policy = { .rule = PATH_RULE_ANY };
	cr_assert(path_policy_allows(&policy, "/etc/shadow"));
	policy.rule = PATH_RULE_NONE;
	cr_assert_not(path_policy_allows(&policy, "/etc/shadow"));
	policy.rule = 77;
	cr_assert_not(path_policy_allows(&policy, "/etc/shadow"));
}
