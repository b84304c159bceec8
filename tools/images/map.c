/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull map: the extents of the guest's disk as `qemu-img map` gives them,
 * merged the same way. The library maps a batch at a time and merges within
 * it; this file merges across batches.
 *
 * The JSON is written line by line instead of through json-c: it holds numbers
 * and booleans only, and a large disk has millions of extents. When mapping
 * fails halfway the array stays open, so that no parser takes it for whole.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "engine/blockpull.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/images/verbs.h"
#include "tools/words/exit_code.h"

#define MAP_BATCH 512

static const char map_help[] =
	"Usage: blockpull map [OPTION...] IMAGE\n"
	"\n"
	"Lists the ranges of the guest's disk: which image of the chain answers (depth 0\n"
	"is IMAGE itself), whether they hold data or read as zeros, and where they lie.\n"
	"\n"
	"Options:\n"
	"  --json               as JSON, with the fields of qemu-img map --output=json\n"
	"  --force-share        take no locks: for images in use; what is read may be\n"
	"                       half-written\n" OPTIONS_CHAIN_HELP OPTIONS_REMOTE_HELP
		OPTIONS_TLS_HELP "  -f, --format FMT     the image's format: raw, qcow2 or qed\n"
	"                       (default: detected)\n"
	"  --holes MODE         auto, read or trust: which holes of raw files are shown as\n"
	"                       zeros\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n";

static const struct option map_table[] = {
	OPTIONS_JSON,  OPTIONS_CHAIN, OPTIONS_REMOTE, OPTIONS_HOLES,
	OPTIONS_SHARE, OPTIONS_HELP,  OPTIONS_END,
};

struct map_printer {
	bool json;
	uint64_t n_printed;
	struct bpull_extent pending; /* may still grow; length 0: none */
};

static const char *map_bool(int value)
{
	return value ? "true" : "false";
}

static void map_print_json(const struct map_printer *printer, const struct bpull_extent *extent)
{
	say_data("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %" PRIu32
		 ", \"present\": %s, \"zero\": %s, \"data\": %s, \"compressed\": %s",
		 printer->n_printed ? "" : "[", extent->start, extent->length, extent->depth,
		 map_bool(extent->present), map_bool(extent->zero), map_bool(extent->data),
		 map_bool(extent->compressed));
	if (extent->has_offset)
		say_data(", \"offset\": %" PRIu64, extent->offset);
	say_data("}");
}

static void map_print_columns(void)
{
	say_data("%-18s %-18s %-5s %-15s %s\n", "Start", "Length", "Depth", "Kind",
		 "Offset in file");
}

static void map_print_text(const struct map_printer *printer, const struct bpull_extent *extent)
{
	const char *kind = "data";
	if (!extent->present)
		kind = "unallocated";
	else if (extent->zero)
		kind = "zero";
	else if (extent->compressed)
		kind = "compressed";
	if (!printer->n_printed)
		map_print_columns();
	say_data("%#-18" PRIx64 " %#-18" PRIx64 " %-5" PRIu32 " ", extent->start, extent->length,
		 extent->depth);
	if (extent->has_offset)
		say_data("%-15s %#" PRIx64 "\n", kind, extent->offset);
	else
		say_data("%s\n", kind);
}

/* A disk of no bytes: the columns alone, or the one range of no length that qemu-img prints. */
static void map_print_empty(const struct map_printer *printer)
{
	const struct bpull_extent nothing = { 0 };

	if (printer->json)
		map_print_json(printer, &nothing);
	else
		map_print_columns();
}

static void map_flush(struct map_printer *printer)
{
	if (!printer->pending.length)
		return;
	if (printer->json) {
		if (printer->n_printed)
			say_data(",\n");
		map_print_json(printer, &printer->pending);
	} else {
		map_print_text(printer, &printer->pending);
	}
	printer->n_printed++;
	printer->pending.length = 0;
}

static bool map_can_merge(const struct bpull_extent *a, const struct bpull_extent *b)
{
	return a->length && a->start + a->length == b->start && a->depth == b->depth &&
	       a->present == b->present && a->zero == b->zero && a->data == b->data &&
	       a->compressed == b->compressed && a->has_offset == b->has_offset &&
	       (!a->has_offset || a->offset + a->length == b->offset);
}

static void map_add(struct map_printer *printer, const struct bpull_extent *extent)
{
	if (map_can_merge(&printer->pending, extent)) {
		printer->pending.length += extent->length;
		return;
	}
	map_flush(printer);
	printer->pending = *extent;
}

static int map_disk(struct bpull_disk *disk, bool json, struct bpull_error *error)
{
	struct map_printer printer = { .json = json };
	uint64_t start = 0, size = bpull_disk_size(disk);
	while (start < size) {
		struct bpull_extent extents[MAP_BATCH];
		int n = bpull_disk_map(disk, start, extents, MAP_BATCH, error);
		for (int i = 0; i < n; i++)
			map_add(&printer, &extents[i]);
		if (n <= 0)
			return n ? n : -EIO; /* an end before the end */
		start = extents[n - 1].start + extents[n - 1].length;
	}
	map_flush(&printer);
	if (!printer.n_printed)
		map_print_empty(&printer);
	if (json)
		say_data("]\n");
	return 0;
}

static int map_run(struct command_line *line)
{
	struct bpull_engine_options engine_options = { .size = sizeof(engine_options) };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	struct bpull_error error = { 0 };
	int code, rc = bpull_engine_open(&engine_options, &engine, &error);

	if (!rc)
		rc = bpull_disk_open(engine, line->words[0], &line->chain.disk, &disk, &error);
	if (!rc)
		rc = fd_map_judge(&line->chain.disk, &error);
	if (!rc)
		sandbox_enter(SANDBOX_NO_NAMES);
	if (!rc)
		say_disk_hint(bpull_disk_hint(disk));
	if (!rc)
		rc = map_disk(disk, line->json, &error);
	code = rc ? say_failed(&error, rc) : EXIT_CODE_DONE;
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return code;
}

const struct command map_command = {
	.name = "map",
	.summary = "list what the guest's disk consists of",
	.help = map_help,
	.letters = ":f:h",
	.options = map_table,
	.line_size = sizeof(struct command_line),
	.min_words = 1,
	.max_words = 1,
	.too_few = "an image's name is missing",
	.too_many = "map lists one image at a time",
	.check = command_check_reader,
	.run = map_run,
};
