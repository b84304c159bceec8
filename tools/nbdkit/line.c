/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The command line is read from /proc and taken apart by getopt_long(), as
 * nbdkit does it: only that knows "-fr", "--reado", and that the "-r" of "-e -r"
 * is a name. Options that a later nbdkit has and this table has not are passed
 * over; one with a value of its own would have to look like -r to mislead.
 */
#include "tools/nbdkit/line.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char short_options[] = "D:e:fg:i:nop:P:rst:u:U:vV46";

enum {
	OTHER = 256
};

static const struct option long_options[] = {
	{ "debug", required_argument, NULL, 'D' },
	{ "dump-config", no_argument, NULL, OTHER },
	{ "dump-plugin", no_argument, NULL, OTHER },
	{ "exit-with-parent", no_argument, NULL, OTHER },
	{ "export", required_argument, NULL, 'e' },
	{ "export-name", required_argument, NULL, 'e' },
	{ "exportname", required_argument, NULL, 'e' },
	{ "filter", required_argument, NULL, OTHER },
	{ "foreground", no_argument, NULL, 'f' },
	{ "group", required_argument, NULL, 'g' },
	{ "help", no_argument, NULL, OTHER },
	{ "ip-addr", required_argument, NULL, 'i' },
	{ "ipaddr", required_argument, NULL, 'i' },
	{ "ipv4-only", no_argument, NULL, '4' },
	{ "ipv6-only", no_argument, NULL, '6' },
	{ "log", required_argument, NULL, OTHER },
	{ "long-options", no_argument, NULL, OTHER },
	{ "mask-handshake", required_argument, NULL, OTHER },
	{ "new-style", no_argument, NULL, 'n' },
	{ "newstyle", no_argument, NULL, 'n' },
	{ "no-fork", no_argument, NULL, 'f' },
	{ "no-sr", no_argument, NULL, OTHER },
	{ "old-style", no_argument, NULL, 'o' },
	{ "oldstyle", no_argument, NULL, 'o' },
	{ "pid-file", required_argument, NULL, 'P' },
	{ "pidfile", required_argument, NULL, 'P' },
	{ "port", required_argument, NULL, 'p' },
	{ "read-only", no_argument, NULL, 'r' },
	{ "readonly", no_argument, NULL, 'r' },
	{ "run", required_argument, NULL, OTHER },
	{ "selinux-label", required_argument, NULL, OTHER },
	{ "short-options", no_argument, NULL, OTHER },
	{ "single", no_argument, NULL, 's' },
	{ "stdin", no_argument, NULL, 's' },
	{ "swap", no_argument, NULL, OTHER },
	{ "threads", required_argument, NULL, 't' },
	{ "tls", required_argument, NULL, OTHER },
	{ "tls-certificates", required_argument, NULL, OTHER },
	{ "tls-psk", required_argument, NULL, OTHER },
	{ "tls-verify-peer", no_argument, NULL, OTHER },
	{ "unix", required_argument, NULL, 'U' },
	{ "user", required_argument, NULL, 'u' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "version", no_argument, NULL, 'V' },
	{ "vsock", no_argument, NULL, OTHER },
	{ NULL, 0, NULL, 0 },
};

static void line_free_words(char **words)
{
	for (size_t i = 0; words && words[i]; i++)
		free(words[i]);
	free(words);
}

/* Ends with NULL, which is not counted. NULL: it could not be read. */
static char **line_read_words(int *n)
{
	FILE *file = fopen("/proc/self/cmdline", "re");
	char **words = calloc(1, sizeof(*words)), *word = NULL;
	size_t room = 0;

	*n = 0;
	while (file && words && getdelim(&word, &room, 0, file) > 0) {
		char **more = reallocarray(words, *n + 2, sizeof(*words));

		if (!more)
			break;
		words = more;
		words[(*n)++] = word;
		words[*n] = NULL;
		word = NULL;
		room = 0;
	}
	if (!file || !words || !feof(file) || !*n) {
		line_free_words(words);
		words = NULL;
	}
	free(word);
	if (file)
		fclose(file);
	return words;
}

/* getopt() has one state for the whole process, and nbdkit goes on with its own. */
static void line_parse(struct nbdkit_line *line, int argc, char **argv)
{
	int was_index = optind, was_talking = opterr, option;
	char *was_value = optarg;

	optind = 0; /* GNU's word for: from the beginning */
	opterr = 0;
	while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
		if (option == 'r')
			line->read_only = true;
		if (option == 'e') {
			free(line->export_name);
			line->export_name = strdup(optarg);
		}
	}
	optind = was_index;
	opterr = was_talking;
	optarg = was_value;
}

void nbdkit_line_read(struct nbdkit_line *line)
{
	int n;
	char **words = line_read_words(&n), **argv = words ? calloc(n + 1, sizeof(*argv)) : NULL;

	*line = (struct nbdkit_line){ .is_known = argv };
	if (argv) {
		memcpy(argv, words, n * sizeof(*argv)); /* getopt_long() sorts it */
		line_parse(line, n, argv);
	}
	free(argv);
	line_free_words(words);
}

void nbdkit_line_free(struct nbdkit_line *line)
{
	free(line->export_name);
	line->export_name = NULL;
}
