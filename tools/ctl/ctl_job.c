/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/ctl/ctl_job.h"

#include <string.h>

#include <json-c/json.h>

#include "tools/cli/say.h"
#include "tools/ctl/ctl_say.h"
#include "tools/words/exit_code.h"

#define WAIT_LOOK_MS 500

struct json_object *ctl_job_first_of(struct ctl_client *client, const char *request, bool *failed)
{
	struct json_object *list = ctl_client_ask(client, request, NULL), *first = NULL;

	*failed = !list;
	if (json_object_is_type(list, json_type_array) && json_object_array_length(list))
		first = json_object_get(json_object_array_get_idx(list, 0));
	json_object_put(list);
	return first;
}

static void ctl_say_no_job(const struct ctl_client *client)
{
	say_error("'%s': no job was started there", client->path);
}

/* The job, which the caller releases; NULL: there is none, or no answer (said). */
static struct json_object *ctl_job_of(struct ctl_client *client)
{
	bool failed;
	struct json_object *job = ctl_job_first_of(client, "x-query-job", &failed);

	if (!job && !failed)
		ctl_say_no_job(client);
	return job;
}

int ctl_job_info(struct ctl_client *client, bool json)
{
	bool failed;
	struct json_object *job = ctl_job_first_of(client, "x-query-job", &failed);
	struct json_object *device = NULL, *servers = NULL;

	if (!failed)
		device = ctl_job_first_of(client, "query-blockstats", &failed);
	if (!failed) {
		servers = ctl_client_ask(client, "x-query-servers", NULL);
		failed = !servers;
	}
	if (!failed && (job || device)) {
		ctl_say_info(job, device, servers, json);
	} else if (!failed) {
		ctl_say_no_job(client);
		failed = true;
	}
	json_object_put(job);
	json_object_put(device);
	json_object_put(servers);
	return failed ? EXIT_CODE_FAILED : EXIT_CODE_DONE;
}

/* Puts what the job's last event says into what was known of it. False: it is another event. */
static bool ctl_take_end(struct json_object *job, struct json_object *event)
{
	const char *name = ctl_say_word(event, "event");
	struct json_object *data = NULL, *error = NULL, *progress = NULL;
	bool is_canceled = !strcmp(name, "BLOCK_JOB_CANCELLED");

	json_object_object_get_ex(event, "data", &data);
	if ((!is_canceled && strcmp(name, "BLOCK_JOB_COMPLETED") != 0) ||
	    strcmp(ctl_say_word(data, "device"), ctl_say_word(job, "id")) != 0)
		return false;
	json_object_object_get_ex(data, "error", &error);
	json_object_object_add(job, "status",
			       json_object_new_string(is_canceled ? "canceled"
						      : error     ? "failed"
								  : "completed"));
	json_object_object_add(job, "state", json_object_new_string("concluded"));
	json_object_object_add(job, "error", json_object_get(error));
	json_object_object_add(job, "errno",
			       json_object_new_int((int)ctl_say_number(data, "x-errno")));
	json_object_object_add(job, "cur", json_object_new_uint64(ctl_say_number(data, "offset")));
	json_object_object_add(job, "end", json_object_new_uint64(ctl_say_number(data, "len")));
	if (json_object_object_get_ex(data, "x-progress", &progress)) {
		json_object_object_foreach(progress, key, value)
			json_object_object_add(job, key, json_object_get(value));
	}
	return true;
}

static int ctl_judge(struct json_object *job)
{
	const char *status = ctl_say_word(job, "status");

	if (!strcmp(status, "completed"))
		return EXIT_CODE_DONE;
	if (!strcmp(status, "canceled"))
		say_error("the job was canceled");
	else
		say_error("%s", ctl_say_word(job, "error"));
	return EXIT_CODE_FAILED;
}

int ctl_job_wait(struct ctl_client *client, bool json)
{
	struct json_object *job = ctl_job_of(client), *event;
	bool in_time, is_over;
	int code;

	if (!job)
		return EXIT_CODE_FAILED;
	is_over = *ctl_say_word(job, "status");
	while (!is_over) {
		event = ctl_client_receive(client, WAIT_LOOK_MS, &in_time);
		if (!event && in_time) {
			say_error("'%s': the process ended before it said how the job did",
				  client->path);
			json_object_put(job);
			return EXIT_CODE_FAILED;
		}
		is_over = event && ctl_take_end(job, event);
		json_object_put(event);
	}
	code = ctl_judge(job);
	if (json)
		ctl_say_json(job);
	json_object_put(job);
	return code;
}
