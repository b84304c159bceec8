/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A time, or a least rate, that can't be kept is said once, and again when it can: the library
 * finds out, the command looks each time it wakes.
 */
#include "tools/pull/late.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "engine/blockpull.h"
#include "tools/cli/rates.h"
#include "tools/cli/say.h"
#include "tools/pull/image.h"
#include "tools/pull/options.h"
#include "tools/pull/progress.h"
#include "tools/words/duration.h"
#include "tools/words/size.h"

#define LATE_TEXT_CAP 4352 /* a path, and what is said of it */

/* What is new of the image, which counts as said from here on. False: nothing is. */
static bool late_take_sentence(struct pull_image *image, char *out, size_t out_len)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	char needed[SIZE_TEXT_CAP], time[DURATION_TEXT_CAP];

	bpull_job_get_info(image->disk, &info);
	if (image->late_said == !!info.is_late || info.state != BPULL_JOB_RUNNING)
		return false;
	image->late_said = info.is_late;
	if (!info.is_late)
		snprintf(out, out_len, "'%s' is in time again", image->path);
	else if (info.within_ns && info.needed_rate > info.min_rate)
		snprintf(out, out_len,
			 "warning: '%s' can't be done within %s: it would need %s/s from now on, "
			 "and goes as fast as it can",
			 image->path, duration_text(info.within_ns, time),
			 size_text(info.needed_rate, needed));
	else if (info.within_ns && info.elapsed_ns >= info.deadline_ns)
		snprintf(out, out_len, "warning: '%s' is not done within %s, and goes on",
			 image->path, duration_text(info.within_ns, time));
	else
		snprintf(out, out_len, "warning: '%s' does not reach %s/s (--min-rate)",
			 image->path, size_text(info.min_rate, needed));
	return true;
}

void late_say(const struct pull_options *options, struct pull_image *images, unsigned n,
	      struct progress *progress)
{
	char text[LATE_TEXT_CAP];

	if (options->line.quiet)
		return;
	for (unsigned i = 0; i < n; i++) {
		if (images[i].state != PULL_RUNNING ||
		    !late_take_sentence(&images[i], text, sizeof(text)))
			continue;
		progress_clear(progress);
		say_note("%s", text);
	}
}
