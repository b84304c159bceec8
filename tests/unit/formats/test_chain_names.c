/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Names in chains: how a recorded one becomes a path, and which file is the base. */
#include <criterion/criterion.h>
#include <errno.h>

#include "formats/chain/chain.h"
#include "formats/chain/chain_base.h"
#include "formats/chain/map.h"
#include "formats/chain/name.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/opener.h"

/* ---- Names ---- */

Test(chain, backing_names_become_paths)
{
	static const struct {
		const char *image, *recorded;
		int rc;
		const char *path; /* or what the sentence must hold */
	} rows[] = {
		{ "top.qcow2", "base.qcow2", 0, "base.qcow2" },
		{ "./top.qcow2", "base.qcow2", 0, "./base.qcow2" },
		{ "d/e/top.qcow2", "base.qcow2", 0, "d/e/base.qcow2" },
		{ "/d/top.qcow2", "../base", 0, "/d/../base" },
		{ "/top.qcow2", "base", 0, "/base" },
		{ "d/top.qcow2", "/abs/base", 0, "/abs/base" },
		{ "d/top.qcow2", "./a:b", 0, "d/./a:b" },
		{ "d/top.qcow2", "sub/a:b", 0, "d/sub/a:b" },
		{ "d/top.qcow2", "/a:b", 0, "/a:b" },
		{ "d/top.qcow2", "file:base.raw", 0, "base.raw" },
		{ "/d/top.qcow2", "file:../base.raw", 0, "../base.raw" },
		{ "d/top.qcow2", "file:/abs/base.raw", 0, "/abs/base.raw" },
		{ "d/top.qcow2", "file:nbd:x", 0, "nbd:x" },
		{ "d:x/top.qcow2", "base", 0, "d:x/base" },
		{ "d/top.qcow2", "json", 0, "d/json" },
		{ "d/top.qcow2", "filebase", 0, "d/filebase" },
		{ "d/top.qcow2", " base", 0, "d/ base" },
		{ "d/top.qcow2", "b\xc3\xa4se", 0, "d/b\xc3\xa4se" },
		{ "d/top.qcow2", "100%s.raw", 0, "d/100%s.raw" },
		{ "d/top.qcow2", "json:{\"driver\":\"raw\"}", -ENOTSUP, "json: descriptions" },
		{ "d/top.qcow2", "nbd://host/x", -ENOTSUP, "'nbd://host/x'" },
		{ "d/top.qcow2", "host_device:/dev/sda", -ENOTSUP, "protocols" },
		{ "d/top.qcow2", "FILE:x", -ENOTSUP, "protocols" },
		{ "d/top.qcow2", "a:b", -ENOTSUP, "./NAME" },
		{ "d/top.qcow2", "ab:c", -ENOTSUP, "protocols" },
		{ "d/top.qcow2", ":b", -ENOTSUP, "protocols" },
		{ "d/top.qcow2", "1:b", -ENOTSUP, "protocols" },
		{ "d/top.qcow2", "C:\\x", -ENOTSUP, "drive letter" },
		{ "d/top.qcow2", "c:/x", -ENOTSUP, "drive letter" },
		{ "d/top.qcow2", "", -EUCLEAN, "'d/top.qcow2'" },
		{ "d/top.qcow2", "file:", -EUCLEAN, "empty" },
		{ "d/top.qcow2", "ba\nse", -ENOTSUP, "ba\\x0ase" },
		{ "d/top.qcow2", "base\x7f", -ENOTSUP, "control" },
		{ "d/top.qcow2", "\x1b[2Jbase", -ENOTSUP, "\\x1b" },
		{ "d/top.qcow2", "json:\x01", -ENOTSUP, "control" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *path = NULL;
		struct err err = { 0 };
		int rc = chain_backing_path(rows[i].image, rows[i].recorded, &path, &err);

		cr_assert_eq(rc, rows[i].rc, "row %zu: %d %s", i, rc, err.message);
		if (rc == 0) {
			cr_assert_str_eq(path, rows[i].path, "row %zu", i);
		} else {
			cr_assert_null(path);
			cr_assert(strstr(err.message, rows[i].path), "row %zu: %s", i, err.message);
		}
		free(path);
	}
}

/* ---- Which file is the base ---- */

/* An opener of which every call fails so. */
struct failing {
	struct file_opener opener; /* first */
	int code;
	unsigned n_calls;
};

static int failing_open(struct file_opener *opener, const struct file_open *how, struct file **out,
			struct err *err)
{
	struct failing *failing = (struct failing *)opener;

	(void)how;
	(void)out;
	failing->n_calls++;
	return err ? err_set(err, failing->code, "it fails") : failing->code;
}

/* The process's want says nothing of the file; any other failure leaves the names to go by. */
Test(chain, want_is_not_taken_for_a_wrong_base)
{
	static const struct {
		int code;
		bool is_want;
	} rows[] = { { -EMFILE, true },  { -ENFILE, true },  { -ENOMEM, true },
		     { -EACCES, false }, { -ENOENT, false }, { -EIO, false } };
	struct file files[2] = { { .name = (char *)"/d/top", .real_name = (char *)"/d/top" },
				 { .name = (char *)"/d/base", .real_name = (char *)"/d/base" } };
	struct layer layers[2] = { { .file = &files[0], .backing.name = (char *)"base" },
				   { .file = &files[1] } };
	struct chain chain = { .n_layers = 2, .layers = { &layers[0], &layers[1] } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct failing failing = { .opener.open = failing_open, .code = rows[i].code };
		bool is_want = rows[i].is_want;
		struct err err = { 0 };
		unsigned depth = 0;
		char *name = NULL;
		int rc = chain_find_base(&chain, &failing.opener, "other", &depth, &err);

		cr_assert_eq(rc, is_want ? rows[i].code : -EINVAL, "row %zu: %s", i, err.message);
		cr_assert_eq(failing.n_calls, 1);
		cr_assert(strstr(err.message, is_want ? "cannot open 'other'" : "is not in the"),
			  "row %zu: %s", i, err.message);
		cr_assert_eq(err.remedy, is_want ? ERR_REMEDY_NONE : ERR_REMEDY_LIST_CHAIN);
		/* Its own name, too, says nothing then. */
		rc = chain_find_base(&chain, &failing.opener, "base", &depth, &err);
		cr_assert_eq(rc, is_want ? rows[i].code : 0, "row %zu: %s", i, err.message);
		cr_assert_eq(depth, is_want ? 0 : 1);
		rc = chain_name_base(&chain, &failing.opener, 1, "link", &name, &err);
		cr_assert_eq(rc, is_want ? rows[i].code : -EINVAL, "row %zu: %s", i, err.message);
		cr_assert(strstr(err.message, is_want ? "cannot open 'link'" : "does not lead to"),
			  "row %zu: %s", i, err.message);
		cr_assert_null(name);
	}
}
