/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Options, as all commands read them: the value is optarg. tools/cli/options.c was
 * not used: it is about images and chains that a user has, and none is opened here.
 */
#include "bench/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rig/complain.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

int commands_option(int argc, char **argv, const struct option *table)
{
	int option = getopt_long(argc, argv, ":", table, NULL);

	if (option == ':')
		complain_usage(argv[0], "option '%s' needs a value", argv[optind - 1]);
	else if (option == '?')
		complain_usage(argv[0], "option '%s' is unknown, ambiguous or takes no value",
			       argv[optind - 1]);
	return option == ':' ? '?' : option;
}

static int commands_parse_size(const char *command, const char *option, enum size_kind kind,
			       uint64_t *bytes)
{
	const char *why;

	if (size_parse(optarg, kind, bytes, &why))
		return complain_usage(command, "%s '%s': %s", option, optarg, why);
	return 0;
}

int commands_size(const char *command, const char *option, uint64_t *bytes)
{
	int code = commands_parse_size(command, option, SIZE_BYTES, bytes);

	/* What was not given is 0, and gets its default. */
	if (!code && !*bytes)
		code = complain_usage(command, "%s '%s': 1 byte at least is wanted", option,
				      optarg);
	return code;
}

int commands_rate(const char *command, const char *option, uint64_t *bytes)
{
	return commands_parse_size(command, option, SIZE_RATE, bytes);
}

int commands_count(const char *command, const char *option, uint64_t min, uint64_t max,
		   uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(optarg, &end, 10);
	if (*optarg < '0' || *optarg > '9' || *end || errno || *value < min || *value > max)
		return complain_usage(command, "%s '%s': a number from %llu to %llu is wanted",
				      option, optarg, (unsigned long long)min,
				      (unsigned long long)max);
	return 0;
}

int commands_cluster(const char *command, uint32_t *bytes)
{
	uint64_t value = 0;
	int code = commands_size(command, "--cluster-size", &value);

	if (!code && (value < 4096 || value > 2 << 20 || (value & (value - 1))))
		code = complain_usage(command,
				      "--cluster-size '%s': a power of two from 4K to 2M is wanted",
				      optarg);
	*bytes = (uint32_t)value;
	return code;
}

int commands_word(const char *command, const char *option, const char *const *words, unsigned n,
		  unsigned *which)
{
	char all[256] = "";

	for (*which = 0; *which < n; ++*which) {
		if (!strcmp(words[*which], optarg))
			return 0;
		if (strlen(all) + strlen(words[*which]) + 3 < sizeof(all))
			strcat(strcat(all, *which ? ", " : ""), words[*which]);
	}
	return complain_usage(command, "%s '%s': it is one of %s", option, optarg, all);
}

int commands_parse(int argc, char **argv, const struct option *table,
		   int (*take)(void *bench, int option), void *bench)
{
	int option, code = 0;

	while (!code && (option = commands_option(argc, argv, table)) != -1)
		code = option == '?' ? EXIT_CODE_USAGE : take(bench, option);
	if (code || optind == argc)
		return code;
	return complain_usage(argv[0], "'%s': no name is wanted here, the files are made",
			      argv[optind]);
}
