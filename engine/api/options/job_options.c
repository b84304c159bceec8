/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One check for a start, a question whether it would be refused, and a measurement of what it
 * needs. A shorter one for the measurement was rejected: it took options that no job takes.
 */
#include "engine/api/options/job_options.h"

#include <errno.h>
#include <stdint.h>

#include "engine/api/options/structs.h"
#include "engine/blockpull.h"
#include "engine/copy/walk/first.h"
#include "engine/core/export.h"
#include "io/base.h"

#define KNOWN_FLAGS                                                                        \
	(uint32_t)(BPULL_JOB_MANUAL_FINALIZE | BPULL_JOB_START_PAUSED | BPULL_JOB_VERIFY | \
		   BPULL_JOB_ACCEPT_MIXED | BPULL_JOB_KEEP)

/* The name of an option whose value is beyond its last one, or NULL. */
static const char *find_unknown(const struct bpull_job_options *o)
{
	const struct {
		const char *name;
		uint32_t value, last;
	} words[] = {
		{ "compression", o->compression, BPULL_COMPRESSION_ZSTD },
		{ "on_error", o->on_error, BPULL_ON_ERROR_IGNORE },
		{ "guest_share", o->guest_share, 100 },
		{ "copy", o->copy, BPULL_COPY_READ },
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (words[i].value > words[i].last)
			return words[i].name;
	if (o->type != BPULL_JOB_TYPE_UNKNOWN && o->type != BPULL_JOB_TYPE_PULL &&
	    o->type != BPULL_JOB_TYPE_COMMIT)
		return "type";
	return NULL;
}

int job_options_take(const struct bpull_job_options *given, struct bpull_job_options *out,
		     struct bpull_error *error)
{
	const char *unknown;

	if (!options_import(out, sizeof(*out), given))
		return error_fill(error, -EINVAL,
				  "the job options have a size that no version of their struct "
				  "has, or set what this version of the library lacks");
	if (out->flags & ~KNOWN_FLAGS)
		return error_fill(error, -EINVAL,
				  "job flags 0x%x: this version of the library knows none of them",
				  out->flags & ~KNOWN_FLAGS);
	unknown = find_unknown(out);
	if (unknown)
		return error_fill(error, -EINVAL, "the job option %s has an unknown value",
				  unknown);
	if (!out->compression && out->compression_level)
		return error_fill(error, -EINVAL,
				  "compression_level goes with compression, which is left out");
	if (!copy_first_is_sound(out))
		return error_fill(error, -EINVAL,
				  "first is NULL, where n_first says that there are ranges, or has "
				  "more than %u of them",
				  BPULL_FIRST_MAX);
	return 0;
}
