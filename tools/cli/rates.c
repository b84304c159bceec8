/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/cli/rates.h"

#include <errno.h>
#include <stdlib.h>

#include "tools/cli/say.h"
#include "tools/words/duration.h"

int rates_parse_iops(const char *command, const char *name, const char *text, uint64_t *iops)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value > INT64_MAX)
		return say_usage(command, "%s: '%s' is not a number of requests a second", name,
				 text);
	*iops = value;
	return 0;
}

int rates_parse_time(const char *command, const char *name, const char *text, uint64_t *ns)
{
	const char *why;

	if (!duration_parse(text, ns, &why))
		return 0;
	return say_usage(command, "%s: '%s': %s", name, text, why);
}

int rates_take(struct bpull_job_options *job, const char *command, int option, const char *text)
{
	switch (option) {
	case OPTIONS_IOPS: return rates_parse_iops(command, "--iops", text, &job->iops);
	case OPTIONS_WITHIN: return rates_parse_time(command, "--within", text, &job->within_ns);
	case OPTIONS_GUEST_P99:
		return rates_parse_time(command, "--guest-p99", text, &job->guest_p99_ns);
	case OPTIONS_MIN_RATE:
		return options_size(command, "--min-rate", text, SIZE_RATE, &job->min_rate);
	default: return -1;
	}
}

const char *rates_given(const struct bpull_job_options *job)
{
	if (job->iops)
		return "--iops";
	if (job->within_ns)
		return "--within";
	if (job->guest_p99_ns)
		return "--guest-p99";
	return job->min_rate ? "--min-rate" : NULL;
}
