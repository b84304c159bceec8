/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define NBDKIT_API_VERSION 2

#include "tools/nbdkit/numbers.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include <nbdkit-plugin.h>

#include "tools/words/duration.h"
#include "tools/words/size.h"

int numbers_take_size(const char *key, const char *value, void *to)
{
	const char *why;

	if (!size_parse(value, SIZE_RATE, to, &why))
		return 0;
	nbdkit_error("%s: '%s': %s", key, value, why);
	return -1;
}

int numbers_take_count(const char *key, const char *value, void *to)
{
	char *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(value, &end, 10);
	if (*value < '0' || *value > '9' || *end || errno) {
		nbdkit_error("%s: '%s' is not a number", key, value);
		return -1;
	}
	*(uint64_t *)to = number;
	return 0;
}

int numbers_take_time(const char *key, const char *value, void *to)
{
	const char *why;

	if (!duration_parse(value, to, &why))
		return 0;
	nbdkit_error("%s: '%s': %s", key, value, why);
	return -1;
}
