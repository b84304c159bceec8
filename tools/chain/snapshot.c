/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull snapshot: a new, empty image on top of one that no program writes to.
 * The old image keeps what it holds from then on, and the new one gets what is
 * written. It is `create` with what it must be told found out and checked: the
 * format and the name of what is below, and that this can be opened.
 *
 * The old image is not made read-only by its mode bits, which are the user's: as a
 * backing file it is opened for reading only.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json_object.h>

#include "engine/blockpull.h"
#include "tools/chain/link_name.h"
#include "tools/chain/verbs.h"
#include "tools/cli/advice.h"
#include "tools/cli/bases_option.h"
#include "tools/cli/new_image.h"
#include "tools/cli/say.h"
#include "tools/cli/stop.h"
#include "tools/words/exit_code.h"

static const char snapshot_help[] =
	"Usage: blockpull snapshot [OPTION...] IMAGE NEW\n"
	"\n"
	"Makes NEW, an empty image on top of IMAGE: what is written from now on goes to\n"
	"NEW, and IMAGE keeps what it holds. NEW must not exist, and no other program may\n"
	"write to IMAGE. NEW is safely on disk when the command ends.\n"
	"\n"
	"Options:\n"
	"  -f, --format FMT           NEW's format: qcow2 or qed (default: qcow2)\n"
	"  -o, --options NAME=VALUE,...\n"
	"                             as for blockpull create: cluster_size, compat,\n"
	"                             refcount_bits, lazy_refcounts, compression_type,\n"
	"                             table_size\n"
	"  --source-format FMT        IMAGE's format: raw (must be said), qcow2 or qed\n"
	"                             (default: detected)\n"
	"  --allow-backing DIR        backing files may lie below DIR too; repeatable;\n"
	"                             'any', 'none' (default: BLOCKPULL_ALLOW_BACKING)\n"
	"  --backing-format FMT       format of backing files for which none is recorded;\n"
	"                             'auto': what they look like; FILE=FMT: of one of\n"
	"                             them, repeatable\n" OPTIONS_REMOTE_HELP OPTIONS_TLS_HELP
	"  --json                     the result as a JSON line on stdout\n"
	"  -n, --dry-run              check all but the values of -o, and make nothing\n"
	"  -q, --quiet                say nothing on success\n"
	"  --no-sandbox               accepted, as by all commands; this one has no filter\n"
	"  -h, --help                 this text\n";

enum {
	SNAPSHOT_SOURCE_FORMAT = OPTIONS_OWN
};

static const struct option snapshot_table[] = {
	{ "format", required_argument, NULL, 'f' },
	{ "options", required_argument, NULL, 'o' },
	{ "source-format", required_argument, NULL, SNAPSHOT_SOURCE_FORMAT },
	{ "allow-backing", required_argument, NULL, OPTIONS_ALLOW_BACKING },
	{ "backing-format", required_argument, NULL, OPTIONS_BACKING_FORMAT },
	OPTIONS_REMOTE,
	OPTIONS_JSON,
	{ "dry-run", no_argument, NULL, 'n' },
	OPTIONS_QUIET,
	OPTIONS_HELP,
	OPTIONS_END,
};

static const struct offer snapshot_offers[] = {
	{ "format", OFFER_WORDS, options_overlays },
	{ "options", OFFER_PAIRS, new_image_keys },
	{ "source-format", OFFER_WORDS, options_formats },
	{ NULL, OFFER_FREE, NULL },
};

static const struct offer snapshot_words[] = {
	{ "IMAGE", OFFER_FILES, NULL },
	{ "NEW", OFFER_FREE, NULL },
	{ NULL, OFFER_FREE, NULL },
};

struct snapshot_line {
	struct command_line line;
	struct new_image image;
	bool dry_run;
};

/* What was found out. */
struct snapshot {
	const char *path, *new_path;
	char *name; /* by which the new image records the old one; owned */
	bool beside;
	struct bpull_engine *engine;
	struct bpull_disk *disk; /* open until the new image is there: its locks keep writers out */
	struct bpull_error error;
};

static int snapshot_take(struct command_line *line, int option, char *text)
{
	struct snapshot_line *snapshot = (struct snapshot_line *)line;
	int value = 0, code;

	switch (option) {
	case 'f':
		code = options_word("snapshot", "--format", text, options_overlays, &value);
		snapshot->image.options.format = value;
		return code;
	case 'n': snapshot->dry_run = true; return 0;
	case 'o': return new_image_take(&snapshot->image, "snapshot", text);
	case SNAPSHOT_SOURCE_FORMAT:
		code = options_word("snapshot", "--source-format", text, options_formats, &value);
		line->chain.disk.format = value;
		return code;
	default: return -1;
	}
}

static int snapshot_check(struct command_line *line)
{
	struct snapshot_line *snapshot = (struct snapshot_line *)line;
	struct bpull_create_options *options = &snapshot->image.options;
	int code;

	options->size = sizeof(*options);
	if (!options->format)
		options->format = BPULL_FORMAT_QCOW2;
	code = new_image_check(&snapshot->image, "snapshot");
	return code ? code : command_check_reader(line);
}

static int snapshot_fail(struct snapshot *s, int rc, const char *path, const char *what)
{
	s->error.code = rc;
	snprintf(s->error.message, sizeof(s->error.message), "'%s': %s", path, what);
	return rc;
}

static int snapshot_fail_new(struct snapshot *s, int rc)
{
	return snapshot_fail(s, rc, s->new_path,
			     rc == -ENOENT ? "the directory that it would lie in does not exist"
					   : strerror(-rc));
}

/* What making the file would refuse, as far as that can be known without trying. */
static int snapshot_try_new(struct snapshot *s)
{
	const char *slash = strrchr(s->new_path, '/');
	struct stat st;
	char *dir;
	int rc = 0;

	if (!lstat(s->new_path, &st))
		return snapshot_fail(s, -EEXIST, s->new_path,
				     "exists already and is left alone: choose another name");
	if (!*s->new_path || (slash && !slash[1]))
		return snapshot_fail(s, -EINVAL, s->new_path, "the new image's name is missing");
	dir = slash ? strndup(s->new_path, (size_t)(slash + 1 - s->new_path)) : strdup(".");
	if (!dir || access(dir, W_OK | X_OK))
		rc = snapshot_fail_new(s, dir ? -errno : -ENOMEM);
	free(dir);
	return rc;
}

/* The old image's format, now that it is open and locked. */
static int snapshot_find_format(struct snapshot *s, const struct bpull_disk_options *how,
				struct bpull_create_options *options)
{
	struct bpull_layer_info top = { .size = sizeof(top) };
	struct bpull_disk_options alone = *how;
	struct bpull_info *info = NULL;
	int rc;

	alone.flags |= BPULL_DISK_NO_BACKING;
	alone.n_backing_formats = 0; /* of files that are not opened so */
	rc = bpull_info_open(s->path, &alone, &info, &s->error);
	if (!rc)
		rc = bpull_info_layer(info, 0, &top);
	options->backing_format = top.format;
	bpull_info_close(info);
	if (rc || how->format || top.format != BPULL_FORMAT_RAW)
		return rc;
	s->error.code = -ENOTSUP;
	snprintf(s->error.message, sizeof(s->error.message),
		 "'%s' looks like a raw disk, as any content does; that is recorded only where it "
		 "is said: add --source-format=raw",
		 s->path);
	return -ENOTSUP;
}

static int snapshot_open(struct snapshot *s, const struct bpull_disk_options *how)
{
	int rc = bpull_engine_open(NULL, &s->engine, &s->error);

	if (!rc)
		rc = bpull_disk_open(s->engine, s->path, how, &s->disk, &s->error);
	if (!rc && bpull_disk_warning(s->disk))
		say_note("warning: %s", bpull_disk_warning(s->disk));
	return rc;
}

static int snapshot_find_name(struct snapshot *s)
{
	const char *culprit;
	int rc = link_name_make(s->new_path, s->path, &s->name, &s->beside, &culprit);

	if (rc && culprit == s->new_path)
		return snapshot_fail_new(s, rc);
	return rc ? snapshot_fail(s, rc, culprit, strerror(-rc)) : 0;
}

/* No half image. */
static void snapshot_hold(void *user_data)
{
	(void)user_data;
	stop_hold(true);
}

/* The old image stays open meanwhile. */
static int snapshot_make(struct snapshot *s, const struct snapshot_line *line,
			 struct bpull_create_options *options)
{
	int rc;

	options->backing_name = s->name;
	options->creating = snapshot_hold;
	if (line->dry_run)
		return snapshot_try_new(s);
	rc = bpull_create(s->new_path, options, &s->error);
	stop_hold(false);
	return rc;
}

static void snapshot_say(const struct snapshot *s, const struct bpull_create_options *options,
			 bool dry_run)
{
	say_note("%s: %s as %s on top of '%s' (%s)%s", s->new_path,
		 dry_run ? "would be created" : "created", bpull_format_name(options->format),
		 s->name, bpull_format_name(options->backing_format),
		 dry_run ? "; nothing was changed" : "");
	if (!s->beside)
		say_note("note: '%s' lies in another directory: commands that open '%s' need "
			 "--allow-backing",
			 s->name, s->new_path);
	if (options->format == BPULL_FORMAT_QED && options->backing_format != BPULL_FORMAT_RAW)
		say_note("note: a QED image can't record that '%s' is %s: commands may need "
			 "--backing-format=%s",
			 s->name, bpull_format_name(options->backing_format),
			 bpull_format_name(options->backing_format));
}

static void snapshot_json(const struct snapshot *s, const struct bpull_create_options *options,
			  const char *status, int code)
{
	struct json_object *line = json_object_new_object();
	const char *message = s->error.code ? s->error.message : NULL;

	if (message && !*message)
		message = strerror(-s->error.code);
	json_object_object_add(line, "event", json_object_new_string("result"));
	json_object_object_add(line, "filename", say_json_text(s->new_path));
	json_object_object_add(line, "status", json_object_new_string(status));
	json_object_object_add(line, "exit-code", json_object_new_int(code));
	json_object_object_add(line, "exit-class", json_object_new_string(exit_code_class(code)));
	json_object_object_add(line, "error", say_json_text(message));
	json_object_object_add(line, "errno", json_object_new_int(-s->error.code));
	json_object_object_add(line, "format",
			       json_object_new_string(bpull_format_name(options->format)));
	if (s->disk)
		json_object_object_add(
			line, "virtual-size",
			json_object_new_uint64((bpull_disk_size(s->disk) + 511) / 512 * 512));
	if (s->name)
		json_object_object_add(line, "backing-filename", say_json_text(s->name));
	if (options->backing_format)
		json_object_object_add(
			line, "backing-filename-format",
			json_object_new_string(bpull_format_name(options->backing_format)));
	say_json(line, SAY_JSON_LINE);
}

/* A value out of range is the user's. */
static int snapshot_code(struct snapshot *s, int rc)
{
	int code;

	if (!rc)
		return EXIT_CODE_DONE;
	s->error.code = rc;
	code = say_failed(&s->error, rc);
	return rc == -EINVAL && s->name ? EXIT_CODE_USAGE : code;
}

static int snapshot_run(struct command_line *line)
{
	struct snapshot_line *snapshot = (struct snapshot_line *)line;
	struct bpull_create_options *options = &snapshot->image.options;
	struct snapshot s = { .path = line->words[0], .new_path = line->words[1] };
	int code, rc = snapshot_open(&s, &line->chain.disk);

	if (!rc)
		rc = snapshot_find_format(&s, &line->chain.disk, options);
	bases_option_seal(&line->chain.bases);
	if (!rc)
		rc = snapshot_find_name(&s);
	if (!rc)
		rc = snapshot_make(&s, snapshot, options);
	code = snapshot_code(&s, rc);
	if (!code && !line->quiet && !line->json)
		snapshot_say(&s, options, snapshot->dry_run);
	if (line->json)
		snapshot_json(&s, options,
			      code ? "failed" : (snapshot->dry_run ? "dry-run" : "completed"),
			      code);
	bpull_disk_close(s.disk);
	bpull_engine_close(s.engine);
	free(s.name);
	return code;
}

const struct command snapshot_command = {
	.name = "snapshot",
	.summary = "put a new image on top of one",
	.help = snapshot_help,
	.letters = ":f:hno:q",
	.options = snapshot_table,
	.offers = snapshot_offers,
	.word_offers = snapshot_words,
	.line_size = sizeof(struct snapshot_line),
	.min_words = 2,
	.max_words = 2,
	.too_few = "an image and the name of the new one are needed",
	.too_many = "one image and one new image, no more",
	.take = snapshot_take,
	.check = snapshot_check,
	.run = snapshot_run,
};
