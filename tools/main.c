/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull: the command. What surrounds all verbs (commands.c lists them):
 * descriptors, signals, help, the state of stdout at the end.
 *
 * It is an ordinary embedder of the library. When a command needs something
 * that engine/blockpull.h does not offer, the library lacks it.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tools/cli/say.h"
#include "tools/cli/stop.h"
#include "tools/commands.h"
#include "tools/serve/options.h"
#include "tools/version.h"
#include "tools/words/exit_code.h"
#include "tools/words/suggest.h"

static void main_usage(FILE *out)
{
	fputs("Usage: blockpull COMMAND [OPTION...] [IMAGE...]\n"
	      "\n"
	      "Makes disk images stand alone: copies what a qcow2 or QED image still reads\n"
	      "from its backing chain into it, then drops the link.\n"
	      "\n"
	      "Commands:\n",
	      out);
	for (size_t i = 0; i < commands_n; i++)
		fprintf(out, "  %-8s %s\n", commands_all[i]->name, commands_all[i]->summary);
	fputs("\n"
	      "Options:\n"
	      "  -h, --help     this text; beside a command, its own\n"
	      "  -V, --version  the version, the ways of I/O and the features\n"
	      "\n"
	      "Exit codes: 0 done, 1 failed, 2 usage, 3 in use, 4 corrupt, 5 leaks (check)\n"
	      "or different content (verify), 6 refused, 7 no space, 128+N stopped by a "
	      "signal.\n"
	      "'blockpull help COMMAND' explains a command; see also blockpull(1).\n",
	      out);
}

/* NULL: there is none; that has been said. */
static const struct command *main_find(const char *name)
{
	struct suggest suggest = { 0 };

	for (size_t i = 0; i < commands_n; i++) {
		if (!strcmp(name, commands_all[i]->name))
			return commands_all[i];
		suggest_offer(&suggest, name, commands_all[i]->name);
	}
	if (suggest.best)
		say_usage(NULL, "unknown command '%s'; did you mean '%s'?", name, suggest.best);
	else
		say_usage(NULL, "unknown command '%s'", name);
	return NULL;
}

static int main_help(int argc, char **argv)
{
	const struct command *command;

	if (argc > 2)
		return say_usage(NULL, "help explains one command at a time");
	if (argc == 2 && strcmp(argv[1], "-h") && strcmp(argv[1], "--help")) {
		command = main_find(argv[1]);
		if (!command)
			return EXIT_CODE_USAGE;
		fputs(command->help, stdout);
		return EXIT_CODE_DONE;
	}
	main_usage(stdout);
	return EXIT_CODE_DONE;
}

static int main_version(int argc, char **argv)
{
	if (argc > 1)
		return say_usage(NULL, "%s: '%s' is one word too many", argv[0], argv[1]);
	version_print();
	return EXIT_CODE_DONE;
}

/* argv begins with the option. */
static int main_global_option(int argc, char **argv)
{
	const char *option = argv[0];
	struct suggest suggest = { 0 };

	if (!strcmp(option, "-h") || !strcmp(option, "--help"))
		return main_help(argc, argv);
	if (!strcmp(option, "-V") || !strcmp(option, "--version"))
		return main_version(argc, argv);
	for (const struct option *row = commands_options; row->name; row++)
		suggest_offer(&suggest, option + strspn(option, "-"), row->name);
	if (suggest.best)
		return say_usage(NULL, "unknown option '%s'; did you mean '--%s'?", option,
				 suggest.best);
	return say_usage(NULL, "unknown option '%s'; a command comes first", option);
}

/* QEMU's conventions for vhost-user want a program without verbs: a link to this one has the
 * name of the only verb that it is. NULL: it is called by a verb. */
static const struct command *main_by_own_name(const char *name)
{
	const char *slash = strrchr(name, '/');

	return strcmp(slash ? slash + 1 : name, "blockpull-serve") ? NULL : &serve_command;
}

static int main_run(int argc, char **argv)
{
	const struct command *command = argc ? main_by_own_name(argv[0]) : NULL;

	if (command) {
		argv[0] = (char *)command->name;
		return command_main(command, argc, argv);
	}
	if (argc < 2) {
		main_usage(stderr);
		return EXIT_CODE_USAGE;
	}
	if (argv[1][0] == '-')
		return main_global_option(argc - 1, argv + 1);
	command = main_find(argv[1]);
	if (!command)
		return EXIT_CODE_USAGE;
	if (command == &help_command)
		return main_help(argc - 1, argv + 1);
	return command_main(command, argc - 1, argv + 1);
}

/* With a standard descriptor closed, the next file opened would get its number, and a message
 * would be written into a disk image. What is put there instead fails each use with EBADF. */
static void main_fill_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			_exit(EXIT_CODE_FAILED);
	}
}

/* The usual soft limit (1024) is there for programs that use select(); a pull of many deep chains
 * at once needs more. Where it can't be raised, what fails of it will say so. */
static void main_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* Set-user-ID or set-group-ID: the names in a caller's image would be opened with rights that the
 * caller has not. AT_SECURE was rejected as the sign of it: SELinux sets it on any change of
 * domain. */
static bool main_has_borrowed_rights(void)
{
	return geteuid() != getuid() || getegid() != getgid();
}

int main(int argc, char **argv)
{
	main_fill_descriptors();
	if (main_has_borrowed_rights()) {
		say_error("this program must not be installed set-user-ID or set-group-ID: "
			  "take that away (chmod ug-s)");
		return EXIT_CODE_REFUSED;
	}
	stop_prepare();
	main_raise_limit();
	return say_finish(main_run(argc, argv));
}
