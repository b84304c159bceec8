/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One image of a pull, from its name to its summary. */
#ifndef TOOLS_PULL_IMAGE_H
#define TOOLS_PULL_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"

struct json_object;

enum pull_state {
	PULL_UNTRIED = 0,
	PULL_RUNNING,
	PULL_ENDED,
};

struct progress;
struct progress_now;
struct pull_image;
struct pull_plan;

/* What another verb's image differs in from a pull's. */
struct pull_kind {
	const char *noun; /* "pull" */
	/* What it has been good for, where it is closed and all is well: does what is left to do,
	 * and gives the exit code. NULL: there is nothing. */
	int (*done)(struct pull_image *image);
	/* Lines of the summary, before the one of figures, and whether that follows. */
	bool (*say_done)(const struct pull_image *image);
	/* What is said of a dry run that found nothing wrong. */
	void (*say_plan)(const struct pull_image *image, const struct pull_plan *plan);
	/* What the images are like after a failure. */
	void (*say_kept)(const struct pull_image *image);
	/* Members of the JSON line of its own. */
	void (*add_json)(const struct pull_image *image, struct json_object *line);
};

struct pull_image {
	const char *path;
	const struct pull_kind *kind; /* NULL: a pull, or a flatten */
	enum pull_state state;
	const char *status; /* for JSON: "completed", "failed", "canceled", "dry-run" */
	int code;           /* exit code, once ended */
	unsigned depth;     /* images in the chain; 0: it was not opened */
	const char *out;    /* flatten: the new file, as new_image says; NULL: a pull */
	const struct bpull_create_options *new_image;
	bool quiet;             /* errors and warnings only */
	bool is_last;           /* nothing is opened after it: the sandbox is closed */
	unsigned sandbox_names; /* enum sandbox_names, what is allowed then */
	const char *base;       /* what it is to read from afterwards; NULL: nothing */
	uint64_t virtual_size;
	struct bpull_disk *disk; /* while running */
	bool late_said;          /* of this image, and it is late still */
	struct bpull_job_info info;
	struct bpull_error error; /* code 0: none */
	/* The files that its chain has lost by the job, the upper ones first; of a kind that asks.
	 * Owned: dropped_forget(). */
	char **dropped;
	unsigned n_dropped;
};

/* What a pull would do. */
struct pull_plan {
	uint64_t copy_bytes; /* at most: zeros are found only by reading */
	uint64_t present_bytes, skipped_bytes;
};

/* Why an image must be tried again when another one has ended. */
enum pull_wait {
	PULL_WAIT_NONE = 0,
	PULL_WAIT_FILES, /* the process has too many open */
	PULL_WAIT_IMAGE, /* one that is being pulled has this one's files */
};

/* Opens the image and starts its job. What fails is kept in the image, which has ended then; but
 * with may_wait, where it is worth waiting, the image is as untried as before, and the result says
 * for what. */
enum pull_wait pull_image_start(struct pull_image *image, struct bpull_engine *engine,
				const struct bpull_disk_options *options,
				const struct bpull_job_options *job, bool may_wait);
/* Has a running pull that an error stopped try again. */
void pull_image_go_on(struct pull_image *image);
/* Takes the end of its job and closes it. `signal` is what asked for a stop, or 0. */
void pull_image_conclude(struct pull_image *image, const struct bpull_event *event, int signal);
/* Ends an image that was not begun, or must be given up, because of a signal. */
void pull_image_stop(struct pull_image *image, int signal);
/* For --dry-run: finds out what a pull would do and ends the image. Changes nothing. */
void pull_image_plan(struct pull_image *image, struct bpull_engine *engine,
		     const struct bpull_disk_options *options, const struct bpull_job_options *job,
		     struct pull_plan *plan);

/* Adds the numbers of those of n images that are being pulled to *now. */
void pull_images_add(const struct pull_image *images, unsigned n, struct progress_now *now);
/* A line of --progress=json for each of them. */
void pull_images_json(const struct pull_image *images, unsigned n, struct progress *progress,
		      const struct progress_now *now);
/* The image's end on stderr: an error always, a summary unless quiet. */
void pull_image_say(const struct pull_image *image, bool quiet);
void pull_image_say_plan(const struct pull_image *image, const struct pull_plan *plan);
/* The same as one JSON line on stdout; plan NULL: a real pull. network: what is said of servers, or
 * NULL; it is not the caller's any more. */
void pull_image_json(const struct pull_image *image, const struct pull_plan *plan,
		     struct json_object *network);

#endif
