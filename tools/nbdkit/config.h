/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The nbdkit plugin's parameters: what is asked for, and what does not go
 * together. nbdkit's thread fills it before the server begins; it is read only
 * from then on.
 */
#ifndef TOOLS_NBDKIT_CONFIG_H
#define TOOLS_NBDKIT_CONFIG_H

#include <stdbool.h>

#include "engine/blockpull.h"
#include "tools/bases/bases.h"
#include "tools/control/state/names.h"
#include "tools/trace/first.h"
#include "tools/words/backing_format.h"

#define CONFIG_MAX_DIRS 64

struct plugin_config {
	char *image, *base, *control, *trace;
	char *host_budget; /* FILE[:RATE] */
	char *device; /* the image as it was given: its name for clients of the control socket */
	char *started_in; /* the directory; behind the fork nbdkit is in another */
	const char *dirs[CONFIG_MAX_DIRS];
	struct bpull_engine_options engine;
	struct bpull_disk_options disk;
	struct bpull_job_options job;
	struct backing_formats formats;
	struct bases bases;
	struct control_names names; /* of the chain's files, for clients of the control socket */
	struct first first;         /* what a pull copies before the rest */
	int read_only, pull, manual_finalize, verify, copy_on_read, accept_mixed;
	bool rule_given;
};

extern struct plugin_config plugin_config;

/* First of all: what nbdkit itself was told. */
void config_load(void);
/* One parameter. -1: it is refused, and nbdkit_error() was told why. */
int config_take(const char *key, const char *value);
/* All parameters were taken: fills the options. -1 as above. */
int config_finish(void);
/* Whether a client may ask for the disk by this name: none, or the one that nbdkit was told by
 * -e. */
bool config_is_export(const char *name);
void config_free(void);

#endif
