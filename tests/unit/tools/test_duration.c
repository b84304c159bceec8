/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Times as people write them, and what is none. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "tools/words/duration.h"

Test(duration, times_are_read)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "0", 0 },
		{ "90", UINT64_C(90000000000) },
		{ "90s", UINT64_C(90000000000) },
		{ "30m", UINT64_C(1800000000000) },
		{ "1h30m", UINT64_C(5400000000000) },
		{ "1d1h1m1s1ms1us", UINT64_C(90061001001000) },
		{ "5ms", 5000000 },
		{ "250us", 250000 },
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		const char *why = "";
		uint64_t ns = 1;

		cr_assert_eq(duration_parse(good[i].text, &ns, &why), 0, "%s: %s", good[i].text,
			     why);
		cr_assert_eq(ns, good[i].ns, "%s: %" PRIu64, good[i].text, ns);
	}
}

Test(duration, what_is_none_is_refused)
{
	static const char *const bad[] = { "",     " 5",   "-5",           "5 ",
					   "5x",   "m",    "1.5h",         "30m1h",
					   "1h30", "1h1h", "5MS",          "5msx",
					   "0x5",  "5,5",  "99999999999d", "18446744073709551616" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *why = NULL;
		uint64_t ns = 77;

		cr_assert_neq(duration_parse(bad[i], &ns, &why), 0, "'%s'", bad[i]);
		cr_assert(why && *why && ns == 77, "'%s'", bad[i]);
	}
}

Test(duration, times_are_shown)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} shown[] = {
		{ 0, "0 us" },
		{ 250000, "250 us" },
		{ 5000000, "5 ms" },
		{ 5430000, "5.4 ms" },
		{ UINT64_C(2500000000), "2.5 s" },
		{ UINT64_C(1800000000000), "30 min" },
		{ UINT64_C(5400000000000), "1 h 30 min" },
		{ UINT64_C(90061001001000), "1 d 1 h" },
	};

	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		char out[DURATION_TEXT_CAP];

		cr_assert_str_eq(duration_text(shown[i].ns, out), shown[i].text);
	}
}
