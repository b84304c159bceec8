/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Sizes as people write them, and as we write them back. Tables of promises;
 * what random text does is checked against the few things that hold for all.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/words/size.h"

#define KI (UINT64_C(1) << 10)
#define MI (UINT64_C(1) << 20)
#define GI (UINT64_C(1) << 30)
#define TI (UINT64_C(1) << 40)

static const struct {
	const char *text;
	uint64_t bytes;
} accepted[] = {
	{ "0", 0 },
	{ "1", 1 },
	{ "007", 7 },
	{ "100B", 100 },
	{ "512", 512 },
	{ "1K", KI },
	{ "1k", KI },
	{ "1KiB", KI },
	{ "1Ki", KI },
	{ "1KB", 1000 },
	{ "1kB", 1000 },
	{ "64M", 64 * MI },
	{ "64m", 64 * MI },
	{ "64MiB", 64 * MI },
	{ "64MB", 64000000 },
	{ "3g", 3 * GI },
	{ "3GB", 3000000000 },
	{ "2T", 2 * TI },
	{ "2TB", 2000000000000 },
	{ "1P", 1024 * TI },
	{ "15E", 15 * 1024 * 1024 * TI },
	{ "18EB", UINT64_C(18000000000000000000) },
	{ "1.5M", MI + MI / 2 },
	{ "1.5MB", 1500000 },
	{ "0.5K", 512 },
	{ "0.25GiB", GI / 4 },
	{ "1.0", 1 },
	{ "1.000000000000000000M", MI },
	{ "0.0", 0 },
	{ "0.3K", 307 },
	{ "0.999999999999999999E", 1024 * 1024 * TI - 2 },
	{ "18446744073709551615", UINT64_MAX },
	{ "15.999999999999999999E", UINT64_MAX - 1 },
	{ "0.123456789012345678E", UINT64_C(142335986942043632) },
	{ "1.999999999999999999EB", UINT64_C(1999999999999999999) },
};

/* Every one is -EINVAL, or -ERANGE where that is said. */
static const struct {
	const char *text;
	int code;
	const char *word; /* of the reason */
} refused[] = {
	{ "", -EINVAL, "missing" },
	{ "-1", -EINVAL, "negative" },
	{ "-0", -EINVAL, "negative" },
	{ "+1", -EINVAL, "digit" },
	{ " 1", -EINVAL, "digit" },
	{ "M", -EINVAL, "digit" },
	{ ".5M", -EINVAL, "digit" },
	{ "nan", -EINVAL, "digit" },
	{ "inf", -EINVAL, "digit" },
	{ "1 ", -EINVAL, "unit" },
	{ "1 M", -EINVAL, "unit" },
	{ "0x10", -EINVAL, "unit" },
	{ "1e6", -EINVAL, "unit" },
	{ "1e", -EINVAL, "unit" },
	{ "1X", -EINVAL, "unit" },
	{ "1MM", -EINVAL, "unit" },
	{ "1iB", -EINVAL, "unit" },
	{ "1MBi", -EINVAL, "unit" },
	{ "1.2.3M", -EINVAL, "unit" },
	{ "1.M", -EINVAL, "digits" },
	{ "1.", -EINVAL, "digits" },
	{ "1,5M", -EINVAL, "point" },
	{ "1.0000000000000000000M", -EINVAL, "too many" },
	{ "10b", -EINVAL, "bits" },
	{ "10Mb", -EINVAL, "bits" },
	{ "10Mib", -EINVAL, "bits" },
	{ "10mbps", -EINVAL, "bits" },
	{ "10MBps", -EINVAL, "bits" },
	{ "10mbit", -EINVAL, "bits" },
	{ "10Mbit/s", -EINVAL, "bits" },
	{ "10Gb/s", -EINVAL, "bits" },
	{ "10MBIT", -EINVAL, "bits" },
	{ "1.5", -EINVAL, "fraction" },
	{ "1.5B", -EINVAL, "fraction" },
	{ "18446744073709551616", -ERANGE, "large" },
	{ "99999999999999999999999", -ERANGE, "large" },
	{ "16E", -ERANGE, "large" },
	{ "17179869184G", -ERANGE, "large" },
	{ "19EB", -ERANGE, "large" },
	{ "18.5EB", -ERANGE, "large" },
	{ "99999999999999T", -ERANGE, "large" },
	{ "0.0001K", -ERANGE, "less than one" },
};

Test(size, what_is_meant_is_what_is_read)
{
	for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
		uint64_t bytes = 12345;
		const char *why = "";
		int rc = size_parse(accepted[i].text, SIZE_BYTES, &bytes, &why);
		cr_assert(rc == 0, "'%s' is refused: %s", accepted[i].text, why);
		cr_assert(bytes == accepted[i].bytes, "'%s' is read as %" PRIu64, accepted[i].text,
			  bytes);
	}
}

Test(size, what_is_doubtful_is_refused_with_a_reason)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		for (int kind = SIZE_BYTES; kind <= SIZE_RATE; kind++) {
			uint64_t bytes = 12345;
			const char *why = "";
			int rc = size_parse(refused[i].text, kind, &bytes, &why);
			cr_assert(rc == refused[i].code, "'%s' gives %d (%" PRIu64 ")",
				  refused[i].text, rc, bytes);
			cr_assert(bytes == 12345, "'%s' left a value behind", refused[i].text);
			cr_assert(strstr(why, refused[i].word), "'%s' is refused as: %s",
				  refused[i].text, why);
		}
	}
}

Test(size, a_rate_may_end_in_per_second_and_a_size_may_not)
{
	static const char *const rates[] = {
		"50M/s", "50MB/s", "50MiB/s", "512/s", "0/s", "1.5G/s"
	};
	static const char *const never[] = {
		"50M/h", "50M/sec", "50M/", "50M//s", "/s", "50M/s/s"
	};
	uint64_t rate, size;
	const char *why;

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		char plain[16];
		snprintf(plain, sizeof(plain), "%.*s", (int)strlen(rates[i]) - 2, rates[i]);
		cr_assert(size_parse(rates[i], SIZE_RATE, &rate, &why) == 0, "%s: %s", rates[i],
			  why);
		cr_assert(size_parse(plain, SIZE_BYTES, &size, &why) == 0, "%s: %s", plain, why);
		cr_assert(rate == size, "%s is not %s", rates[i], plain);
		cr_assert(size_parse(rates[i], SIZE_BYTES, &size, &why) == -EINVAL);
		cr_assert(strstr(why, "rate"), "%s: %s", rates[i], why);
	}
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		cr_assert(size_parse(never[i], SIZE_RATE, &rate, &why) == -EINVAL, "%s", never[i]);
}

/* Whatever is typed: a value or a reason, never both, and a number alone is that number. */
Test(size, any_text_ends_in_a_value_or_a_reason)
{
	static const char alphabet[] = "0123456789.,KMGTPEkmgtpeiBb/s -+x";
	unsigned seed = (unsigned)time(NULL);
	const char *fixed = getenv("SEED");
	unsigned state = fixed ? (unsigned)strtoul(fixed, NULL, 0) : seed;
	seed = state;
	size_t n_values = 0;

	for (int round = 0; round < 200000; round++) {
		char text[12];
		size_t len = rand_r(&state) % sizeof(text);
		for (size_t i = 0; i < len; i++)
			text[i] = alphabet[rand_r(&state) % (sizeof(alphabet) - 1)];
		text[len] = 0;

		uint64_t bytes = 1;
		const char *why = NULL;
		int rc = size_parse(text, SIZE_RATE, &bytes, &why);
		cr_assert((rc == 0) == (why == NULL), "SEED=%u: '%s'", seed, text);
		cr_assert(rc == 0 || rc == -EINVAL || rc == -ERANGE, "SEED=%u: '%s'", seed, text);
		if (len && strspn(text, "0123456789") == len)
			cr_assert(!rc && bytes == strtoull(text, NULL, 10), "SEED=%u: '%s'", seed,
				  text);
		n_values += !rc;
	}
	cr_assert(n_values > 1000, "SEED=%u: only %zu texts were sizes", seed, n_values);
}

Test(size, what_is_shown_was_reached)
{
	static const struct {
		uint64_t bytes;
		const char *text, *mib;
	} shown[] = {
		{ 0, "0 B", "0.00" },
		{ 1023, "1023 B", "0.00" },
		{ KI, "1 KiB", "0.00" },
		{ KI + KI / 2, "1.5 KiB", "0.00" },
		{ 99 * KI + 1023, "99.9 KiB", "0.09" },
		{ 100 * KI + 1023, "100 KiB", "0.09" },
		{ MI - 1, "1023 KiB", "0.99" },
		{ MI, "1 MiB", "1" },
		{ MI + MI / 4, "1.2 MiB", "1.25" },
		{ 10 * MI + MI / 4, "10.2 MiB", "10.2" },
		{ 123 * MI + MI / 2, "123 MiB", "123" },
		{ 5 * GI, "5 GiB", "5120" },
		{ UINT64_MAX, "15.9 EiB", "17592186044415" },
	};
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		char out[SIZE_TEXT_CAP];
		cr_assert(!strcmp(size_text(shown[i].bytes, out), shown[i].text),
			  "%" PRIu64 " is shown as %s", shown[i].bytes, out);
		cr_assert(!strcmp(size_text_mib(shown[i].bytes, out), shown[i].mib),
			  "%" PRIu64 " is shown as %s MiB", shown[i].bytes, out);
	}
}
