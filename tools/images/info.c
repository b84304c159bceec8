/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull info: what an image is, and whether it can be pulled into. The JSON
 * has qemu-img's names where qemu-img has a name for it, so that scripts keep
 * working; what only we know has names of its own next to them.
 *
 * The human text is not made from the JSON: its lines are worded for people and
 * may change, the JSON may only grow.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>

#include "engine/blockpull.h"
#include "tools/bases/describe.h"
#include "tools/cli/advice.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/images/info_tree.h"
#include "tools/images/verbs.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

static const char info_help[] =
	"Usage: blockpull info [OPTION...] IMAGE\n"
	"\n"
	"Describes an image: format, sizes, backing file, features, and what of it would\n"
	"make a pull refuse it.\n"
	"\n"
	"Options:\n"
	"  --chain              draw the whole backing chain and describe each of its images\n"
	"  --json               as JSON, with the field names of qemu-img info; with\n"
	"                       --chain an array\n"
	"  --force-share        take no locks: for images in use; what is read may be\n"
	"                       half-written\n" OPTIONS_CHAIN_HELP OPTIONS_REMOTE_HELP
		OPTIONS_TLS_HELP "  -f, --format FMT     the image's format: raw, qcow2 or qed\n"
	"                       (default: detected)\n"
	"  --no-sandbox         do without the seccomp filter\n"
	"  -h, --help           this text\n";

enum {
	INFO_CHAIN = OPTIONS_OWN,
};

static const struct option info_table[] = {
	{ "chain", no_argument, NULL, INFO_CHAIN },
	OPTIONS_JSON,
	OPTIONS_CHAIN,
	OPTIONS_REMOTE,
	OPTIONS_SHARE,
	OPTIONS_HELP,
	OPTIONS_END,
};

/* The backing file's name as the image's place makes it; NULL: none, or no memory. Free it. */
static char *info_full_backing_name(const struct bpull_layer_info *layer)
{
	char *full = NULL;
	const char *slash = layer->path ? strrchr(layer->path, '/') : NULL;
	if (!layer->backing_name)
		return NULL;
	/* A protocol's name does not depend on a place. */
	if (*layer->backing_name == '/' || !slash ||
	    layer->backing_name[strcspn(layer->backing_name, ":/")] == ':')
		return strdup(layer->backing_name);
	if (asprintf(&full, "%.*s/%s", (int)(slash - layer->path), layer->path,
		     layer->backing_name) < 0)
		return NULL;
	return full;
}

static const char *info_compat(const struct bpull_layer_info *layer)
{
	return layer->version >= 3 ? "1.1" : "0.10";
}

static bool info_has_clusters(const struct bpull_layer_info *layer)
{
	return layer->format == BPULL_FORMAT_QCOW2 || layer->format == BPULL_FORMAT_QED;
}

/* Why a pull would be refused, or NULL. */
static const char *info_unpullable(const struct bpull_layer_info *layer)
{
	static struct bpull_error told; /* one image at a time */

	if (layer->unreadable)
		return layer->unreadable;
	if (layer->unwritable) {
		told.remedy = layer->unwritable_remedy;
		snprintf(told.message, sizeof(told.message), "%s", layer->unwritable);
		advice_add(&told, true);
		return told.message;
	}
	return layer->mixed && layer->backing_name
		       ? "a backing file was changed during an earlier pull; --accept-mixed takes "
			 "the mixture"
		       : NULL;
}

/* How it is known what the backing file is, or NULL. */
static const char *info_format_from(const struct bpull_layer_info *layer)
{
	switch (layer->backing_format_from) {
	case BPULL_FORMAT_NOT_KNOWN: break;
	case BPULL_FORMAT_RECORDED: return "recorded";
	case BPULL_FORMAT_PROBED: return "probed";
	case BPULL_FORMAT_TOLD: return "told";
	}
	return NULL;
}

/* ---- JSON ------------------------------------------------------------------ */

static void info_add_bool(struct json_object *object, const char *name, int value)
{
	json_object_object_add(object, name, json_object_new_boolean(value));
}

static void info_add_text(struct json_object *object, const char *name, const char *value)
{
	if (value)
		json_object_object_add(object, name, say_json_text(value));
}

static void info_add_number(struct json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

static struct json_object *info_json_specific(const struct bpull_layer_info *layer)
{
	struct json_object *specific = json_object_new_object();
	struct json_object *data = json_object_new_object();

	info_add_text(specific, "type", bpull_format_name(layer->format));
	if (layer->format == BPULL_FORMAT_QCOW2) {
		info_add_text(data, "compat", info_compat(layer));
		info_add_text(data, "compression-type", layer->compression);
		info_add_bool(data, "lazy-refcounts", layer->lazy_refcounts);
		info_add_number(data, "refcount-bits", layer->refcount_bits);
		info_add_bool(data, "corrupt", layer->corrupt);
		info_add_bool(data, "extended-l2", layer->extended_l2);
		info_add_bool(data, "has-data-file", layer->has_data_file);
		info_add_text(data, "data-file", layer->data_file);
		if (layer->has_data_file)
			info_add_bool(data, "data-file-raw", layer->data_file_raw);
		info_add_bool(data, "has-bitmaps", layer->has_bitmaps);
		info_add_bool(data, "mixed", layer->mixed);
		info_add_number(data, "snapshot-count", layer->n_snapshots);
	} else {
		info_add_number(data, "table-size", layer->table_size);
	}
	json_object_object_add(specific, "data", data);
	return specific;
}

static struct json_object *info_json_layer(const struct bpull_layer_info *layer,
					   const struct bases *bases)
{
	struct json_object *object = json_object_new_object();
	char *full_name = info_full_backing_name(layer);

	info_add_text(object, "filename", layer->path);
	info_add_text(object, "format", bpull_format_name(layer->format));
	info_add_number(object, "virtual-size", layer->virtual_size);
	info_add_number(object, "actual-size", layer->disk_size);
	info_add_number(object, "file-size", layer->file_size);
	if (info_has_clusters(layer))
		info_add_number(object, "cluster-size", layer->cluster_size);
	info_add_text(object, "backing-filename", layer->backing_name);
	info_add_text(object, "full-backing-filename", full_name);
	if (layer->backing_name)
		info_add_text(object, "backing-mapped-to",
			      bases_mapped_to(bases, layer->backing_name));
	info_add_text(object, "backing-filename-format", layer->backing_format);
	info_add_text(object, "backing-format-from", info_format_from(layer));
	if (layer->backing_opened_as)
		info_add_text(object, "backing-opened-as",
			      bpull_format_name(layer->backing_opened_as));
	info_add_bool(object, "dirty-flag", layer->dirty);
	if (layer->encryption) {
		info_add_bool(object, "encrypted", 1);
		info_add_text(object, "encryption", layer->encryption);
	}
	if (info_has_clusters(layer))
		json_object_object_add(object, "format-specific", info_json_specific(layer));
	info_add_bool(object, "readable", !layer->unreadable);
	info_add_text(object, "unreadable-reason", layer->unreadable);
	if (info_has_clusters(layer)) {
		info_add_bool(object, "pullable", !info_unpullable(layer));
		info_add_text(object, "unpullable-reason", info_unpullable(layer));
	}
	free(full_name);
	return object;
}

static void info_print_json(const struct bpull_info *info, bool chain, const struct bases *bases)
{
	struct json_object *array = chain ? json_object_new_array() : NULL;
	for (unsigned i = 0; i < bpull_info_depth(info); i++) {
		struct bpull_layer_info layer = { .size = sizeof(layer) };
		struct json_object *object;

		if (bpull_info_layer(info, i, &layer))
			break;
		object = info_json_layer(&layer, bases);
		if (!chain) {
			say_json(object, SAY_JSON_DOCUMENT);
			return;
		}
		json_object_array_add(array, object);
	}
	say_json(array, SAY_JSON_DOCUMENT);
}

/* ---- Text ------------------------------------------------------------------ */

static void info_print_features(const struct bpull_layer_info *layer)
{
	if (layer->format == BPULL_FORMAT_QCOW2) {
		say_data("compat: %s\n", info_compat(layer));
		say_data("refcount bits: %u\n", layer->refcount_bits);
		if (layer->compression)
			say_data("compression type: %s\n", layer->compression);
	}
	if (layer->format == BPULL_FORMAT_QED)
		say_data("table size: %u clusters\n", layer->table_size);
	if (layer->n_snapshots)
		say_data("snapshots: %u\n", layer->n_snapshots);
	if (layer->encryption)
		say_data("encryption: %s\n", layer->encryption);
	if (layer->lazy_refcounts)
		say_data("lazy refcounts: yes\n");
	if (layer->extended_l2)
		say_data("extended l2: yes\n");
	if (layer->has_data_file)
		say_data("data file: %s%s\n", layer->data_file ? layer->data_file : "not recorded",
			 layer->data_file_raw ? " (raw: by itself the guest's disk)" : "");
	if (layer->has_bitmaps)
		say_data("bitmaps: yes\n");
	if (layer->dirty)
		say_data("dirty: yes (not closed cleanly)\n");
	if (layer->corrupt)
		say_data("corrupt: yes (marked so)\n");
	if (layer->mixed)
		say_data(
			"mixed: yes (marked: a backing file was changed while a pull copied it)\n");
}

static void info_print_backing_format(const struct bpull_layer_info *layer)
{
	const char *opened_as = bpull_format_name(layer->backing_opened_as);

	if (layer->backing_format)
		say_data("backing file format: %s\n", layer->backing_format);
	else if (!layer->backing_opened_as && layer->backing_format_from == BPULL_FORMAT_PROBED)
		say_data("backing file format: not recorded (probed when the file is opened)\n");
	else if (!layer->backing_opened_as)
		say_data("backing file format: not recorded\n");
	else
		say_data("backing file format: not recorded (%s: %s)\n",
			 layer->backing_format_from == BPULL_FORMAT_PROBED ? "probed"
									   : "--backing-format",
			 opened_as);
}

static void info_print_layer(const struct bpull_layer_info *layer, const struct bases *bases)
{
	char size[SIZE_TEXT_CAP];
	char *full_name = info_full_backing_name(layer);

	say_data("image: %s\n", layer->path);
	say_data("file format: %s\n", bpull_format_name(layer->format));
	say_data("virtual size: %s (%" PRIu64 " bytes)\n", size_text(layer->virtual_size, size),
		 layer->virtual_size);
	say_data("disk size: %s\n", size_text(layer->disk_size, size));
	if (info_has_clusters(layer))
		say_data("cluster_size: %u\n", layer->cluster_size);
	if (layer->backing_name && full_name && strcmp(layer->backing_name, full_name) != 0)
		say_data("backing file: %s (actual path: %s)\n", layer->backing_name, full_name);
	else if (layer->backing_name)
		say_data("backing file: %s\n", layer->backing_name);
	if (layer->backing_name && bases_mapped_to(bases, layer->backing_name))
		say_data("backing file is mapped to: %s\n",
			 bases_mapped_to(bases, layer->backing_name));
	if (layer->backing_name)
		info_print_backing_format(layer);
	info_print_features(layer);
	if (layer->unreadable)
		say_data("readable: no (%s)\n", layer->unreadable);
	else if (layer->backing_name && info_unpullable(layer))
		say_data("pull: refused (%s)\n", info_unpullable(layer));
	free(full_name);
}

static void info_print_text(const struct bpull_info *info, bool chain, const struct bases *bases)
{
	if (chain)
		info_tree_print(info);
	for (unsigned i = 0; i < bpull_info_depth(info); i++) {
		struct bpull_layer_info layer = { .size = sizeof(layer) };
		if (bpull_info_layer(info, i, &layer))
			break;
		if (i || chain)
			say_data("\n");
		info_print_layer(&layer, bases);
	}
}

/* ---- Command --------------------------------------------------------------- */

struct info_line {
	struct command_line line;
	bool whole_chain;
};

static int info_take(struct command_line *line, int option, char *text)
{
	struct info_line *info = (struct info_line *)line;

	(void)text;
	if (option != INFO_CHAIN)
		return -1;
	info->whole_chain = true;
	return 0;
}

static int info_check(struct command_line *line)
{
	const struct info_line *info = (const struct info_line *)line;

	if (!info->whole_chain)
		line->chain.disk.flags |= BPULL_DISK_NO_BACKING;
	line->chain.bases.opens_none = !info->whole_chain;
	if (!info->whole_chain && line->chain.formats.n)
		return say_usage("info", "--backing-format FILE=FMT needs --chain: without it no "
					 "backing file is opened");
	return command_check_reader(line);
}

static int info_run(struct command_line *line)
{
	const struct info_line *command = (const struct info_line *)line;
	struct bpull_error error = { 0 };
	struct bpull_info *info = NULL;
	int rc = bpull_info_open(line->words[0], &line->chain.disk, &info, &error);

	if (!rc)
		rc = fd_map_judge(&line->chain.disk, &error);
	if (rc) {
		bpull_info_close(info);
		return say_failed(&error, rc);
	}
	sandbox_enter(SANDBOX_NO_NAMES);
	if (line->json)
		info_print_json(info, command->whole_chain, &line->chain.bases);
	else
		info_print_text(info, command->whole_chain, &line->chain.bases);
	bpull_info_close(info);
	return EXIT_CODE_DONE;
}

const struct command info_command = {
	.name = "info",
	.summary = "describe an image or its chain",
	.help = info_help,
	.letters = ":f:h",
	.options = info_table,
	.line_size = sizeof(struct info_line),
	.min_words = 1,
	.max_words = 1,
	.too_few = "an image's name is missing",
	.too_many = "info describes one image at a time",
	.take = info_take,
	.check = info_check,
	.run = info_run,
};
