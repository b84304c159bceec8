/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * getopt_long() parses; the messages are ours, because its own know neither
 * the command's name nor what a typo was meant to be.
 *
 * --allow-backing and BLOCKPULL_ALLOW_BACKING go through the same function, so
 * that the variable can't mean more than the option does. Options replace the
 * variable instead of adding to it: what a command line says is all that holds.
 */
#include "tools/cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/cli/bases_option.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/words/allow_backing.h"
#include "tools/words/exit_code.h"
#include "tools/words/suggest.h"

#define OPTIONS_MIN_MEMORY (UINT64_C(8) << 20)

#define OPTIONS_VARIABLE "BLOCKPULL_ALLOW_BACKING"

const struct options_word options_formats[] = {
	{ "raw", BPULL_FORMAT_RAW },
	{ "qcow2", BPULL_FORMAT_QCOW2 },
	{ "qed", BPULL_FORMAT_QED },
	{ NULL, 0 },
};

const struct options_word options_overlays[] = {
	{ "qcow2", BPULL_FORMAT_QCOW2 },
	{ "qed", BPULL_FORMAT_QED },
	{ NULL, 0 },
};

const struct options_word options_holes[] = {
	{ "auto", 0 },
	{ "read", BPULL_DISK_READ_HOLES },
	{ "trust", BPULL_DISK_TRUST_HOLES },
	{ NULL, 0 },
};

static void options_unknown(const char *command, const char *typed, const struct option *table)
{
	struct suggest suggest = { 0 };
	size_t name_len = strcspn(typed, "=");
	char *name = strndup(typed, name_len);
	char all[512] = "";
	unsigned n_matches = 0;

	for (const struct option *row = table; row->name; row++) {
		size_t len = strlen(all);

		if (name_len <= 2 || strncmp(row->name, typed + 2, name_len - 2))
			continue;
		snprintf(all + len, sizeof(all) - len, "%s--%s", n_matches++ ? ", " : "",
			 row->name);
	}
	if (n_matches > 1 && name) {
		say_usage(command, "option '%s' is ambiguous: it may be %s", name, all);
		free(name);
		return;
	}
	for (; name && table->name && name_len > 2; table++)
		suggest_offer(&suggest, name + 2, table->name);
	if (suggest.best)
		say_usage(command, "unknown option '%s'; did you mean '--%s'?", name, suggest.best);
	else
		say_usage(command, "unknown option '%s'", name ? name : typed);
	free(name);
}

int options_next(int argc, char **argv, const char *letters, const struct option *table)
{
	int option;
	const char *typed;
	bool is_long;

	while ((option = getopt_long(argc, argv, letters, table, NULL)) == OPTIONS_NO_SANDBOX)
		sandbox_disable();
	if (option != '?' && option != ':')
		return option;

	/* For long options optind is past the word; letters may still be inside theirs. */
	typed = argv[optind - 1];
	is_long = !strncmp(typed, "--", 2);
	if (option == ':' && is_long)
		say_usage(argv[0], "option '%s' needs a value", typed);
	else if (option == ':')
		say_usage(argv[0], "option '-%c' needs a value", optopt);
	else if (is_long && optopt)
		say_usage(argv[0], "option '%.*s' takes no value", (int)strcspn(typed, "="), typed);
	else if (optopt)
		say_usage(argv[0], "unknown option '-%c'", optopt);
	else
		options_unknown(argv[0], typed, table);
	return '?';
}

int options_word(const char *command, const char *option, const char *text,
		 const struct options_word *table, int *value)
{
	struct suggest suggest = { 0 };
	char all[128] = "";
	for (; table->word; table++) {
		if (!strcmp(text, table->word)) {
			*value = table->value;
			return 0;
		}
		suggest_offer(&suggest, text, table->word);
		strcat(strcat(all, *all ? ", " : ""), table->word);
	}
	if (suggest.best)
		return say_usage(command, "%s: unknown value '%s'; did you mean '%s'?", option,
				 text, suggest.best);
	return say_usage(command, "%s: unknown value '%s'; it must be one of %s", option, text,
			 all);
}

int options_size(const char *command, const char *option, const char *text, enum size_kind kind,
		 uint64_t *bytes)
{
	const char *why;
	if (!size_parse(text, kind, bytes, &why))
		return 0;
	return say_usage(command, "%s: '%s' is refused: %s", option, text, why);
}

int options_once(const char *command, const char *option, const char *text, const char **place)
{
	if (*place)
		return say_usage(command, "%s is given twice", option);
	*place = text;
	return 0;
}

int options_memory(const char *command, const char *text, uint64_t *memory)
{
	int code = options_size(command, "--memory", text, SIZE_BYTES, memory);

	if (!code && *memory < OPTIONS_MIN_MEMORY)
		code = say_usage(command, "--memory: at least 8M");
	return code;
}

static int options_allow(struct options_chain *chain, const char *command, const char *source,
			 const char *text)
{
	enum bpull_backing_rule rule = allow_backing_rule(text);
	size_t n_dirs;
	struct stat st;
	const char **dirs;

	if (!*text)
		return say_usage(command, "%s: a name is missing", source);
	if (chain->rule_given && (rule != chain->disk.backing_rule))
		return say_usage(command, "%s: 'any' and 'none' can't be combined with others",
				 source);
	chain->disk.backing_rule = rule;
	chain->rule_given = true;
	if (rule != BPULL_BACKING_DIRS)
		return 0;
	if (allow_backing_is_missing(text)) {
		say_note("warning: " ALLOW_BACKING_MISSING, source, text);
		return 0;
	}
	if (!stat(text, &st) && !S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) &&
	    !S_ISBLK(st.st_mode))
		return say_usage(command,
				 "%s: '%s' is neither a directory nor a file or block device",
				 source, text);

	n_dirs = chain->disk.n_allowed_dirs;
	dirs = reallocarray(chain->dirs, n_dirs + 1, sizeof(*dirs));
	if (!dirs) {
		say_error("out of memory");
		return EXIT_CODE_FAILED;
	}
	dirs[n_dirs] = text;
	chain->dirs = dirs;
	chain->disk.allowed_dirs = dirs;
	chain->disk.n_allowed_dirs = n_dirs + 1;
	return 0;
}

int options_chain_take(struct options_chain *chain, const char *command, int option,
		       const char *text)
{
	char why[BACKING_FORMAT_WHY_CAP];
	int format, value, code;
	switch (option) {
	case 'f':
		code = options_word(command, "--format", text, options_formats, &format);
		if (!code)
			chain->disk.format = format;
		return code;
	case OPTIONS_BACKING_FORMAT:
		if (backing_formats_take(&chain->formats, text, why))
			return say_usage(command, "--backing-format: %s", why);
		return 0;
	case OPTIONS_ALLOW_BACKING: return options_allow(chain, command, "--allow-backing", text);
	case OPTIONS_FD_MAP: return fd_map_take(&chain->fds, command, text);
	case OPTIONS_HOLES_MODE:
		code = options_word(command, "--holes", text, options_holes, &value);
		if (!code) {
			chain->disk.flags &= ~(BPULL_DISK_READ_HOLES | BPULL_DISK_TRUST_HOLES);
			chain->disk.flags |= value;
		}
		return code;
	case OPTIONS_FORCE_SHARE: chain->disk.flags |= BPULL_DISK_FORCE_SHARE; return 0;
	default: return bases_option_take(&chain->bases, command, option, text);
	}
}

/* What the environment allows. 0 or an exit code. */
static int options_allow_all(struct options_chain *chain, const char *command, const char *value)
{
	char *rest, *item;

	chain->env_copy = strdup(value);
	if (!chain->env_copy) {
		say_error("out of memory");
		return EXIT_CODE_FAILED;
	}
	rest = chain->env_copy;
	while ((item = strsep(&rest, ":"))) {
		/* "a::b" and a colon at the end are slips that PATH forgives too, but there they
		 * mean the current directory: that would allow more than was written. */
		int code = *item ? options_allow(chain, command, OPTIONS_VARIABLE, item) : 0;
		if (code)
			return code;
	}
	return 0;
}

/* Descriptors stand for all files: no name is opened then, none of a network's either. */
static int options_chain_bases(struct options_chain *chain, const char *command)
{
	int code;

	if (chain->fds.n && bases_are_wanted(&chain->bases))
		return say_usage(command, "--fd-map says which files are opened: --allow-remote "
					  "and --map-backing can't be combined with it");
	code = bases_option_open(&chain->bases, command, chain->serves_guests);
	if (!code && !chain->fds.n)
		bases_apply(&chain->bases, &chain->disk);
	return code ? code : bases_option_sandbox(&chain->bases);
}

int options_chain_finish(struct options_chain *chain, const char *command)
{
	const char *value;

	chain->disk.size = sizeof(chain->disk);
	backing_formats_apply(&chain->formats, &chain->disk);
	fd_map_apply(&chain->fds, &chain->disk);
	if (chain->fds.n && chain->rule_given)
		return say_usage(command, "--fd-map says which files are opened: --allow-backing "
					  "can't be combined with it");
	value = chain->rule_given || chain->fds.n ? NULL : getenv(OPTIONS_VARIABLE);
	if (value) {
		int code = options_allow_all(chain, command, value);
		if (code)
			return code;
	}
	return options_chain_bases(chain, command);
}

void options_chain_free(struct options_chain *chain)
{
	free(chain->dirs);
	free(chain->env_copy);
	backing_formats_free(&chain->formats);
	fd_map_free(&chain->fds);
	bases_free(&chain->bases);
}

void options_chain_look(struct options_chain *chain, const char *image, enum bpull_format format)
{
	struct bpull_disk_options look = chain->disk;
	struct bpull_info *info;
	struct bpull_error error;

	if (!chain->formats.n && !chain->bases.expects.n)
		return;
	for (size_t i = 0; i < chain->formats.n; i++)
		chain->formats.list[i].optional = 1;
	look.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE;
	look.format = format;
	look.opened = NULL;
	if (bpull_info_open(image, &look, &info, &error))
		chain->look_failed = true;
	else
		bpull_info_close(info);
}

int options_chain_judge(const struct options_chain *chain, const char *command)
{
	struct bpull_error error;

	for (size_t i = 0; i < chain->formats.n && !chain->look_failed; i++)
		if (!chain->formats.list[i].used)
			return say_usage(command,
					 "--backing-format: '%s' is no backing file of any of the "
					 "images; see blockpull info --chain",
					 chain->formats.list[i].file);
	if (!chain->look_failed && bases_judge(&chain->bases, &error))
		return say_usage(command, "--expect: %s", error.message);
	return 0;
}
