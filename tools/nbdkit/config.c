/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Parameters: one table of keys, each with what reads its value and where that
 * goes. What holds for all keys (each once, none alone without what it needs) is
 * said once over the table; a chain of comparisons was rejected, which let a
 * second value replace the first without a word.
 */
#define NBDKIT_API_VERSION 2

#include "tools/nbdkit/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nbdkit-plugin.h>

#include "tools/nbdkit/choice.h"
#include "tools/nbdkit/line.h"
#include "tools/nbdkit/numbers.h"
#include "tools/words/allow_backing.h"

struct plugin_config plugin_config = {
	.engine = { .size = sizeof(plugin_config.engine), .flags = BPULL_ENGINE_THREAD },
	.disk = { .size = sizeof(plugin_config.disk), .flags = BPULL_DISK_GUEST_IO },
	.job = { .size = sizeof(plugin_config.job) },
};

static struct nbdkit_line line;

void config_load(void)
{
	nbdkit_line_read(&line);
}

/* ---- values: 0, or -1 with a message ---- */

static int config_take_bool(const char *key, const char *value, void *to)
{
	int *out = to;

	(void)key;
	*out = nbdkit_parse_bool(value);
	return *out < 0 ? -1 : 0;
}

static int config_take_format(const char *key, const char *value, void *to)
{
	enum bpull_format *out = to;

	*out = bpull_format_by_name(value);
	if (*out != BPULL_FORMAT_UNKNOWN)
		return 0;
	nbdkit_error("%s: '%s': qcow2, qed or raw", key, value);
	return -1;
}

/* Behind the fork nbdkit is in another directory, so a name that leads to a file from here is
 * resolved here; any other is one that an image records. */
static int config_take_backing_format(const char *key, const char *value, void *to)
{
	const char *equals = strrchr(value, '=');
	char why[BACKING_FORMAT_WHY_CAP];
	char *name = equals ? strndup(value, (size_t)(equals - value)) : NULL;
	char *real = name ? realpath(name, NULL) : NULL, *full = NULL;
	int rc;

	if (real && asprintf(&full, "%s%s", real, equals) < 0)
		full = NULL;
	rc = backing_formats_take(to, full ? full : value, why);
	if (rc)
		nbdkit_error("%s: %s", key, why);
	free(full);
	free(real);
	free(name);
	return rc;
}

/* Absolute: behind the fork nbdkit is in another directory. */
static int config_take_path(const char *key, const char *value, void *to)
{
	char **out = to;

	if (!*value) {
		nbdkit_error("%s: the name of a file is missing", key);
		return -1;
	}
	*out = nbdkit_absolute_path(value);
	return *out ? 0 : -1;
}

static int config_take_image(const char *key, const char *value, void *to)
{
	plugin_config.device = strdup(value);
	return plugin_config.device ? config_take_path(key, value, to) : -1;
}

static int config_take_dir(const char *key, const char *value, void *to)
{
	struct bpull_disk_options *disk = to;
	enum bpull_backing_rule rule = allow_backing_rule(value);

	if (plugin_config.rule_given &&
	    (rule != disk->backing_rule || rule != BPULL_BACKING_DIRS)) {
		nbdkit_error("%s: 'any' and 'none' can't be combined with others", key);
		return -1;
	}
	plugin_config.rule_given = true;
	disk->backing_rule = rule;
	if (rule != BPULL_BACKING_DIRS)
		return 0;
	if (!*value || disk->n_allowed_dirs == CONFIG_MAX_DIRS) {
		nbdkit_error("%s: %s", key, *value ? "too many names" : "a name is missing");
		return -1;
	}
	if (allow_backing_is_missing(value)) {
		fprintf(stderr, "nbdkit: warning: " ALLOW_BACKING_MISSING "\n", key, value);
		return 0;
	}
	plugin_config.dirs[disk->n_allowed_dirs] = realpath(value, NULL);
	if (!plugin_config.dirs[disk->n_allowed_dirs]) {
		nbdkit_error("%s: '%s': %s", key, value, strerror(errno));
		return -1;
	}
	disk->n_allowed_dirs++;
	return 0;
}

static int config_take_first(const char *key, const char *value, void *to)
{
	char why[TRACE_WHY_CAP];

	if (!first_take(to, value, why))
		return 0;
	nbdkit_error("%s: %s", key, why);
	return -1;
}

/* The strings are nbdkit's, which keeps them until the plugin is unloaded. */
static int config_take_base(const char *key, const char *value, void *to)
{
	struct bpull_error error = { 0 };
	int rc = bases_take(to, key, value, &error);

	if (rc)
		nbdkit_error("%s: %s", key, error.message);
	return rc ? -1 : 0;
}

/* As the one above. */
static int config_take_node_name(const char *key, const char *value, void *to)
{
	char why[CONTROL_WHY_CAP];

	if (!control_names_take(to, value, why))
		return 0;
	nbdkit_error("%s: %s", key, why);
	return -1;
}

/* ---- keys ---- */

enum key_flags {
	OF_A_PULL = 1 << 0, /* says how to pull: means nothing where no pull can be started */
	CHANGES = 1 << 1,   /* has the image changed, where it is true */
	REPEATS = 1 << 2,
};

static const struct key {
	const char *name;
	int (*take)(const char *key, const char *value, void *to);
	void *to;
	unsigned flags; /* enum key_flags */
} keys[] = {
	{ "image", config_take_image, &plugin_config.image, 0 },
	{ "readonly", config_take_bool, &plugin_config.read_only, 0 },
	{ "pull", config_take_bool, &plugin_config.pull, CHANGES },
	{ "copy-on-read", config_take_bool, &plugin_config.copy_on_read, CHANGES },
	{ "bandwidth", numbers_take_size, &plugin_config.job.bandwidth, OF_A_PULL },
	{ "host-budget", config_take_path, &plugin_config.host_budget, OF_A_PULL },
	{ "iops", numbers_take_count, &plugin_config.job.iops, OF_A_PULL },
	{ "within", numbers_take_time, &plugin_config.job.within_ns, OF_A_PULL },
	{ "min-rate", numbers_take_size, &plugin_config.job.min_rate, OF_A_PULL },
	{ "guest-p99", numbers_take_time, &plugin_config.job.guest_p99_ns, OF_A_PULL },
	{ "base", config_take_path, &plugin_config.base, OF_A_PULL },
	{ "first", config_take_first, &plugin_config.first, OF_A_PULL },
	{ "manual-finalize", config_take_bool, &plugin_config.manual_finalize, OF_A_PULL },
	{ "verify", config_take_bool, &plugin_config.verify, OF_A_PULL },
	{ "accept-mixed", config_take_bool, &plugin_config.accept_mixed, OF_A_PULL },
	{ "on-error", config_take_on_error, &plugin_config.job.on_error, OF_A_PULL },
	{ "control", config_take_path, &plugin_config.control, 0 },
	{ "node-name", config_take_node_name, &plugin_config.names, REPEATS },
	{ "trace", config_take_path, &plugin_config.trace, 0 },
	{ "format", config_take_format, &plugin_config.disk.format, 0 },
	{ "backing-format", config_take_backing_format, &plugin_config.formats, REPEATS },
	{ "allow-backing", config_take_dir, &plugin_config.disk, REPEATS },
	{ "allow-remote", config_take_base, &plugin_config.bases, REPEATS },
	{ "map-backing", config_take_base, &plugin_config.bases, REPEATS },
	{ "open-timeout", config_take_base, &plugin_config.bases, 0 },
	{ "remote-timeout", config_take_base, &plugin_config.bases, 0 },
	{ "guest-timeout", config_take_base, &plugin_config.bases, 0 },
	{ "tls-certificates", config_take_base, &plugin_config.bases, 0 },
	{ "tls-psk-file", config_take_base, &plugin_config.bases, 0 },
	{ "tls-user", config_take_base, &plugin_config.bases, 0 },
	{ "expect", config_take_base, &plugin_config.bases, REPEATS },
	{ "holes", config_take_holes, &plugin_config.disk.flags, 0 },
	{ "io", config_take_io, &plugin_config.engine.io, 0 },
	{ "memory", numbers_take_size, &plugin_config.engine.memory, 0 },
};

#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

static bool given[N_KEYS];

int config_take(const char *key, const char *value)
{
	for (size_t i = 0; i < N_KEYS; i++) {
		if (strcmp(key, keys[i].name) != 0)
			continue;
		if (given[i] && !(keys[i].flags & REPEATS)) {
			nbdkit_error("%s: it is given twice", key);
			return -1;
		}
		given[i] = true;
		return keys[i].take(key, value, keys[i].to);
	}
	nbdkit_error("unknown parameter '%s'; see nbdkit blockpull --help", key);
	return -1;
}

/* ---- what goes together ---- */

/* Given, and not to say no. */
static bool config_is_asked(size_t i)
{
	return given[i] && !(keys[i].take == config_take_bool && !*(const int *)keys[i].to);
}

static int config_check_partners(void)
{
	bool may_pull = plugin_config.pull || plugin_config.control;

	for (size_t i = 0; i < N_KEYS; i++) {
		if (!config_is_asked(i))
			continue;
		if (plugin_config.read_only && keys[i].flags & (CHANGES | OF_A_PULL)) {
			nbdkit_error(
				"%s: it is for changing the image, and the image is to be read "
				"only (readonly=true, or nbdkit's -r)",
				keys[i].name);
			return -1;
		}
		if (keys[i].flags & OF_A_PULL && !may_pull) {
			nbdkit_error("%s: it says how to pull, and no pull is asked for: add "
				     "pull=true, or control=SOCKET to start one through",
				     keys[i].name);
			return -1;
		}
	}
	if (plugin_config.manual_finalize && !plugin_config.control) {
		nbdkit_error(
			"manual-finalize: the pull would wait for ever to be told to finalize: "
			"add control=SOCKET");
		return -1;
	}
	return 0;
}

/* Said by nbdkit's -r or by the parameter: either is enough. */
static int config_check_read_only(void)
{
	for (size_t i = 0; i < N_KEYS; i++)
		if (keys[i].to == &plugin_config.read_only && !given[i] && !line.is_known) {
			nbdkit_error("/proc/self/cmdline can't be read, which says whether -r was "
				     "given: say readonly=true or readonly=false, too");
			return -1;
		}
	plugin_config.read_only |= line.read_only;
	return 0;
}

/* Files of keys are read here, before nbdkit becomes another user and goes to another directory.
 * The disk's bases are found by it from here on. */
static int config_open_bases(void)
{
	struct bases *bases = &plugin_config.bases;
	const char *pointless = bases_pointless(bases);
	struct bpull_error error = { 0 };

	if (pointless) {
		nbdkit_error("%s: it has no meaning without allow-remote or map-backing",
			     pointless);
		return -1;
	}
	if (bases_open(bases, &error)) {
		nbdkit_error("%s", error.message);
		return -1;
	}
	bases_apply(bases, &plugin_config.disk);
	return 0;
}

int config_finish(void)
{
	struct plugin_config *c = &plugin_config;

	if (!c->image) {
		nbdkit_error("image=FILE is needed; see nbdkit blockpull --help");
		return -1;
	}
	if (c->names.n && !c->control) {
		nbdkit_error("node-name: it is for clients of the control socket: add "
			     "control=SOCKET");
		return -1;
	}
	if (config_check_read_only() || config_check_partners() || config_open_bases())
		return -1;
	c->started_in = getcwd(NULL, 0);
	if (!c->started_in) {
		nbdkit_error("cannot find the directory that nbdkit was started in: %s",
			     strerror(errno));
		return -1;
	}
	c->disk.relative_dir = c->started_in;
	c->job.base = c->base;
	first_apply(&c->first, &c->job);
	c->job.flags = c->manual_finalize ? BPULL_JOB_MANUAL_FINALIZE : 0;
	c->job.flags |= c->verify ? BPULL_JOB_VERIFY : 0;
	c->job.flags |= c->accept_mixed ? BPULL_JOB_ACCEPT_MIXED : 0;
	c->disk.flags |= c->read_only ? BPULL_DISK_READ_ONLY : 0;
	c->disk.flags |= c->copy_on_read ? BPULL_DISK_COPY_ON_READ : 0;
	c->disk.allowed_dirs = c->dirs;
	backing_formats_apply(&c->formats, &c->disk);
	return 0;
}

bool config_is_export(const char *name)
{
	return !*name || (line.export_name && !strcmp(name, line.export_name));
}

void config_free(void)
{
	nbdkit_line_free(&line);
	free(plugin_config.image);
	free(plugin_config.device);
	free(plugin_config.started_in);
	free(plugin_config.base);
	free(plugin_config.control);
	free(plugin_config.trace);
	free(plugin_config.host_budget);
	first_free(&plugin_config.first);
	backing_formats_free(&plugin_config.formats);
	bases_free(&plugin_config.bases);
	for (size_t i = 0; i < plugin_config.disk.n_allowed_dirs; i++)
		free((char *)plugin_config.dirs[i]);
}
