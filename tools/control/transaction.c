/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One disk is served: what the actions change is which images lie on each other. All are looked at
 * before anything is changed, each as if those before it were done, and then the library takes them
 * by one call.
 */
#include "tools/control/transaction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/control/snapshot.h"

static const char *const type_words[] = { "abort", "blockdev-snapshot", "blockdev-snapshot-sync",
					  NULL };
static const char *const mode_words[] = { "individual", "grouped", NULL };

const struct control_arg control_transaction_args[] = { { "actions", CONTROL_ARRAY, true },
							{ "properties", CONTROL_OBJECT, false },
							{ 0 } };
static const struct control_arg action_args[] = { { "type", CONTROL_TEXT, true, type_words },
						  { "data", CONTROL_OBJECT, true },
						  { 0 } };
static const struct control_arg property_args[] = {
	{ "completion-mode", CONTROL_TEXT, false, mode_words }, { 0 }
};
static const struct control_arg no_args[] = { { 0 } };

static struct json_object *transaction_action(struct json_object *actions, size_t i,
					      const char **type, struct json_object **data)
{
	struct json_object *action = json_object_array_get_idx(actions, i);

	*type = control_text(action, "type");
	json_object_object_get_ex(action, "data", data);
	return action;
}

/* Its form, as QEMU looks at it before anything is done. */
static struct json_object *transaction_check_action(struct json_object *actions, size_t i)
{
	struct json_object *action = json_object_array_get_idx(actions, i), *data, *refusal;
	const char *type;
	char where[64];

	if (!json_object_is_type(action, json_type_object))
		return control_refuse("GenericError",
				      "Invalid parameter type for 'actions[%zu]', expected: object",
				      i);
	snprintf(where, sizeof(where), "actions[%zu].", i);
	refusal = control_check_some(action_args, action, where);
	if (refusal)
		return refusal;
	transaction_action(actions, i, &type, &data);
	snprintf(where, sizeof(where), "actions[%zu].data.", i);
	refusal = control_check_members(!strcmp(type, "abort") ? no_args
					: !strcmp(type, "blockdev-snapshot")
						? control_snapshot_args
						: control_snapshot_sync_args,
					data, where);
	snprintf(where, sizeof(where), "actions[%zu].", i);
	return refusal ? refusal : control_check_members(action_args, action, where);
}

static struct json_object *transaction_check(struct json_object *args, struct json_object *actions)
{
	struct json_object *properties = NULL, *refusal = NULL;

	for (size_t i = 0; !refusal && i < json_object_array_length(actions); i++)
		refusal = transaction_check_action(actions, i);
	if (!refusal && json_object_object_get_ex(args, "properties", &properties))
		refusal = control_check_members(property_args, properties, "properties.");
	return refusal;
}

/* Jobs alone can be grouped, and no action here makes one. */
static bool transaction_is_grouped(struct json_object *args)
{
	struct json_object *properties = NULL;
	const char *mode;

	json_object_object_get_ex(args, "properties", &properties);
	mode = control_text(properties, "completion-mode");
	return mode && !strcmp(mode, "grouped");
}

static struct json_object *transaction_prepare(const struct control_target *target,
					       struct json_object *actions, size_t i,
					       struct control_snapshots *taken)
{
	struct json_object *data;
	const char *type;

	transaction_action(actions, i, &type, &data);
	if (!strcmp(type, "abort"))
		return control_refuse("GenericError", "Transaction aborted using Abort action");
	return !strcmp(type, "blockdev-snapshot")
		       ? control_snapshot_prepare(target, data, taken)
		       : control_snapshot_prepare_sync(target, data, taken);
}

static struct json_object *transaction_run(struct control_target *target,
					   struct json_object *actions, bool is_grouped,
					   struct control_snapshots *taken)
{
	struct json_object *refusal = NULL, *data;
	const char *type;

	for (size_t i = 0; !refusal && i < json_object_array_length(actions); i++) {
		transaction_action(actions, i, &type, &data);
		if (is_grouped && strcmp(type, "abort") != 0)
			refusal = control_refuse("GenericError",
						 "Action '%s' does not support Transaction "
						 "property completion-mode = grouped",
						 type);
		else
			refusal = transaction_prepare(target, actions, i, taken);
	}
	return refusal ? refusal : control_snapshot_take(target, taken);
}

struct json_object *control_transaction(struct control_target *target, struct json_object *args)
{
	struct control_snapshots taken = { 0 };
	struct json_object *actions, *refusal;

	json_object_object_get_ex(args, "actions", &actions);
	refusal = transaction_check(args, actions);
	if (refusal)
		return refusal;
	/* One more than there are, as there may be none. */
	taken.list = calloc(json_object_array_length(actions) + 1, sizeof(*taken.list));
	refusal = taken.list
			  ? transaction_run(target, actions, transaction_is_grouped(args), &taken)
			  : control_refuse("GenericError", "out of memory");
	free(taken.list);
	return refusal ? refusal : control_ok(NULL);
}
