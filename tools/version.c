/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull --version. The first line is all that scripts need; the others are
 * for a report of a fault. Which way of I/O an engine takes here is found by
 * opening one, because a container's filter refuses io_uring without a sign.
 */
#include "tools/version.h"

#include <stddef.h>

#include "engine/blockpull.h"
#include "tools/cli/say.h"

/* "io_uring", "threads"; "none": no engine can be opened. */
static const char *version_backend(void)
{
	struct bpull_engine_options options = { .size = sizeof(options) };
	struct bpull_engine *engine = NULL;
	const char *name = "none";

	if (!bpull_engine_open(&options, &engine, NULL))
		name = *bpull_engine_io_name(engine) == 'u' ? "io_uring" : "threads";
	bpull_engine_close(engine);
	return name;
}

void version_print(void)
{
	say_data("blockpull %s\n", bpull_version());
	say_data("backends: io_uring threads (here: %s)\n", version_backend());
	say_data("formats:");
	for (int format = BPULL_FORMAT_RAW; bpull_format_by_name(bpull_format_name(format));
	     format++)
		say_data(" %s", bpull_format_name(format));
	say_data("\n");
	say_data("features: %s\n", VERSION_FEATURES);
}
