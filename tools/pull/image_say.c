/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An image's result for people. It only reads what image.c has kept, as image_json.c does. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli/fd_map.h"
#include "tools/cli/say.h"
#include "tools/pull/image.h"
#include "tools/pull/progress.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

static void pull_say_summary(const struct pull_image *image)
{
	const struct bpull_job_info *info = &image->info;
	char copied[SIZE_TEXT_CAP], zero[SIZE_TEXT_CAP], skipped[SIZE_TEXT_CAP],
		present[SIZE_TEXT_CAP], cloned[SIZE_TEXT_CAP], rate[SIZE_TEXT_CAP];
	char verified[SIZE_TEXT_CAP], verified_part[SIZE_TEXT_CAP + 16] = "";
	char cloned_part[SIZE_TEXT_CAP + 16] = "";
	char past[SIZE_TEXT_CAP], past_part[SIZE_TEXT_CAP + 32] = "";
	double seconds = info->elapsed_ns / 1e9;
	uint64_t moved = info->copied_bytes + info->cloned_bytes;

	if (info->verified_bytes)
		snprintf(verified_part, sizeof(verified_part), ", %s verified",
			 size_text(info->verified_bytes, verified));
	if (info->cloned_bytes)
		snprintf(cloned_part, sizeof(cloned_part), "%s cloned, ",
			 size_text(info->cloned_bytes, cloned));
	if (info->past_cache_bytes)
		snprintf(past_part, sizeof(past_part), ", %s read past the page cache",
			 size_text(info->past_cache_bytes, past));
	if (image->out)
		say_note("%s: made '%s', which needs no other file", image->path, image->out);
	if (image->base && !image->kind)
		say_note("%s: its backing file is %s now", image->path, image->base);
	say_note("%s: %s copied, %s%s zero, %s skipped, %s already there%s%s, %.2f s (%s MiB/s)",
		 image->path, size_text(info->copied_bytes, copied), cloned_part,
		 size_text(info->zero_bytes, zero), size_text(info->skipped_bytes, skipped),
		 size_text(info->present_bytes, present), verified_part, past_part, seconds,
		 size_text_mib(seconds > 0 ? moved / seconds : 0, rate));
}

static void pull_image_say_stopped(const struct pull_image *image)
{
	char kept[SIZE_TEXT_CAP];
	const char *name = image->code > EXIT_CODE_SIGNAL
				   ? strsignal(image->code - EXIT_CODE_SIGNAL)
				   : "aborted through the control socket";
	if (image->out)
		say_error("'%s': stopped (%s); '%s' was not made", image->path, name, image->out);
	else if (!image->info.type)
		say_error("'%s': stopped before the %s began (%s)", image->path,
			  image->kind ? image->kind->noun : "pull", name);
	else
		say_error("'%s': stopped (%s); %s copied are kept and the image is valid",
			  image->path, name,
			  size_text(image->info.copied_bytes + image->info.cloned_bytes, kept));
	if (image->error.code == -ESTALE) /* it would go on with another base */
		say_error("%s", image->error.message);
	else if (image->code == EXIT_CODE_SIGNAL + SIGXCPU)
		say_hint("raise the limit on processor time (ulimit -t), then run the same command "
			 "again");
	else if (!image->out)
		say_hint("run the same command again to go on");
}

static void pull_say_failed(const struct pull_image *image)
{
	/* Of a job there is more to say than of its error. */
	if (!image->info.type || image->error.code == -EUCLEAN) {
		say_failed(&image->error, image->error.code);
		return;
	}
	say_failed_bare(&image->error, image->error.code);
	if (image->error.code == -ESTALE && !image->out)
		return; /* what was said is all that helps: to go on would mix two states */
	if (image->out)
		say_hint("'%s' was not made; the same command may be run again", image->out);
	else if (image->kind)
		image->kind->say_kept(image);
	else
		say_hint("'%s' keeps its backing file and what was copied; run the same command "
			 "again to go on",
			 image->path);
}

void pull_image_say(const struct pull_image *image, bool quiet)
{
	if (image->code > EXIT_CODE_SIGNAL || !strcmp(image->status, "canceled")) {
		pull_image_say_stopped(image);
	} else if (image->code) {
		pull_say_failed(image);
	} else if (!quiet && image->kind) {
		if (image->kind->say_done(image))
			pull_say_summary(image);
	} else if (!quiet && image->depth == 1 && !image->out) {
		say_note("%s: has no backing file; there is nothing to pull", image->path);
	} else if (!quiet) {
		pull_say_summary(image);
	}
}

void pull_image_say_plan(const struct pull_image *image, const struct pull_plan *plan)
{
	char copy[SIZE_TEXT_CAP], skipped[SIZE_TEXT_CAP], present[SIZE_TEXT_CAP];
	if (!image->code && image->kind)
		image->kind->say_plan(image, plan);
	else if (image->code || image->depth == 1)
		pull_image_say(image, false);
	else
		say_note("%s: would copy at most %s from %u backing %s, %s skipped, %s already "
			 "there; nothing was changed",
			 image->path, size_text(plan->copy_bytes, copy), image->depth - 1,
			 image->depth == 2 ? "file" : "files",
			 size_text(plan->skipped_bytes, skipped),
			 size_text(plan->present_bytes, present));
}
