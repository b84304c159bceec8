/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* --map-backing: what the operator has opened for a name, and what is opened without it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tools/nbd_rig.h"
#include "tools/nbd/names/mapping.h"

static const struct {
	const char *text, *name, *target;
	enum bpull_format format;
} mappings[] = {
	{ "base.img=nbd://h/x", "base.img", "nbd://h:10809/x", 0 },
	{ "base.img=nbd+unix:///?socket=/s", "base.img", "nbd+unix:///?socket=/s", 0 },
	{ "base.img=nbd:h:1", "base.img", "nbd://h:1/", 0 },
	{ "base.img=nbds://h/x", "base.img", "nbds://h:10809/x", 0 },
	{ "base.img=json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"nbd\",\"server\":{\"type\":"
	  "\"unix\",\"path\":\"/s\"}}}",
	  "base.img", "nbd+unix:///?socket=/s", BPULL_FORMAT_QCOW2 },
	{ "base.img=/moved/base.img", "base.img", "/moved/base.img", 0 },
	{ "base.img=moved.img", "base.img", "/here/moved.img", 0 },
	{ "base.img=file:moved.img", "base.img", "/here/moved.img", 0 },
	{ "base.img=./a:b", "base.img", "/here/./a:b", 0 },
	{ "base.img=/a:b", "base.img", "/a:b", 0 },
	{ "base.img=/a=b", "base.img", "/a=b", 0 },
	{ "base.img=a==b", "base.img", "/here/a==b", 0 },
	{ "https://h/x=nbd://h/x", "https://h/x", "nbd://h:10809/x", 0 },
	{ "https://h/x?a==b==c=nbd://h/x", "https://h/x?a=b=c", "nbd://h:10809/x", 0 },
	{ "===x", "=", "/here/x", 0 },
	{ "\xff\n=x", "\xff\n", "/here/x", 0 },
};

Test(nbd_mapping, a_name_leads_to_what_the_operator_says)
{
	for (size_t i = 0; i < N_OF(mappings); i++) {
		struct nbd_mappings table = { 0 };
		const struct nbd_mapping *found;
		struct bpull_error error;
		char *uri = NULL;

		cr_assert(!nbd_mappings_add(&table, mappings[i].text, "/here", &error), "%s: %s",
			  mappings[i].text, error.message);
		found = nbd_mappings_find(&table, mappings[i].name);
		cr_assert(found, "%s", mappings[i].text);
		if (found->target.kind == NBD_NAME_PLACE)
			uri = nbd_place_uri(&found->target.place);
		cr_assert_str_eq(uri ? uri : found->target.path, mappings[i].target);
		cr_assert(found->target.format == mappings[i].format);
		free(uri);
		nbd_mappings_free(&table);
	}
}

static const struct {
	const char *text;
	int code;
	const char *word;
} refused[] = {
	{ "", -EINVAL, "NAME=URI" },
	{ "base.img", -EINVAL, "NAME=URI" },
	{ "a==b", -EINVAL, "NAME=URI" },
	{ "=x", -EINVAL, "name before" },
	{ "a=", -EINVAL, "behind the '='" },
	{ "a=nbd://u@h/x", -EINVAL, "user" },
	{ "a=nbds://h/x?tls-psk-file=/k", -EINVAL, "tls-psk-file" },
	{ "a=json:{}", -EINVAL, "driver" },
	{ "a=https://h/x", -ENOTSUP, "nbdkit" },
	{ "a=b:c", -EINVAL, "./FILE" },
	{ "https://h/x?a=b=nbd://h/x", -EINVAL, "==" },
	{ "a=file:", -EINVAL, "missing" },
	{ "a=b\nc", -EINVAL, "control" },
	{ "a=\u202e", -EINVAL, "control" },
};

Test(nbd_mapping, what_is_no_mapping_is_refused)
{
	struct nbd_mappings table = { 0 };
	struct bpull_error error;

	for (size_t i = 0; i < N_OF(refused); i++) {
		int rc = nbd_mappings_add(&table, refused[i].text, "/here", &error);

		cr_assert(rc == refused[i].code, "'%s': %d", refused[i].text, rc);
		rig_judge_error(&error, rc, refused[i].text);
		cr_assert(strstr(error.message, refused[i].word), "'%s': %s", refused[i].text,
			  error.message);
		cr_assert(table.n == 0);
	}
	cr_assert(nbd_mappings_add(&table, "a=b", NULL, &error) == -EINVAL);
	nbd_mappings_free(&table);
}

Test(nbd_mapping, names_are_exact_given_once_and_known_to_be_used)
{
	struct nbd_mappings table = { 0 };
	struct bpull_error error;
	size_t at = 0;

	cr_assert(!nbd_mappings_find(&table, "a"));
	cr_assert(!nbd_mappings_add(&table, "a=x", "/", &error));
	cr_assert(!nbd_mappings_add(&table, "b=x", "/", &error));
	cr_assert(!nbd_mappings_add(&table, "c=x", "/", &error));
	/* Twice, to the same thing too. */
	cr_assert(nbd_mappings_add(&table, "a=y", "/", &error) == -EINVAL);
	cr_assert(strstr(error.message, "mapped before"), "%s", error.message);
	cr_assert(nbd_mappings_add(&table, "a=x", "/", &error) == -EINVAL);
	cr_assert(table.n == 3);

	cr_assert(!nbd_mappings_find(&table, "A"));
	cr_assert(!nbd_mappings_find(&table, "./b"));
	cr_assert(!nbd_mappings_find(&table, "b "));
	cr_assert(!nbd_mappings_find(&table, ""));
	cr_assert(nbd_mappings_find(&table, "b"));
	cr_assert_str_eq(nbd_mappings_unused(&table, &at), "a");
	cr_assert_str_eq(nbd_mappings_unused(&table, &at), "c");
	cr_assert(!nbd_mappings_unused(&table, &at));
	cr_assert(!nbd_mappings_unused(&table, &at));
	nbd_mappings_free(&table);
}

/* kind and path, or the canonical URI, of what is chosen; or the word of the refusal. */
static void chosen(const struct nbd_policy *policy, const struct nbd_mappings *table,
		   const char *name, int code, const char *what, bool is_operators)
{
	struct nbd_choice choice;
	struct bpull_error error;
	char *uri = NULL;
	const char *is = "";
	int rc = nbd_choose(policy, table, name, "/here", &choice, &error);

	cr_assert(rc == code, "%s: %d %s", name, rc, rc ? error.message : "");
	if (rc) {
		rig_judge_error(&error, rc, name);
		cr_assert(strstr(error.message, what), "%s: %s", name, error.message);
		cr_assert(!choice.name.place.export_name && !choice.name.path, "%s", name);
		return;
	}
	if (choice.name.kind == NBD_NAME_PLACE)
		is = uri = nbd_place_uri(&choice.name.place);
	else if (choice.name.kind == NBD_NAME_FILE)
		is = choice.name.path;
	cr_assert_str_eq(is, what);
	cr_assert(choice.is_operators == is_operators, "%s", name);
	free(uri);
	nbd_name_free(&choice.name);
}

Test(nbd_mapping, the_operator_comes_first_then_the_policy)
{
	struct nbd_mappings table = { 0 };
	struct nbd_policy policy = { 0 };
	struct bpull_error error;
	static const char file[] =
		"json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/etc/x\"}}";

	/* Without a word, nothing behind a network. */
	chosen(NULL, NULL, "base.img", 0, "", false);
	chosen(NULL, NULL, "nbd://h/x", -EPERM, "--allow-remote=nbd:h:10809", false);
	chosen(&policy, &table, "nbd://h/x", -EPERM, "--allow-remote=nbd:h:10809", false);
	chosen(NULL, NULL, "nbd+unix:///?socket=/s", -EPERM, "--allow-remote=nbd+unix:/s", false);
	chosen(NULL, NULL, "https://h/x", -ENOTSUP, "--map-backing", false);
	chosen(NULL, NULL, "nbd://u@h/x", -EINVAL, "user", false);
	/* A file that json: names is the library's to allow. */
	chosen(NULL, NULL, file, 0, "/etc/x", false);

	cr_assert(!nbd_policy_add(&policy, "nbd:h", &error));
	cr_assert(!nbd_policy_add(&policy, "nbd:10.0.0.0/8", &error));
	cr_assert(!nbd_policy_add(&policy, "nbd+unix:/run", &error));
	chosen(&policy, NULL, "nbd://h/x", 0, "nbd://h:10809/x", false);
	chosen(&policy, NULL, "nbd://g/x", 0, "nbd://g:10809/x", false); /* by its addresses */
	chosen(&policy, NULL, "nbd://11.0.0.1/x", -EPERM, "nbd:11.0.0.1:10809", false);
	chosen(&policy, NULL, "nbd:unix:/tmp/s", 0, "nbd+unix:///?socket=/tmp/s", false);

	/* What is mapped asks no policy, and what the name says of itself does not matter. */
	cr_assert(!nbd_mappings_add(&table, "nbd://evil/x=nbd://11.0.0.1/x", "/here", &error));
	cr_assert(!nbd_mappings_add(&table, "https://h/x=nbd+unix:///?socket=/tmp/s", "/here",
				    &error));
	cr_assert(!nbd_mappings_add(&table, "nbd://u@h/x=copy.img", "/here", &error));
	chosen(&policy, &table, "nbd://evil/x", 0, "nbd://11.0.0.1:10809/x", true);
	chosen(NULL, &table, "https://h/x", 0, "nbd+unix:///?socket=/tmp/s", true);
	chosen(NULL, &table, "nbd://u@h/x", 0, "/here/copy.img", true);
	/* The same place by another name is not mapped. */
	chosen(NULL, &table, "nbd://evil:10809/x", -EPERM, "nbd:evil:10809", false);
	nbd_mappings_free(&table);
	nbd_policy_free(&policy);
}
