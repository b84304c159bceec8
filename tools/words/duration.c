/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Each unit once and the largest first: "30m1h" is more likely a mistake than a wish. Fractions
 * were rejected: "1.5h" is "1h30m".
 */
#include "tools/words/duration.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *suffix, *shown;
	uint64_t ns;
} duration_units[] = {
	{ "d", "d", UINT64_C(86400000000000) }, { "h", "h", UINT64_C(3600000000000) },
	{ "m", "min", UINT64_C(60000000000) },  { "s", "s", UINT64_C(1000000000) },
	{ "ms", "ms", UINT64_C(1000000) },      { "us", "us", UINT64_C(1000) },
};

#define N_UNITS   (sizeof(duration_units) / sizeof(duration_units[0]))
#define N_SECONDS 3 /* index of seconds */

static int duration_fail(const char **why, int code, const char *text)
{
	*why = text;
	return code;
}

/* The unit that the text begins with, of those from `from` on; N_UNITS: none. */
static size_t duration_unit(const char *text, size_t from)
{
	size_t len = strcspn(text, "0123456789");

	for (size_t i = from; i < N_UNITS; i++)
		if (strlen(duration_units[i].suffix) == len &&
		    !strncmp(text, duration_units[i].suffix, len))
			return i;
	return N_UNITS;
}

int duration_parse(const char *text, uint64_t *ns, const char **why)
{
	uint64_t total = 0;
	size_t next = 0;

	if (*text < '0' || *text > '9')
		return duration_fail(why, -EINVAL, "a time begins with a digit: 30m, 90s, 5ms");
	while (*text) {
		uint64_t number = 0;
		size_t unit;

		for (; *text >= '0' && *text <= '9'; text++)
			if (__builtin_mul_overflow(number, 10, &number) ||
			    __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
				return duration_fail(why, -ERANGE, "it is too long");
		unit = *text || next ? duration_unit(text, next) : N_SECONDS;
		if (unit == N_UNITS)
			return duration_fail(why, -EINVAL,
					     "units are d, h, m, s, ms and us, the largest first");
		text += *text ? strlen(duration_units[unit].suffix) : 0;
		next = unit + 1;
		if (__builtin_mul_overflow(number, duration_units[unit].ns, &number) ||
		    __builtin_add_overflow(total, number, &total))
			return duration_fail(why, -ERANGE, "it is too long");
	}
	*ns = total;
	return 0;
}

char *duration_text(uint64_t ns, char out[DURATION_TEXT_CAP])
{
	size_t i = 0;
	uint64_t whole, rest;

	while (i < N_UNITS - 1 && ns < duration_units[i].ns)
		i++;
	whole = ns / duration_units[i].ns;
	rest = ns % duration_units[i].ns;
	if (i < N_SECONDS)
		rest /= duration_units[i + 1].ns;
	else
		rest = rest * 10 / duration_units[i].ns;
	if (!rest)
		snprintf(out, DURATION_TEXT_CAP, "%" PRIu64 " %s", whole, duration_units[i].shown);
	else if (i < N_SECONDS)
		snprintf(out, DURATION_TEXT_CAP, "%" PRIu64 " %s %" PRIu64 " %s", whole,
			 duration_units[i].shown, rest, duration_units[i + 1].shown);
	else
		snprintf(out, DURATION_TEXT_CAP, "%" PRIu64 ".%" PRIu64 " %s", whole, rest,
			 duration_units[i].shown);
	return out;
}
