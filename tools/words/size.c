/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * K, M, G... are powers of 1024 (KiB, MiB... the same in full); KB, MB... are
 * powers of 1000. Anything that smells of bits is refused with a hint: a rate
 * misread by a factor of eight is found out in production, a refusal at once.
 *
 * strtod() with a multiplier was rejected: it reads hexadecimal, exponents,
 * "inf" and the locale's comma, and a double loses bytes above 2^53. The
 * arithmetic is in integers, exact but for the last fraction of a byte.
 */
#include "tools/words/size.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* 10^18 is the largest power of ten whose digits fit a uint64_t. */
#define SIZE_FRACTION_DIGITS_MAX 18

static const char size_letters[] = "KMGTPE";

static int size_fail(const char **why, int code, const char *text)
{
	*why = text;
	return code;
}

/* Reads digits at *cursor; the caller has made sure of the first. False: does not fit. */
static bool size_digits(const char **cursor, uint64_t *value)
{
	*value = 0;
	for (; **cursor >= '0' && **cursor <= '9'; (*cursor)++) {
		if (__builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, **cursor - '0', value))
			return false;
	}
	return true;
}

/* The bytes that a suffix of suffix_len characters stands for; 0: it stands for nothing. */
static uint64_t size_unit(const char *suffix, size_t suffix_len)
{
	uint64_t unit;
	uint64_t step;
	char upper;
	const char *letter;

	if (suffix_len == 0 || (suffix_len == 1 && *suffix == 'B'))
		return 1;

	/* "10e" is a slip in "10e6" more often than it is ten exbibytes. */
	upper = strchr("kmgt", *suffix) ? *suffix - 'a' + 'A' : *suffix;
	letter = strchr(size_letters, upper);
	if (!letter)
		return 0;

	if (suffix_len == 1 || (suffix_len == 2 && suffix[1] == 'i') ||
	    (suffix_len == 3 && suffix[1] == 'i' && suffix[2] == 'B'))
		step = 1024;
	else if (suffix_len == 2 && suffix[1] == 'B')
		step = 1000;
	else
		return 0;

	unit = 1;
	for (long power = letter - size_letters + 1; power > 0; power--)
		unit *= step;
	return unit;
}

static int size_bad_suffix(const char *suffix, enum size_kind kind, const char **why)
{
	const char *slash = strchr(suffix, '/');
	if (strchr(suffix, 'b') || strcasestr(suffix, "bit") || strcasestr(suffix, "bps"))
		return size_fail(why, -EINVAL,
				 "bits are not understood, only bytes: 10M is 10 MiB, 10MB is "
				 "10 million bytes, 10 Mbit/s is 1.25MB");
	if (slash && kind != SIZE_RATE)
		return size_fail(why, -EINVAL, "a size is wanted here, not a rate");
	if (slash)
		return size_fail(why, -EINVAL, "a rate ends in nothing or in '/s'");
	if (*suffix == ',')
		return size_fail(why, -EINVAL, "fractions are written with a point, as in 1.5G");
	return size_fail(why, -EINVAL,
			 "the unit must be one of K, M, G, T, P, E (powers of 1024) "
			 "or KB, MB, GB, TB, PB, EB (powers of 1000)");
}

struct size_fraction {
	uint64_t digits; /* the digits behind the point, as a number */
	uint64_t scale;  /* 10 to their count; 1: there was no point */
};

static int size_read_fraction(const char **cursor, struct size_fraction *fraction, const char **why)
{
	size_t n_digits;
	const char *first;

	*fraction = (struct size_fraction){ .scale = 1 };
	if (**cursor != '.')
		return 0;
	first = ++*cursor;
	if (*first < '0' || *first > '9')
		return size_fail(why, -EINVAL, "digits are missing behind the point");
	n_digits = strspn(first, "0123456789");
	if (n_digits > SIZE_FRACTION_DIGITS_MAX)
		return size_fail(why, -EINVAL, "there are too many digits behind the point");
	size_digits(cursor, &fraction->digits);
	while (n_digits-- > 0)
		fraction->scale *= 10;
	return 0;
}

/*
 * The fraction's whole bytes, digit by digit from the last: what one digit leaves over is less than
 * one of the digit before it, so rounding down each time loses nothing, and no product needs more
 * than 64 bits (9 units and less than one more; a unit is 2^60 at most).
 */
static uint64_t size_part(struct size_fraction fraction, uint64_t unit)
{
	uint64_t part = 0;

	for (; fraction.scale > 1; fraction.scale /= 10, fraction.digits /= 10)
		part = (fraction.digits % 10 * unit + part) / 10;
	return part;
}

int size_parse(const char *text, enum size_kind kind, uint64_t *bytes, const char **why)
{
	const char *cursor = text;
	uint64_t total;
	uint64_t unit;
	size_t suffix_len;
	struct size_fraction fraction;
	uint64_t whole;
	uint64_t part;
	int rc;

	if (!*text)
		return size_fail(why, -EINVAL, "a number is missing");
	if (*text == '-')
		return size_fail(why, -EINVAL, "it can't be negative");
	if (*text < '0' || *text > '9')
		return size_fail(why, -EINVAL, "it must begin with a digit");

	if (!size_digits(&cursor, &whole))
		return size_fail(why, -ERANGE, "it is too large");
	rc = size_read_fraction(&cursor, &fraction, why);
	if (rc)
		return rc;

	suffix_len = strlen(cursor);
	if (kind == SIZE_RATE && suffix_len >= 2 && !strcmp(cursor + suffix_len - 2, "/s"))
		suffix_len -= 2;
	unit = size_unit(cursor, suffix_len);
	if (!unit)
		return size_bad_suffix(cursor, kind, why);
	if (unit == 1 && fraction.digits)
		return size_fail(why, -EINVAL, "it asks for a fraction of a byte");

	part = size_part(fraction, unit);
	if (__builtin_mul_overflow(whole, unit, &total) ||
	    __builtin_add_overflow(total, part, &total))
		return size_fail(why, -ERANGE, "it is too large");
	/* A rate of 0 means no limit: the opposite of what a tiny fraction asks for. */
	if (!total && fraction.digits)
		return size_fail(why, -ERANGE, "it is less than one byte");
	*bytes = total;
	return 0;
}

char *size_text(uint64_t bytes, char out[SIZE_TEXT_CAP])
{
	unsigned shift = 0, unit_idx = 0;
	uint64_t whole;
	unsigned tenths;

	while (unit_idx < strlen(size_letters) && bytes >> shift >= 1024) {
		shift += 10;
		unit_idx++;
	}
	whole = bytes >> shift;
	/* One decimal while there are less than three digits in front of it. */
	tenths = shift ? ((bytes >> (shift - 10)) & 1023) * 10 / 1024 : 0;
	if (!unit_idx)
		snprintf(out, SIZE_TEXT_CAP, "%u B", (unsigned)whole);
	else if (tenths && whole < 100)
		snprintf(out, SIZE_TEXT_CAP, "%u.%u %ciB", (unsigned)whole, tenths,
			 size_letters[unit_idx - 1]);
	else
		snprintf(out, SIZE_TEXT_CAP, "%u %ciB", (unsigned)whole,
			 size_letters[unit_idx - 1]);
	return out;
}

char *size_text_mib(uint64_t bytes, char out[SIZE_TEXT_CAP])
{
	uint64_t whole = bytes >> 20;
	unsigned hundredths = (bytes & 0xfffff) * 100 >> 20;
	if (whole >= 100 || (whole && !hundredths))
		snprintf(out, SIZE_TEXT_CAP, "%llu", (unsigned long long)whole);
	else if (whole >= 10)
		snprintf(out, SIZE_TEXT_CAP, "%llu.%u", (unsigned long long)whole, hundredths / 10);
	else
		snprintf(out, SIZE_TEXT_CAP, "%llu.%02u", (unsigned long long)whole, hundredths);
	return out;
}
