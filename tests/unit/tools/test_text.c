/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Hostile names on their way to a terminal, and typos on their way to a guess.
 * The safe form is judged by a filter of its own: bytes that a terminal acts on
 * must not come out, whatever goes in.
 */
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/words/suggest.h"
#include "tools/words/text.h"

static const struct {
	const char *raw, *safe, *json;
} names[] = {
	{ "plain name.qcow2", "plain name.qcow2", NULL },
	{ "it's \"quoted\" \\ back", "it's \"quoted\" \\ back", NULL },
	{ "gr\u00fc\u00dfe \u65e5\u672c \U0001f4be", "gr\u00fc\u00dfe \u65e5\u672c \U0001f4be",
	  NULL },
	{ "a\nb\tc\x1b[2J\x7f", "a\\x0ab\\x09c\\x1b[2J\\x7f", NULL },
	{ "\xc2\x9b"
	  "31m",
	  "\\xc2\\x9b31m", NULL },
	{ "x\u202egpj.exe\u2066", "x\\xe2\\x80\\xaegpj.exe\\xe2\\x81\\xa6", NULL },
	{ "\u200bzero\ufeff", "\\xe2\\x80\\x8bzero\\xef\\xbb\\xbf", NULL },
	{ "\xff\xfe", "\\xff\\xfe", "\\xff\\xfe" },
	{ "\xc0\xaf overlong", "\\xc0\\xaf overlong", "\\xc0\\xaf overlong" },
	{ "\xed\xa0\x80 surrogate", "\\xed\\xa0\\x80 surrogate", "\\xed\\xa0\\x80 surrogate" },
	{ "\xf4\x90\x80\x80 beyond", "\\xf4\\x90\\x80\\x80 beyond", "\\xf4\\x90\\x80\\x80 beyond" },
	{ "cut \xe6\x97", "cut \\xe6\\x97", "cut \\xe6\\x97" },
	{ "", "", NULL },
};

Test(text, names_are_made_safe_and_stay_readable)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char out[256], again[256];
		text_safe(names[i].raw, out, sizeof(out));
		cr_assert(!strcmp(out, names[i].safe), "name %zu became '%s'", i, out);
		text_safe(out, again, sizeof(again));
		cr_assert(!strcmp(out, again), "name %zu changes when made safe again", i);
	}
}

Test(text, json_keeps_all_that_is_utf8)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *wanted = names[i].json ? names[i].json : names[i].raw;
		char *out = text_utf8(names[i].raw);
		cr_assert(out && !strcmp(out, wanted), "name %zu became '%s'", i, out);
		free(out);
	}
}

Test(text, what_json_takes_as_it_is_is_utf8)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_assert(text_is_utf8(names[i].raw) == !names[i].json, "name %zu", i);
}

Test(text, a_full_buffer_cuts_whole_characters)
{
	char out[8];
	cr_assert(!strcmp(text_safe("abcdef\u00fc", out, sizeof(out)), "abcdef"));
	cr_assert(!strcmp(text_safe("abcde\u00fc", out, sizeof(out)), "abcde\u00fc"));
	cr_assert(!strcmp(text_safe("abcd\x1b", out, sizeof(out)), "abcd"));
	cr_assert(!strcmp(text_safe("abc\x1b", out, sizeof(out)), "abc\\x1b"));
	cr_assert(!strcmp(text_safe("abc", out, 1), ""));
}

/* No control byte comes out, nothing is written past the end, and what fits stays whole. */
Test(text, no_bytes_get_through_that_a_terminal_acts_on)
{
	const char *fixed = getenv("SEED");
	unsigned seed = fixed ? (unsigned)strtoul(fixed, NULL, 0) : (unsigned)time(NULL);
	unsigned state = seed;

	for (int round = 0; round < 50000; round++) {
		char raw[24], guarded[64];
		size_t len = rand_r(&state) % sizeof(raw);
		size_t cap = 1 + rand_r(&state) % (sizeof(guarded) - 1);
		for (size_t i = 0; i < len; i++)
			raw[i] = rand_r(&state) % 255 + 1;
		raw[len] = 0;
		memset(guarded, 0x5a, sizeof(guarded));
		text_safe(raw, guarded, cap);
		cr_assert(strlen(guarded) < cap, "SEED=%u round %d: too long", seed, round);
		for (size_t i = cap; i < sizeof(guarded); i++)
			cr_assert(guarded[i] == 0x5a, "SEED=%u round %d: past the end", seed,
				  round);
		for (const unsigned char *p = (unsigned char *)guarded; *p; p++) {
			bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f;
			cr_assert(*p >= 0x20 && *p != 0x7f && !c1, "SEED=%u round %d: \\x%02x",
				  seed, round, *p);
		}
	}
}

Test(text, a_name_is_cut_in_front_until_it_fits)
{
	char name[64];
	strcpy(name, "short");
	cr_assert(!strcmp(text_fit(name, 10), "short"));
	strcpy(name, "a-very-long-name.qcow2");
	cr_assert(!strcmp(text_fit(name, 12), "...ame.qcow2"));
	/* Wide characters take two columns each; half of one can't be kept. */
	strcpy(name, "\u65e5\u672c\u8a9e\u540d\u524d");
	text_fit(name, 8);
	cr_assert(!strcmp(name, "...\u540d\u524d"), "%s", name);
	cr_assert(text_columns(name) <= 8);
}

static const char *guess(const char *typed)
{
	static const char *const words[] = { "pull",           "info",         "map",
					     "check",          "create",       "bandwidth",
					     "backing-format", "allow-backing" };
	struct suggest suggest = { 0 };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		suggest_offer(&suggest, typed, words[i]);
	return suggest.best ? suggest.best : "";
}

Test(suggest, slips_of_the_finger_are_understood)
{
	cr_assert_str_eq(guess("pul"), "pull");
	cr_assert_str_eq(guess("plul"), "pull");
	cr_assert_str_eq(guess("cehck"), "check");
	cr_assert_str_eq(guess("crate"), "create");
	cr_assert_str_eq(guess("mpa"), "map");
	cr_assert_str_eq(guess("bandwith"), "bandwidth");
	cr_assert_str_eq(guess("backing-fromat"), "backing-format");
}

Test(suggest, what_resembles_nothing_gets_no_guess)
{
	cr_assert_str_eq(guess("frobnicate"), "");
	cr_assert_str_eq(guess("x"), "");
	cr_assert_str_eq(guess(""), "");
	cr_assert_str_eq(guess("commit"), "");
	cr_assert_str_eq(guess("a-word-longer-than-any-command-or-option-there-is"), "");
}
