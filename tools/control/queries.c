/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the control socket tells when it is asked: none of it changes a job. What
 * QMP has no member for begins with "x-".
 */
#include "tools/control/queries.h"

#include <errno.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/control/blockdev.h"
#include "tools/control/jobs/jobs.h"
#include "tools/control/state/args.h"
#include "tools/control/state/events.h"
#include "tools/control/state/node_json.h"
#include "tools/control/state/nodes.h"
#include "tools/control/stats.h"

static struct json_object *queries_version(void)
{
	struct json_object *object = json_object_new_object(), *numbers = json_object_new_object();

	json_object_object_add(numbers, "major", json_object_new_int(BPULL_VERSION_MAJOR));
	json_object_object_add(numbers, "minor", json_object_new_int(BPULL_VERSION_MINOR));
	json_object_object_add(numbers, "micro", json_object_new_int(BPULL_VERSION_PATCH));
	json_object_object_add(object, "qemu", numbers);
	control_add_text(object, "package", "blockpull");
	return object;
}

struct json_object *control_greeting(void)
{
	struct json_object *greeting = json_object_new_object(), *qmp = json_object_new_object();

	json_object_object_add(qmp, "version", queries_version());
	json_object_object_add(qmp, "capabilities", json_object_new_array());
	json_object_object_add(greeting, "QMP", qmp);
	return greeting;
}

/* ---- queries ---- */

static const char *queries_io_status(const struct bpull_job_info *info)
{
	if (!info->stop_error || info->state == BPULL_JOB_CONCLUDED)
		return "ok";
	return info->stop_error == -ENOSPC || info->stop_error == -EDQUOT ? "nospace" : "failed";
}

static struct json_object *queries_describe_block_job(const struct control_target *target,
						      const struct control_job *job)
{
	struct bpull_job_info info = control_job_info(target, job);
	struct json_object *object = json_object_new_object();

	control_add_text(object, "type", job->type);
	control_add_text(object, "device", job->id);
	control_add_progress(object, "offset", "len", &info);
	control_add_bool(object, "busy", info.state == BPULL_JOB_RUNNING);
	control_add_bool(object, "paused",
			 !strcmp(job->status, "paused") || !strcmp(job->status, "standby"));
	control_add_number(object, "speed", info.bandwidth);
	control_add_text(object, "io-status", queries_io_status(&info));
	control_add_bool(object, "ready",
			 !strcmp(job->status, "ready") || !strcmp(job->status, "standby"));
	control_add_text(object, "status", job->status);
	control_add_bool(object, "auto-finalize", job->auto_finalize);
	control_add_bool(object, "auto-dismiss", job->auto_dismiss);
	if (job->error[0])
		control_add_text(object, "error", job->error);
	control_add_number(object, "x-copied", info.copied_bytes);
	control_add_number(object, "x-zero", info.zero_bytes);
	control_add_number(object, "x-skipped", info.skipped_bytes);
	control_add_number(object, "x-present", info.present_bytes);
	control_add_number(object, "x-verified", info.verified_bytes);
	control_add_number(object, "x-source", info.source_bytes);
	control_add_number(object, "x-shared", info.shared_bytes);
	control_add_number(object, "x-past-cache", info.past_cache_bytes);
	control_add_number(object, "x-elapsed-ns", info.elapsed_ns);
	return object;
}

struct json_object *control_query_block_jobs(struct control_target *target,
					     struct json_object *args)
{
	struct json_object *list = json_object_new_array();

	(void)args;
	for (const struct control_job *job = target->jobs; job; job = job->next)
		json_object_array_add(list, queries_describe_block_job(target, job));
	return control_ok(list);
}

struct json_object *control_query_jobs(struct control_target *target, struct json_object *args)
{
	struct json_object *list = json_object_new_array();

	(void)args;
	for (const struct control_job *job = target->jobs; job; job = job->next) {
		struct bpull_job_info info = control_job_info(target, job);
		struct json_object *object = json_object_new_object();

		control_add_text(object, "id", job->id);
		control_add_text(object, "type", job->type);
		control_add_text(object, "status", job->status);
		control_add_progress(object, "current-progress", "total-progress", &info);
		if (job->error[0])
			control_add_text(object, "error", job->error);
		json_object_array_add(list, object);
	}
	return control_ok(list);
}

struct json_object *control_query_nodes(struct control_target *target, struct json_object *args)
{
	bool is_flat = false;
	uint32_t depth;

	control_boolean(args, "flat", &is_flat);
	/* Where a job has changed a link the header tells it, if clients may have files opened. */
	for (struct control_node *node = target->nodes; node; node = node->next)
		if (node->look.is_stale && control_node_is_in_chain(target, node, &depth))
			json_object_put(control_look_at(target, node->path, node->format, node));
	return control_ok(control_nodes_describe(target, is_flat));
}

/* Only the disk as a whole is counted, not its files. */
struct json_object *control_query_stats(struct control_target *target, struct json_object *args)
{
	struct json_object *list = json_object_new_array(), *device;
	struct bpull_disk_stats stats = { .size = sizeof(stats) };
	bool of_nodes = false;

	control_boolean(args, "query-nodes", &of_nodes);
	if (!target->stays || bpull_disk_get_stats(target->disk, &stats))
		return control_ok(list);
	if (of_nodes) {
		json_object_put(list);
		return control_ok(control_stats_of_nodes(target, &stats));
	}
	device = json_object_new_object();
	control_add_text(device, "device", target->device);
	if (target->top)
		control_add_text(device, "node-name", target->top->name);
	json_object_object_add(device, "stats", control_stats_describe(&stats));
	json_object_array_add(list, device);
	return control_ok(list);
}

/* QEMU's daemon has no devices either: what it exports are nodes. */
struct json_object *control_query_block(struct control_target *target, struct json_object *args)
{
	(void)target;
	(void)args;
	return control_ok(json_object_new_array());
}

struct json_object *control_query_job(struct control_target *target, struct json_object *args)
{
	struct json_object *list = json_object_new_array(), *report = control_job_report(target);

	(void)args;
	if (report)
		json_object_array_add(list, report);
	return control_ok(list);
}

struct json_object *control_query_servers(struct control_target *target, struct json_object *args)
{
	(void)args;
	return control_ok(target->servers ? target->servers(target->owner)
					  : json_object_new_array());
}

struct json_object *control_query_version(struct control_target *target, struct json_object *args)
{
	(void)target;
	(void)args;
	return control_ok(queries_version());
}
