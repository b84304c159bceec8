/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Names of files are the server's to find, and it may run in another directory:
 * they are made absolute here, before the sandbox closes.
 */
#include "tools/ctl/ctl_chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "tools/cli/say.h"
#include "tools/ctl/ctl_job.h"
#include "tools/ctl/ctl_say.h"
#include "tools/words/exit_code.h"

char *ctl_chain_absolute(const char *name, bool is_known)
{
	char *dir = getcwd(NULL, 0), *path = NULL;

	if (*name == '/' || !dir || (is_known && access(name, F_OK) != 0))
		path = strdup(name);
	else if (asprintf(&path, "%s/%s", dir, name) < 0)
		path = NULL;
	free(dir);
	if (!path)
		say_error("out of memory");
	return path;
}

static int ctl_chain_ask(struct ctl_client *client, const char *verb, struct json_object *args)
{
	struct json_object *value = ctl_client_ask(client, verb, args);

	json_object_put(value);
	return value ? EXIT_CODE_DONE : EXIT_CODE_FAILED;
}

/* The i-th node of the chain. NULL: there is none, or no answer (said). */
static struct json_object *ctl_chain_node(struct ctl_client *client, size_t i)
{
	struct json_object *list = ctl_client_ask(client, "query-named-block-nodes", NULL);
	struct json_object *node = NULL, *depth;

	if (json_object_is_type(list, json_type_array) && i < json_object_array_length(list))
		node = json_object_get(json_object_array_get_idx(list, i));
	json_object_put(list);
	if (node && json_object_object_get_ex(node, "x-depth", &depth))
		return node;
	json_object_put(node);
	if (list)
		say_error("'%s': %s", client->path,
			  i ? "the disk has no backing file" : "no disk is served there");
	return NULL;
}

static void ctl_chain_add(struct json_object *args, const char *key, const char *text)
{
	json_object_object_add(args, key, json_object_new_string(text));
}

int ctl_chain_snapshot(struct ctl_client *client, const char *path)
{
	bool failed;
	struct json_object *device = ctl_job_first_of(client, "query-blockstats", &failed), *args;

	if (!device) {
		if (!failed)
			say_error("'%s': no disk is served there", client->path);
		return EXIT_CODE_FAILED;
	}
	args = json_object_new_object();
	ctl_chain_add(args, "device", ctl_say_word(device, "device"));
	ctl_chain_add(args, "snapshot-file", path);
	json_object_put(device);
	return ctl_chain_ask(client, "blockdev-snapshot-sync", args);
}

int ctl_chain_commit(struct ctl_client *client, const char *base, bool verifies)
{
	struct json_object *args = json_object_new_object(), *top, *below = NULL;

	top = ctl_chain_node(client, 0);
	if (top && !base)
		below = ctl_chain_node(client, 1);
	if (!top || (!base && !below)) {
		json_object_put(args);
		json_object_put(top);
		return EXIT_CODE_FAILED;
	}
	ctl_chain_add(args, "device", ctl_say_word(top, "node-name"));
	if (base)
		ctl_chain_add(args, "base", base);
	else
		ctl_chain_add(args, "base-node", ctl_say_word(below, "node-name"));
	if (verifies)
		json_object_object_add(args, "x-verify", json_object_new_boolean(true));
	json_object_put(top);
	json_object_put(below);
	return ctl_chain_ask(client, "block-commit", args);
}
