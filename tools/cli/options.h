/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Command line options: the messages around getopt_long(), and the options
 * that all commands which open images share.
 */
#ifndef TOOLS_CLI_OPTIONS_H
#define TOOLS_CLI_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "tools/bases/bases.h"
#include "tools/cli/fd_map.h"
#include "tools/words/backing_format.h"
#include "tools/words/size.h"

/* Values of long options that have no letter; a command's own begin at OPTIONS_OWN. */
enum options_value {
	OPTIONS_ALLOW_BACKING = 256,
	OPTIONS_BACKING_FORMAT,
	OPTIONS_FD_MAP,
	OPTIONS_FORCE_SHARE,
	OPTIONS_HOLES_MODE,
	OPTIONS_JSON_OUTPUT,
	/* Those of bases/bases.h, in its order. */
	OPTIONS_ALLOW_REMOTE,
	OPTIONS_MAP_BACKING,
	OPTIONS_OPEN_TIMEOUT,
	OPTIONS_REMOTE_TIMEOUT,
	OPTIONS_GUEST_TIMEOUT,
	OPTIONS_TLS_CERTIFICATES,
	OPTIONS_TLS_PSK_FILE,
	OPTIONS_TLS_USER,
	OPTIONS_EXPECT,
	/* Those of cli/rates.h. */
	OPTIONS_GUEST_P99,
	OPTIONS_HOST_BUDGET,
	OPTIONS_IOPS,
	OPTIONS_MIN_RATE,
	OPTIONS_WITHIN,
	OPTIONS_NO_SANDBOX, /* every command has it; options_next() deals with it */
	OPTIONS_OWN,
};

/* Rows for a command's table of long options. */
#define OPTIONS_FDS                                               \
	{                                                         \
		"fd-map", required_argument, NULL, OPTIONS_FD_MAP \
	}
#define OPTIONS_CHAIN                                                                  \
	{ "allow-backing", required_argument, NULL, OPTIONS_ALLOW_BACKING },           \
		{ "backing-format", required_argument, NULL, OPTIONS_BACKING_FORMAT }, \
		OPTIONS_FDS,                                                           \
	{                                                                              \
		"format", required_argument, NULL, 'f'                                 \
	}
/* What --help says of OPTIONS_CHAIN, where a verb has no more to say. */
#define OPTIONS_CHAIN_HELP                                                                     \
	"  --allow-backing DIR  backing files may lie below DIR too; repeatable; 'any';\n"     \
	"                       'none' (default: BLOCKPULL_ALLOW_BACKING)\n"                   \
	"  --backing-format FMT format of backing files for which none is recorded;\n"         \
	"                       'auto': what they look like; FILE=FMT: of one of them,\n"      \
	"                       repeatable\n"                                                  \
	"  --fd-map NAME=N      open no file: descriptor N is the file that the chain comes\n" \
	"                       to as NAME, or records so; repeatable\n"
/* For commands that open bases behind a network. */
#define OPTIONS_REMOTE                                                                     \
	{ "allow-remote", required_argument, NULL, OPTIONS_ALLOW_REMOTE },                 \
		{ "map-backing", required_argument, NULL, OPTIONS_MAP_BACKING },           \
		{ "open-timeout", required_argument, NULL, OPTIONS_OPEN_TIMEOUT },         \
		{ "tls-certificates", required_argument, NULL, OPTIONS_TLS_CERTIFICATES }, \
		{ "tls-psk-file", required_argument, NULL, OPTIONS_TLS_PSK_FILE },         \
	{                                                                                  \
		"tls-user", required_argument, NULL, OPTIONS_TLS_USER                      \
	}
/* What --help says of them, and of those below; --remote-timeout is told by each command in its own
 * words. */
#define OPTIONS_REMOTE_HELP                                                                        \
	"  --allow-remote PLACE bases behind a network that names may lead to: nbd:HOST[:PORT],\n" \
	"                       nbd+unix:DIR, nbds:... (TLS); repeatable; see blockpull(1)\n"      \
	"  --map-backing NAME=URI\n"                                                               \
	"                       open URI, or a FILE, where an image names NAME; repeatable\n"      \
	"  --open-timeout SECONDS\n"                                                               \
	"                       how long a server may take to be opened (default 30)\n"
#define OPTIONS_TLS_HELP                                                                      \
	"  --tls-certificates DIR\n"                                                          \
	"                       for nbds: the authority's and our own certificates and key\n" \
	"  --tls-psk-file FILE  for nbds: keys shared with the server instead\n"              \
	"  --tls-user NAME      the user of that file whose key is used\n"
#define OPTIONS_EXPECT_HELP                                                                      \
	"  --expect [NAME=]MANIFEST\n"                                                           \
	"                       what the base NAME must hold, or the only one behind a\n"        \
	"                       network: what 'blockpull hash --chunk=1M -f raw' printed of\n"   \
	"                       it, or its HASH alone, for which it is read once more before;\n" \
	"                       repeatable\n"
#define OPTIONS_MEMORY_HELP                                                                      \
	"  --memory SIZE        for buffers and tables (default 48M); a third of it is on its\n" \
	"                       way from the bases at once\n"
/* For those of them that read what the bases hold. */
#define OPTIONS_REMOTE_READ                                                       \
	{                                                                         \
		"remote-timeout", required_argument, NULL, OPTIONS_REMOTE_TIMEOUT \
	}
/* For those of these that can tell what the bases must hold. */
#define OPTIONS_REMOTE_EXPECT                                     \
	{                                                         \
		"expect", required_argument, NULL, OPTIONS_EXPECT \
	}
/* For those that serve a guest. */
#define OPTIONS_REMOTE_GUEST                                                    \
	{                                                                       \
		"guest-timeout", required_argument, NULL, OPTIONS_GUEST_TIMEOUT \
	}
/* For commands that read, or map, what raw files hold. */
#define OPTIONS_HOLES                                                \
	{                                                            \
		"holes", required_argument, NULL, OPTIONS_HOLES_MODE \
	}
#define OPTIONS_SHARE                                                 \
	{                                                             \
		"force-share", no_argument, NULL, OPTIONS_FORCE_SHARE \
	}
#define OPTIONS_JSON                                           \
	{                                                      \
		"json", no_argument, NULL, OPTIONS_JSON_OUTPUT \
	}
#define OPTIONS_QUIET                           \
	{                                       \
		"quiet", no_argument, NULL, 'q' \
	}
#define OPTIONS_HELP                           \
	{                                      \
		"help", no_argument, NULL, 'h' \
	}
#define OPTIONS_END                                              \
	{ "no-sandbox", no_argument, NULL, OPTIONS_NO_SANDBOX }, \
	{                                                        \
		NULL, 0, NULL, 0                                 \
	}

/* The next option of the command's line as getopt_long() returns it; -1: no more; '?': said what
 * is wrong, exit with EXIT_CODE_USAGE. `letters` must begin with ':'. */
int options_next(int argc, char **argv, const char *letters, const struct option *table);

/* One of several words. */
struct options_word {
	const char *word;
	int value;
};

/* The formats, as enum bpull_format. */
extern const struct options_word options_formats[];
/* Those of them that can be an overlay: what is made, and what a pull writes into. */
extern const struct options_word options_overlays[];
/* The values of --holes. */
extern const struct options_word options_holes[];

/* Finds `text` in a table that ends with a NULL word. 0, or an exit code after saying what is
 * wrong with `option`. */
int options_word(const char *command, const char *option, const char *text,
		 const struct options_word *table, int *value);
/* The same for sizes and rates. */
int options_size(const char *command, const char *option, const char *text, enum size_kind kind,
		 uint64_t *bytes);
/* A value of which the first of two would go unheard, such as a list's name: its images would be
 * taken for pulled. *place: NULL until it is given. 0 or an exit code. */
int options_once(const char *command, const char *option, const char *text, const char **place);
/* The SIZE of --memory, which the library takes from 8 MiB on. 0 or an exit code. */
int options_memory(const char *command, const char *text, uint64_t *memory);

/* How images and their chains are to be opened. Zero it, and free it with options_chain_free(). */
struct options_chain {
	struct bpull_disk_options disk; /* complete after options_chain_finish() */
	bool rule_given;                /* by an option: the environment is not asked */
	const char **dirs;              /* owned; what they point at is argv or env_copy */
	struct backing_formats formats;
	struct fd_map fds;
	struct bases bases;
	bool serves_guests; /* the verb's word: guests wait for --guest-timeout, not as jobs do */
	bool look_failed;   /* options_chain_look() met an image that can't be opened */
	char *env_copy;
};

/* Takes an option if it is one of OPTIONS_CHAIN, OPTIONS_HOLES, OPTIONS_SHARE or OPTIONS_REMOTE and
 * its company. 0: taken; -1: not one of them; else an exit code. */
int options_chain_take(struct options_chain *chain, const char *command, int option,
		       const char *text);
/* Applies BLOCKPULL_ALLOW_BACKING where no option said otherwise; makes bases behind a network
 * ready to be opened until the sandbox closes. Before there are threads: it may fork. 0 or an exit
 * code. */
int options_chain_finish(struct options_chain *chain, const char *command);
void options_chain_free(struct options_chain *chain);

/* For commands that open several images with the same options, or take --expect: a FILE of
 * --backing-format, and a base of --expect, need be in one of their chains only. Look at each
 * image, then ask. Both do nothing where neither was given. */
void options_chain_look(struct options_chain *chain, const char *image, enum bpull_format format);
/* 0, or an exit code after naming a FILE or base that no chain has. Where an image could not be
 * looked at, none is: opening it says why. */
int options_chain_judge(const struct options_chain *chain, const char *command);

#endif
