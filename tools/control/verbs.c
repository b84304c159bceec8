/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The control socket's verbs: one value in, one object out. Names, members,
 * sentences and error classes are QMP's (QEMU docs/interop/qmp-spec), so that
 * what drives QEMU's jobs drives these; what QMP has no word for begins with
 * "x-". Verbs that change one job are in job_verbs.c.
 */
#include "tools/control/verbs.h"

#include <string.h>

#include <json-c/json.h>

#include "tools/budget/budget.h"
#include "tools/control/blockdev.h"
#include "tools/control/blockdev_del.h"
#include "tools/control/commit.h"
#include "tools/control/getfd.h"
#include "tools/control/job_verbs.h"
#include "tools/control/jobs/job_states.h"
#include "tools/control/jobs/suspend.h"
#include "tools/control/queries.h"
#include "tools/control/snapshot.h"
#include "tools/control/start.h"
#include "tools/control/state/args.h"
#include "tools/control/state/events.h"
#include "tools/control/state/nodes.h"
#include "tools/control/transaction.h"

static struct json_object *verbs_negotiate(bool *negotiated, struct json_object *args)
{
	static const struct control_arg list[] = { { "enable", CONTROL_WORDS, false }, { 0 } };
	struct json_object *refusal = control_check_args(list, args), *enable;

	if (refusal)
		return refusal;
	if (*negotiated)
		return control_refuse(
			"CommandNotFound",
			"Capabilities negotiation is already complete, command ignored");
	if (args && json_object_object_get_ex(args, "enable", &enable) &&
	    json_object_array_length(enable))
		return control_refuse("GenericError", "Capability '%.100s' is not available",
				      json_object_get_string(json_object_array_get_idx(enable, 0)));
	*negotiated = true;
	return control_ok(NULL);
}

/* ---- the disk ---- */

/* A name that means another file than the image, or none. A refusal, or NULL. */
static struct json_object *verbs_check_image(const struct control_target *target,
					     struct json_object *args)
{
	const char *device = control_text(args, "device"), *name = control_text(args, "node-name");
	const struct control_node *node = NULL;
	uint32_t depth = 0;

	if (name)
		node = control_node_find(target, name, &depth);
	/* What no device is called does not count beside a node's name. */
	if (name ? node && !depth : !device || !strcmp(device, target->device))
		return NULL;
	if (node)
		return control_refuse("GenericError", "Block node is read-only");
	return control_refuse("GenericError", "Cannot find device='%.200s' nor node-name='%.200s'",
			      device ? device : "", name ? name : "");
}

static struct json_object *verbs_set_host_budget(struct control_target *target,
						 struct json_object *args)
{
	int64_t rate = -1;

	if (!target->budget)
		return control_refuse("GenericError", "There is no host budget (--host-budget)");
	control_integer(args, "rate", &rate);
	if (rate < 0 || budget_set_rate(target->budget, (uint64_t)rate))
		return control_refuse("GenericError", "Parameter 'rate' is out of range");
	return control_ok(NULL);
}

static struct json_object *verbs_resize(struct control_target *target, struct json_object *args)
{
	struct json_object *refusal = verbs_check_image(target, args);
	struct bpull_error error = { 0 };
	int64_t size = -1;

	if (refusal)
		return refusal;
	control_integer(args, "size", &size);
	if (size < 0)
		return control_refuse("GenericError", "Parameter 'size' expects a >0 size");
	if (!target->resize)
		return control_refuse(
			"GenericError",
			"The disk is not served here: it has no users who would see another size");
	refusal = control_refuse_inactive(target, NULL);
	if (refusal)
		return refusal;
	if (target->resize(target->owner, size, &error))
		return control_refuse("GenericError", "%s", error.message);
	if (target->top)
		target->top->virtual_size = size;
	return control_ok(NULL);
}

/* ---- the tables ---- */

static const struct control_arg budget_args[] = { { "rate", CONTROL_INTEGER, true }, { 0 } };
static const struct control_arg no_args[] = { { 0 } };
static const struct control_arg nodes_args[] = { { "flat", CONTROL_BOOLEAN, false }, { 0 } };
static const struct control_arg stats_args[] = { { "query-nodes", CONTROL_BOOLEAN, false }, { 0 } };
static const struct control_arg resize_args[] = { { "device", CONTROL_TEXT, false },
						  { "node-name", CONTROL_TEXT, false },
						  { "size", CONTROL_INTEGER, true },
						  { 0 } };

static struct json_object *verbs_query_commands(struct control_target *target,
						struct json_object *args);

static const struct {
	const char *name;
	const struct control_arg *args; /* NULL: it checks them itself */
	struct json_object *(*run)(struct control_target *target, struct json_object *args);
} verbs[] = {
	{ "block-commit", control_commit_args, control_block_commit },
	{ "block-stream", control_stream_args, control_block_stream },
	{ "blockdev-add", NULL, control_blockdev_add },
	{ "blockdev-del", control_blockdev_del_args, control_blockdev_del },
	{ "blockdev-snapshot", control_snapshot_args, control_blockdev_snapshot },
	{ "blockdev-snapshot-sync", control_snapshot_sync_args, control_blockdev_snapshot_sync },
	{ "transaction", control_transaction_args, control_transaction },
	{ "block_resize", resize_args, verbs_resize },
	{ "closefd", control_getfd_args, control_closefd },
	{ "getfd", control_getfd_args, control_getfd },
	{ "query-block", no_args, control_query_block },
	{ "query-block-jobs", no_args, control_query_block_jobs },
	{ "query-jobs", no_args, control_query_jobs },
	{ "query-named-block-nodes", nodes_args, control_query_nodes },
	{ "query-blockstats", stats_args, control_query_stats },
	{ "query-version", no_args, control_query_version },
	{ "query-commands", no_args, verbs_query_commands },
	{ "x-query-job", no_args, control_query_job },
	{ "x-query-servers", no_args, control_query_servers },
	{ "x-set-host-budget", budget_args, verbs_set_host_budget },
};

static void verbs_add_command(struct json_object *list, const char *name)
{
	struct json_object *object = json_object_new_object();

	control_add_text(object, "name", name);
	json_object_array_add(list, object);
}

static struct json_object *verbs_query_commands(struct control_target *target,
						struct json_object *args)
{
	struct json_object *list = json_object_new_array();
	const char *name;

	(void)target;
	(void)args;
	verbs_add_command(list, "qmp_capabilities");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		verbs_add_command(list, verbs[i].name);
	for (size_t i = 0; (name = control_job_verb_name(i)); i++)
		verbs_add_command(list, name);
	return control_ok(list);
}

static struct json_object *verbs_run_verb(struct control_target *target, const char *verb,
					  struct json_object *args)
{
	struct json_object *refusal, *answer;

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verb, verbs[i].name))
			continue;
		refusal = verbs[i].args ? control_check_args(verbs[i].args, args) : NULL;
		if (!refusal)
			control_job_look(target);
		return refusal ? refusal : verbs[i].run(target, args);
	}
	if (control_job_verb(target, verb, args, &answer))
		return answer;
	return control_refuse("CommandNotFound", "The command %.100s has not been found", verb);
}

/* ---- a request ---- */

/* Of an object. A refusal, or NULL. */
static struct json_object *verbs_take_members(struct json_object *request, const char **verb,
					      struct json_object **args)
{
	json_object_object_foreach(request, key, value)
	{
		if (!strcmp(key, "execute")) {
			if (!json_object_is_type(value, json_type_string))
				return control_refuse(
					"GenericError",
					"QMP input member 'execute' must be a string");
			*verb = json_object_get_string(value);
		} else if (!strcmp(key, "arguments")) {
			if (!json_object_is_type(value, json_type_object))
				return control_refuse(
					"GenericError",
					"QMP input member 'arguments' must be an object");
			*args = value;
		} else if (strcmp(key, "id") != 0) {
			return control_refuse("GenericError",
					      "QMP input member '%.200s' is unexpected", key);
		}
	}
	return NULL;
}

/* A refusal, or NULL: then *verb and *args are the request's. */
static struct json_object *verbs_take_apart(struct json_object *request, const char **verb,
					    struct json_object **args)
{
	struct json_object *refusal;

	*args = NULL;
	*verb = NULL;
	if (!json_object_is_type(request, json_type_object))
		return control_refuse("GenericError", "QMP input must be a JSON object");
	refusal = verbs_take_members(request, verb, args);
	if (refusal || *verb)
		return refusal;
	return control_refuse("GenericError", "QMP input lacks member 'execute'");
}

struct json_object *control_answer(struct control_target *target, bool *negotiated,
				   struct json_object *request)
{
	struct json_object *args, *answer, *id;
	const char *verb;

	answer = verbs_take_apart(request, &verb, &args);
	if (!answer && !strcmp(verb, "qmp_capabilities"))
		answer = verbs_negotiate(negotiated, args);
	else if (!answer && !*negotiated)
		answer = control_refuse(
			"CommandNotFound",
			"Expecting capabilities negotiation with 'qmp_capabilities'");
	else if (!answer)
		answer = verbs_run_verb(target, verb, args);
	if (json_object_is_type(request, json_type_object) &&
	    json_object_object_get_ex(request, "id", &id))
		json_object_object_add(answer, "id", json_object_get(id));
	return answer;
}
