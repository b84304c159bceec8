/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The control socket's bytes as JSON values: where they end, what is none, and what follows it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <criterion/criterion.h>

#include "tools/control/wire/stream.h"

/* What came out of the bytes, cut into pieces of `step`: values by their text, garbage as "!", each
 * with a blank behind it. The caller frees it. */
static char *cut(const char *bytes, size_t n, size_t step)
{
	struct control_stream stream = { .text = malloc(CONTROL_MAX_VALUE) };
	char *out = calloc(1, 4 * n + 16);
	size_t used = 0;

	for (size_t at = 0; at < n; at += step)
		for (size_t end = at + step < n ? at + step : n, i = at; i < end;) {
			enum control_piece piece;

			i += control_stream_take(&stream, bytes + i, end - i, &piece);
			if (piece == CONTROL_GARBAGE)
				used += sprintf(out + used, "! ");
			else if (piece)
				used += sprintf(out + used, "%.*s ", (int)stream.len, stream.text);
		}
	free(stream.text);
	return out;
}

static void expect(const char *bytes, size_t n, const char *wanted)
{
	for (size_t step = 1; step <= n; step++) {
		char *got = cut(bytes, n, step);

		cr_assert_str_eq(got, wanted, "%.60s by %zu bytes: '%s'", bytes, step, got);
		free(got);
	}
}

#define EXPECT(bytes, wanted) expect(bytes, sizeof(bytes) - 1, wanted)

Test(control_stream, values_end_where_their_brackets_do)
{
	EXPECT("{}", "{} ");
	EXPECT("{}{}[]{", "{} {} [] ");
	EXPECT(" \r\n{\"a\":\n[1,\t{}]}\r\n", "{\"a\":\n[1,\t{}]} ");
	EXPECT("{\"}\\\"]\":\"{\"}{}", "{\"}\\\"]\":\"{\"} {} ");
	EXPECT("1 true{}\"x\"nonsense\n", "1 true {} \"x\" nonsense ");
	EXPECT("{'a':'b\"\\'c'}", "{\"a\":\"b\\\"'c\"} ");
}

Test(control_stream, garbage_is_told_once_and_left_behind)
{
	EXPECT("}{}", "! {} ");
	EXPECT("{\"a\":\"b\xff{}", "! {} ");
	EXPECT("{\"a\":\"b\n{}", "! {} ");
	EXPECT("{\"a\"\x01{}", "! {} ");
	EXPECT("\0{}", "! {} ");
}

Test(control_stream, long_and_deep_ones_are_passed_over)
{
	size_t n = 3 * CONTROL_MAX_VALUE;
	char *bytes = malloc(n + 8), *got;

	for (const char *c = "[x\""; *c; c++) {
		memset(bytes, *c, n);
		bytes[1] = *c == '"' ? 'x' : *c;
		if (*c == '"')
			memset(bytes + 1, 'y', n - 1);
		memcpy(bytes + n, "\n{} ", 5);
		got = cut(bytes, n + 4, 1000);
		cr_assert_str_eq(got, "! {} ", "%c: '%.40s'", *c, got);
		free(got);
	}
	free(bytes);
}

static const char *why_of(const char *text)
{
	const char *why;

	json_object_put(control_parse(text, strlen(text), &why));
	return why;
}

Test(control_stream, what_is_no_json_is_refused)
{
	cr_assert_null(why_of("{\"a\":{\"b\":1},\"c\":[{\"b\":2},\":\"]}"));
	cr_assert_null(why_of("12"));
	cr_assert_null(why_of("null"));
	static const char *const bad[] = { "{\"a\":1,\"a\":1}",
					   "{\"a\":{\"b\":1},\"a\":2}",
					   "[}",
					   "{\"a\":1,}",
					   "nonsense",
					   "{\"a\\u0000b\":1}",
					   "[\"\\u0000\"]",
					   "1x",
					   "\"\xc3\"" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not_null(why_of(bad[i]), "%s", bad[i]);
	cr_assert_null(why_of("\"\\\\u0000\""), "an escaped backslash before u0000");
}

/* json-c takes some of these, and changes others: an id would come back as another one. */
Test(control_stream, numbers_are_as_json_has_them)
{
	static const char *const good[] = { "[18446744073709551615,-9223372036854775808,0,-0]",
					    "[1e400,-0.5E-3,0.0,true,false,null]",
					    "{\"a\":\"NaN 5. \\\" 99999999999999999999\"}" };
	static const char *const bad[] = { "NaN",
					   "[Infinity]",
					   "{\"a\":-Infinity}",
					   "5.",
					   "[1.,2]",
					   "[-]",
					   "{\"a\":01}",
					   "[1e]",
					   "[.5]",
					   "True",
					   "18446744073709551616",
					   "[-9223372036854775809]",
					   "{\"a\":99999999999999999999999999999}" };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		cr_assert_null(why_of(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not_null(why_of(bad[i]), "%s", bad[i]);
}

/* Whatever comes, and however it is cut: nothing is written behind the text, and behind 0xFF a
 * value is found. */
Test(control_stream, any_bytes_cut_anywhere_leave_the_stream_usable)
{
	static const char alphabet[] = "{}[]\"'\\:,ab1 \n\xff\xc3\x80\x01";
	unsigned seed = (unsigned)time(NULL);

	cr_log_info("seed %u", seed);
	for (unsigned round = 0; round < 2000; round++) {
		char bytes[64], *one, *other;
		size_t n = 1 + rand_r(&seed) % 50, len;

		for (size_t i = 0; i < n; i++)
			bytes[i] = alphabet[rand_r(&seed) % (sizeof(alphabet) - 1)];
		memcpy(bytes + n, "\xff{} ", 4);
		one = cut(bytes, n + 4, 1);
		other = cut(bytes, n + 4, 1 + rand_r(&seed) % 9);
		len = strlen(one);
		cr_assert_str_eq(one, other, "round %u", round);
		cr_assert(len >= 5 && !strcmp(one + len - 5, "! {} "), "round %u: %s", round, one);
		free(one);
		free(other);
	}
}
