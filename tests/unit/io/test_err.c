/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Sentences fit, end whole, and carry no byte that a terminal would obey.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "io/base.h"
#include "io/err.h"

static const char *escaped(const char *name, size_t len)
{
	static char out[256];
	return err_escape(name, len, out, sizeof(out));
}

Test(err, set_fills_code_and_sentence)
{
	struct err err = { 0 };
	cr_assert_eq(err_set(&err, -EINVAL, "L1 table at %d", 7), -EINVAL);
	cr_assert_eq(err.code, -EINVAL);
	cr_assert_str_eq(err.message, "L1 table at 7");
}

Test(err, errno_appends_the_systems_words)
{
	struct err err;
	cr_assert_eq(err_errno(&err, -ENOSPC, "cannot write '%s'", "a"), -ENOSPC);
	cr_assert_eq(err.code, -ENOSPC);
	cr_assert_str_eq(err.message, "cannot write 'a': No space left on device");
}

Test(err, room_mends_want_of_space_and_not_a_limit_on_length)
{
	cr_assert(err_is_no_space(-ENOSPC) && err_is_no_space(-EDQUOT));
	cr_assert(err_cannot_grow(-ENOSPC) && err_cannot_grow(-EDQUOT));
	cr_assert(err_cannot_grow(-EFBIG) && !err_is_no_space(-EFBIG));
	cr_assert_not(err_cannot_grow(0) || err_cannot_grow(-EIO) || err_cannot_grow(ENOSPC));
}

Test(err, null_is_allowed)
{
	cr_assert_eq(err_set(NULL, -EIO, "x"), -EIO);
	cr_assert_eq(err_errno(NULL, -EIO, "x"), -EIO);
}

Test(err, long_sentences_end_in_dots)
{
	struct err err;
	char longer[3000];
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';

	err_set(&err, -EIO, "%s", longer);
	cr_assert_eq(strlen(err.message), sizeof(err.message) - 1);
	cr_assert_str_eq(err.message + strlen(err.message) - 4, "x...");

	longer[1015] = '\0'; /* the sentence fits, the system's words do not */
	err_errno(&err, -EIO, "%s", longer);
	cr_assert_lt(strlen(err.message), sizeof(err.message));
	cr_assert_str_eq(err.message + strlen(err.message) - 3, "...");
}

Test(err, a_cut_sentence_holds_no_half_character)
{
	struct err err;
	char name[1200];
	for (size_t shift = 0; shift < 3; shift++) {
		memset(name, 'a', shift);
		for (size_t i = shift; i + 3 < sizeof(name); i += 3) {
			memcpy(name + i, "\xe2\x82\xac", 3);
			name[i + 3] = '\0';
		}
		err_set(&err, -EIO, "%s", name);
		size_t len = strlen(err.message);
		cr_assert_str_eq(err.message + len - 3, "...");
		cr_assert_eq((len - 3 - shift) % 3, 0, "shift %zu, length %zu", shift, len);
	}
}

Test(err, plain_names_stay_readable)
{
	cr_assert_str_eq(escaped("disk image.qcow2", 16), "disk image.qcow2");
	const char *names = "Fa\xc3\xa7"
			    "ade \xe2\x82\xac \xf0\x9f\x98\x80 \xe6\xbc\xa2";
	cr_assert_str_eq(escaped(names, strlen(names)), names);
}

Test(err, hostile_bytes_are_escaped)
{
	static const struct {
		const char *name;
		size_t len;
		const char *want;
	} cases[] = {
		{ "a\x1b[31mb", 7, "a\\x1b[31mb" },
		{ "a\nb\rc\t", 6, "a\\x0ab\\x0dc\\x09" },
		{ "nul\0in", 6, "nul\\x00in" },
		{ "it's \"x\"\\", 9, "it\\x27s \\x22x\\x22\\x5c" },
		{ "\x7f", 1, "\\x7f" },
		{ "\xc2\x9b", 2, "\\xc2\\x9b" },                   /* CSI in one character */
		{ "\xe2\x80\xae", 3, "\\xe2\\x80\\xae" },          /* right-to-left override */
		{ "\xe2\x81\xa6", 3, "\\xe2\\x81\\xa6" },          /* isolate */
		{ "\xef\xbb\xbf", 3, "\\xef\\xbb\\xbf" },          /* zero width */
		{ "\xc0\xaf", 2, "\\xc0\\xaf" },                   /* overlong '/' */
		{ "\xe0\x80\xaf", 3, "\\xe0\\x80\\xaf" },          /* overlong */
		{ "\xed\xa0\x80", 3, "\\xed\\xa0\\x80" },          /* surrogate */
		{ "\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80" }, /* past Unicode */
		{ "\xe2\x82", 2, "\\xe2\\x82" },                   /* cut off */
		{ "\xe2\x82z", 3, "\\xe2\\x82z" },
		{ "\x80", 1, "\\x80" },
		{ "\xff", 1, "\\xff" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		cr_assert_str_eq(escaped(cases[i].name, cases[i].len), cases[i].want, "case %zu",
				 i);
}

/* Whatever the room, the result is terminated, whole, and says where it was cut. */
Test(err, any_room_will_do)
{
	static const char name[] = "ab\x1b\xe2\x82\xac\xff-long enough";
	char whole[64], out[64];
	err_escape(name, sizeof(name) - 1, whole, sizeof(whole));

	for (size_t cap = 1; cap <= strlen(whole) + 1; cap++) {
		memset(out, 'X', sizeof(out));
		cr_assert_eq(err_escape(name, sizeof(name) - 1, out, cap), out);
		size_t len = strlen(out);
		cr_assert_lt(len, cap);
		cr_assert_eq(out[cap], 'X', "wrote past %zu", cap);
		if (cap == strlen(whole) + 1) {
			cr_assert_str_eq(out, whole);
		} else if (cap >= 4) {
			cr_assert_str_eq(out + len - 3, "...", "room %zu gave %s", cap, out);
			cr_assert_eq(memcmp(out, whole, len - 3), 0);
			size_t at = len - 3;
			bool inside = (whole[at] & 0xc0) == 0x80 ||
				      (at >= 1 && whole[at - 1] == '\\') ||
				      (at >= 2 && whole[at - 2] == '\\') ||
				      (at >= 3 && whole[at - 3] == '\\');
			cr_assert(!inside, "room %zu cut inside a character: %s", cap, out);
		}
	}
}
