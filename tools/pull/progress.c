/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One line's facts are gathered once and then laid out for the bar or the log.
 * On a terminal the least important part goes first when the width shrinks: the
 * bar itself, then the name, the limit, the ETA. The width is asked for at each
 * drawing, ten times a second at most, so no SIGWINCH handler is needed. The
 * last column stays empty: writing there makes some terminals wrap.
 *
 * The rate is of bytes moved. Both it and the ETA are made of sliding means; what
 * a control socket tells is made of longer ones, by words/job_json.c.
 */
#include "tools/pull/progress.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/cli/say.h"
#include "tools/clock/monotonic.h"
#include "tools/words/job_json.h"
#include "tools/words/size.h"
#include "tools/words/text.h"

#define PROGRESS_SECOND_NS   INT64_C(1000000000)
#define PROGRESS_SMOOTH_S    3.0
#define PROGRESS_COLUMNS_MAX 240
#define PROGRESS_NAME_MAX    30
#define PROGRESS_BAR_MIN     10
#define PROGRESS_BAR_MAX     40
#define PROGRESS_FACT_CAP    48
#define PROGRESS_LINE_CAP    2048

/* Each begins with two blanks, or is empty. */
struct progress_facts {
	char percent[PROGRESS_FACT_CAP];
	char amount[PROGRESS_FACT_CAP];
	char rate[PROGRESS_FACT_CAP];
	char limit[PROGRESS_FACT_CAP];
	char eta[PROGRESS_FACT_CAP];
	char network[PROGRESS_FACT_CAP];
	unsigned thousandths;
};

static int64_t progress_interval_ns(const struct progress *progress)
{
	switch (progress->mode) {
	case PROGRESS_BAR:
	case PROGRESS_QEMU: return PROGRESS_SECOND_NS / 10;
	case PROGRESS_JSON: return PROGRESS_SECOND_NS / 4;
	case PROGRESS_AUTO:
	case PROGRESS_PLAIN:
	case PROGRESS_NONE: break;
	}
	return 10 * PROGRESS_SECOND_NS;
}

void progress_open(struct progress *progress, enum progress_mode mode, uint64_t bandwidth,
		   unsigned n_images)
{
	if (mode == PROGRESS_AUTO)
		mode = say_terminal() ? PROGRESS_BAR : PROGRESS_PLAIN;
	*progress = (struct progress){
		.mode = mode,
		.bandwidth = bandwidth,
		.n_images = n_images,
		.moved.rate = -1,
		.worked.rate = -1,
		.walked.rate = -1,
	};
	/* JSON begins with a line, and so do percents. A log is told after a second that something
	 * goes on, and stays free of pulls that are over by then; so does a terminal of what would
	 * only flash up. */
	progress->next_ns = (int64_t)monotonic_ns();
	if (mode == PROGRESS_QEMU)
		percent_show(&progress->percent, 0);
	else if (mode == PROGRESS_PLAIN)
		progress->next_ns += PROGRESS_SECOND_NS;
	else if (mode == PROGRESS_BAR)
		progress->next_ns += progress_interval_ns(progress);
}

int progress_timeout_ms(const struct progress *progress)
{
	int64_t left_ns;

	if (progress->mode == PROGRESS_NONE)
		return -1;
	left_ns = progress->next_ns - (int64_t)monotonic_ns();
	return left_ns > 0 ? left_ns / 1000000 + 1 : 0;
}

bool progress_due(const struct progress *progress)
{
	return progress->mode != PROGRESS_NONE && (int64_t)monotonic_ns() >= progress->next_ns;
}

void progress_add(struct progress_now *now, const struct bpull_job_info *info)
{
	uint64_t moved = info->copied_bytes + info->cloned_bytes;
	uint64_t worked = moved + info->zero_bytes;
	uint64_t settled = worked + info->present_bytes + info->skipped_bytes;

	now->limit += info->limit;
	now->is_unlimited |= !info->limit;
	now->has_own_limits |= info->bandwidth != 0;
	now->cur += info->cur;
	now->end += info->end;
	now->moved += moved;
	now->worked += worked;
	now->walked += info->cur > info->present_bytes ? info->cur - info->present_bytes : 0;
	now->left += info->end > settled ? info->end - settled : 0;
	if (info->state != BPULL_JOB_STOPPING && info->cur < info->end)
		now->copying = true;
}

/* A plain mean at first, then an exponential one. A sum that fell (an image ended) is skipped. */
static void progress_smooth(struct progress_rate *rate, uint64_t sum, double seconds, double total)
{
	if (sum >= rate->sampled) {
		double horizon = PROGRESS_SMOOTH_S + seconds;
		double weight = seconds / (total < horizon ? total : horizon);
		double latest = (sum - rate->sampled) / seconds;
		rate->rate = rate->rate < 0 ? latest : rate->rate + (latest - rate->rate) * weight;
	}
	rate->sampled = sum;
}

void progress_sample(struct progress *progress, const struct progress_now *now)
{
	int64_t now_ns = (int64_t)monotonic_ns();

	if (!progress->sampled_ns) {
		progress->began_ns = now_ns;
		progress->moved.sampled = now->moved;
		progress->worked.sampled = now->worked;
		progress->walked.sampled = now->walked;
	} else if (now_ns - progress->sampled_ns < PROGRESS_SECOND_NS / 12) {
		return;
	} else {
		double seconds = (now_ns - progress->sampled_ns) / 1e9;
		double total = (now_ns - progress->began_ns) / 1e9;
		progress_smooth(&progress->moved, now->moved, seconds, total);
		progress_smooth(&progress->worked, now->worked, seconds, total);
		progress_smooth(&progress->walked, now->walked, seconds, total);
	}
	progress->sampled_ns = now_ns;
}

/* Seconds until the end; negative: not known. */
static double progress_seconds_left(const struct progress *progress, const struct progress_now *now)
{
	return job_seconds_by_bounds(now->end - now->cur, progress->walked.rate, now->left,
				     progress->worked.rate);
}

static void progress_eta(double seconds, char out[PROGRESS_FACT_CAP])
{
	unsigned left;

	if (seconds > 99 * 86400.0) {
		snprintf(out, PROGRESS_FACT_CAP, "  ETA > 99 days");
		return;
	}
	left = seconds + 0.5;
	if (left >= 86400)
		snprintf(out, PROGRESS_FACT_CAP, "  ETA %ud%02uh", left / 86400, left / 3600 % 24);
	else if (left >= 3600)
		snprintf(out, PROGRESS_FACT_CAP, "  ETA %u:%02u:%02u", left / 3600, left / 60 % 60,
			 left % 60);
	else
		snprintf(out, PROGRESS_FACT_CAP, "  ETA %u:%02u", left / 60, left % 60);
}

/* The limit that holds now for all that run, bytes/s; 0: there is none. */
static uint64_t progress_limit(const struct progress *progress, const struct progress_now *now)
{
	uint64_t own = now->is_unlimited ? 0 : now->limit;
	uint64_t shared = progress->is_job_limit || now->has_own_limits ? 0 : progress->bandwidth;

	if (!own || !shared)
		return own + shared;
	return own < shared ? own : shared;
}

static struct progress_facts progress_gather(const struct progress *progress,
					     const struct progress_now *now)
{
	struct progress_facts facts = { 0 };
	char one[SIZE_TEXT_CAP], other[SIZE_TEXT_CAP];
	double part = now->end ? (double)now->cur / now->end : 0;
	double seconds_left;
	uint64_t limit;

	facts.thousandths = part >= 1 ? 1000 : part * 1000;
	snprintf(facts.percent, sizeof(facts.percent), "  %3u%%", facts.thousandths / 10);
	snprintf(facts.amount, sizeof(facts.amount), "  %s / %s", size_text(now->cur, one),
		 size_text(now->end, other));
	if (progress->moved.rate >= 0)
		snprintf(facts.rate, sizeof(facts.rate), "  %s MiB/s",
			 size_text_mib(progress->moved.rate, one));
	limit = progress_limit(progress, now);
	if (limit)
		snprintf(facts.limit, sizeof(facts.limit), "  limit %s MiB/s",
			 size_text_mib(limit, one));
	if (now->has_servers)
		snprintf(facts.network, sizeof(facts.network), "  network %s%s%s",
			 size_text(now->from_servers, one), now->servers_well ? "" : ", ",
			 now->servers_well ? "" : now->server_state);
	seconds_left = progress_seconds_left(progress, now);
	if (!now->copying)
		snprintf(facts.eta, sizeof(facts.eta), "  finishing");
	else if (seconds_left >= 0)
		progress_eta(seconds_left, facts.eta);
	return facts;
}

/* "[3/8] name": which of the images this is about. */
static void progress_title(const struct progress *progress, const struct progress_now *now,
			   char *out, size_t cap)
{
	char safe[PROGRESS_LINE_CAP / 4];
	const char *slash = strrchr(now->name, '/');
	text_safe(slash && slash[1] ? slash + 1 : now->name, safe, sizeof(safe));
	text_fit(safe, PROGRESS_NAME_MAX);
	if (now->n_active > 1)
		snprintf(out, cap, "[%u/%u] %u images", now->n_done, progress->n_images,
			 now->n_active);
	else if (progress->n_images > 1)
		snprintf(out, cap, "[%u/%u] %s", now->n_done + 1, progress->n_images, safe);
	else
		snprintf(out, cap, "%s", safe);
}

static unsigned progress_columns(void)
{
	struct winsize size;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return 80;
	return size.ws_col < PROGRESS_COLUMNS_MAX ? size.ws_col : PROGRESS_COLUMNS_MAX;
}

/* "  [######----]", n_cells (> 0) wide inside. */
static void progress_bar(unsigned thousandths, unsigned n_cells, char *out)
{
	unsigned n_full = (uint64_t)thousandths * n_cells / 1000;
	const char *colour = say_colour() ? "\033[32m" : "";

	out += sprintf(out, "  [%s", colour);
	memset(out, '#', n_full);
	out += n_full;
	out += sprintf(out, "%s", *colour ? "\033[0m" : "");
	memset(out, '.', n_cells - n_full);
	strcpy(out + n_cells - n_full, "]");
}

static void progress_draw(struct progress *progress, const struct progress_now *now)
{
	struct progress_facts facts = progress_gather(progress, now);
	char *title_or_fact[] = { NULL,        facts.percent, facts.amount, facts.rate,
				  facts.limit, facts.eta,     facts.network };
	char line[PROGRESS_LINE_CAP];

	/* What goes, in this order, when it does not fit: title, limit, amount, network, ETA, rate.
	 */
	static const int expendable[] = { 0, 4, 2, 6, 5, 3 };
	char title[PROGRESS_LINE_CAP / 2], bar[PROGRESS_BAR_MAX + 32] = "";
	unsigned room = progress_columns() - 1, used = 0;

	progress_title(progress, now, title, sizeof(title));
	title_or_fact[0] = title;
	for (size_t i = 0; i < 7; i++)
		used += text_columns(title_or_fact[i]);
	for (size_t i = 0; i < 6 && used > room; i++) {
		char *gone = title_or_fact[expendable[i]];
		used -= text_columns(gone);
		*gone = 0;
	}
	if (room >= used + 4 + PROGRESS_BAR_MIN) {
		unsigned n_cells = room - used - 4;
		progress_bar(facts.thousandths,
			     n_cells < PROGRESS_BAR_MAX ? n_cells : PROGRESS_BAR_MAX, bar);
	}
	snprintf(line, sizeof(line), "\r%s%s%s%s%s%s%s%s\033[K", title, bar, facts.percent,
		 facts.amount, facts.rate, facts.limit, facts.eta, facts.network);
	if (used <= room) {
		fputs(line, stderr);
		progress->drawn = true;
	}
}

/* A job in the background must neither scribble over the shell nor be stopped by SIGTTOU. */
static bool progress_in_background(void)
{
	pid_t foreground = tcgetpgrp(STDERR_FILENO);
	return foreground > 0 && foreground != getpgrp();
}

static void progress_print(const struct progress *progress, const struct progress_now *now)
{
	struct progress_facts facts = progress_gather(progress, now);
	char title[PROGRESS_LINE_CAP / 2];
	progress_title(progress, now, title, sizeof(title));
	say_note("%s:%s%s%s%s%s%s", title, facts.percent, facts.amount, facts.rate, facts.limit,
		 facts.eta, facts.network);
}

/* Of all images: those that ended whole, those that run by what is done of them. */
static double progress_part(const struct progress *progress, const struct progress_now *now)
{
	double running = now->end ? (double)now->cur / now->end * now->n_active : 0;
	return (now->n_done + running) / progress->n_images;
}

void progress_show(struct progress *progress, const struct progress_now *now)
{
	progress->next_ns = (int64_t)monotonic_ns() + progress_interval_ns(progress);
	if (!now->n_active || progress->mode == PROGRESS_JSON)
		return;
	progress_sample(progress, now);
	if (progress->mode == PROGRESS_QEMU)
		percent_show(&progress->percent, progress_part(progress, now));
	else if (progress->mode == PROGRESS_PLAIN)
		progress_print(progress, now);
	else if (!progress_in_background())
		progress_draw(progress, now);
}

void progress_line(struct progress *progress, const struct progress_now *now)
{
	progress_clear(progress);
	progress_sample(progress, now);
	progress_print(progress, now);
}

static struct json_object *progress_json_network(const struct progress_now *now)
{
	struct json_object *network = json_object_new_object();

	json_object_object_add(network, "bytes-read", json_object_new_uint64(now->from_servers));
	json_object_object_add(network, "state", json_object_new_string(now->server_state));
	return network;
}

/* What all images share is the engine's limit, of which the job does not know. */
static void progress_share_limits(const struct progress *progress, struct bpull_job_info *shown)
{
	bool is_shared = progress->bandwidth && !shown->bandwidth;

	shown->bandwidth = progress->bandwidth;
	shown->iops = progress->iops;
	if (is_shared && (!shown->limit || shown->limit > progress->bandwidth))
		shown->limit = progress->bandwidth;
}

void progress_json(const struct progress *progress, const char *name,
		   const struct bpull_job_info *info, const struct progress_now *now)
{
	struct json_object *line = json_object_new_object();
	struct bpull_job_info shown;

	json_object_object_add(line, "event", json_object_new_string("progress"));
	json_object_object_add(line, "filename", say_json_text(name));
	shown = *info;
	if (!progress->is_job_limit)
		progress_share_limits(progress, &shown);
	job_json_progress(line, &shown, &(struct job_since){ 0 });
	if (now->has_servers)
		json_object_object_add(line, "network", progress_json_network(now));
	say_json(line, SAY_JSON_LINE);
}

void progress_clear(struct progress *progress)
{
	if (!progress->drawn)
		return;
	fputs("\r\033[K", stderr);
	progress->drawn = false;
}

void progress_close(struct progress *progress, bool done)
{
	if (progress->mode == PROGRESS_QEMU)
		percent_end(&progress->percent, done);
}
