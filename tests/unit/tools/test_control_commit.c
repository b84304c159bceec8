/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A commit of the image as clients see it: requests and the library's events go
 * in, what clients are told comes out, in QEMU's order
 * (tests/bb/live/qmp_recorded.json). The library is played here: so a job can be
 * anywhere when its disk is given away.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <json-c/json.h>

#include "tests/support/time_limit.h"
#include "tools/control/jobs/job_states.h"
#include "tools/control/jobs/jobs.h"
#include "tools/control/jobs/suspend.h"
#include "tools/control/state/events.h"
#include "tools/control/state/nodes.h"
#include "tools/control/verbs.h"

TIME_LIMIT(60);
TestSuite(control_commit, .timeout = TIME_LIMIT_CLOCK(60));

/* ---- the library, as it is played ---- */

static struct bpull_job_info job;
static char calls[256]; /* what it was told, a word each */
static char base_path[64];
static unsigned depth = 3;

static int told(const char *word)
{
	strcat(calls, word);
	strcat(calls, " ");
	return 0;
}

int bpull_job_start(struct bpull_disk *disk, const struct bpull_job_options *o,
		    struct bpull_error *error)
{
	(void)disk;
	(void)error;
	cr_assert_eq(o->type, BPULL_JOB_TYPE_COMMIT);
	cr_assert_null(o->top);
	snprintf(base_path, sizeof(base_path), "%s", o->base);
	job = (struct bpull_job_info){ .type = BPULL_JOB_TYPE_ACTIVE_COMMIT,
				       .state = BPULL_JOB_RUNNING,
				       .end = 1 };
	return told(o->flags & BPULL_JOB_MANUAL_FINALIZE ? "start" : "start-at-once");
}

int bpull_job_get_info(struct bpull_disk *disk, struct bpull_job_info *info)
{
	(void)disk;
	*info = job;
	return 1;
}

int bpull_job_finalize(struct bpull_disk *disk)
{
	(void)disk;
	return told("finalize");
}

int bpull_job_abort(struct bpull_disk *disk)
{
	(void)disk;
	return told("abort");
}

int bpull_job_pause(struct bpull_disk *disk)
{
	(void)disk;
	return told("pause");
}

int bpull_job_resume(struct bpull_disk *disk)
{
	(void)disk;
	return told("resume");
}

unsigned bpull_disk_depth(const struct bpull_disk *disk)
{
	(void)disk;
	return depth;
}

/* Of which the first ones may be gone. */
static const char *const all[] = { "top", "mid", "base" };

int bpull_disk_layer_path(struct bpull_disk *disk, uint32_t at, char *path, size_t size)
{
	(void)disk;
	return at < depth ? snprintf(path, size, "%s", all[3 - depth + at]) : -22;
}

const char *bpull_job_dropped(const struct bpull_disk *disk, uint32_t i)
{
	(void)disk;
	return i < 3 - depth ? all[i] : NULL;
}

int bpull_disk_find(struct bpull_disk *disk, const char *path, uint32_t *at,
		    struct bpull_error *error)
{
	(void)disk;
	(void)error;
	for (uint32_t i = 1; i < depth; i++)
		if (!strcmp(path, all[3 - depth + i])) {
			*at = i;
			return 0;
		}
	return -22;
}

/* ---- a client ---- */

static struct control_target target;
static bool negotiated = true;
static unsigned n_turned;

static void turned(void *owner, const struct control_node *top)
{
	(void)owner;
	(void)top;
	n_turned++;
}

static const struct control_turns turns = { .end = turned };

static void add(const char *name, struct control_node **end)
{
	*end = calloc(1, sizeof(**end));
	snprintf((*end)->name, sizeof((*end)->name), "%s", name);
	(*end)->path = strdup(name);
	(*end)->is_in_chain = true;
}

static void begin(void)
{
	target = (struct control_target){ .disk = (struct bpull_disk *)&target,
					  .device = "disk",
					  .job = { .size = sizeof(target.job) },
					  .stays = true,
					  .turns = &turns };
	static const struct bpull_disk_options others = { .size = sizeof(others) };

	target.others = &others;
	add("top", &target.nodes);
	add("mid", &target.nodes->next);
	add("base", &target.nodes->next->next);
	target.top = target.nodes;
	*calls = 0;
	n_turned = 0;
	depth = 3;
}

static void ask(const char *verb, const char *args)
{
	struct json_object *request = json_object_new_object(), *answer;

	json_object_object_add(request, "execute", json_object_new_string(verb));
	json_object_object_add(request, "arguments", json_tokener_parse(args));
	answer = control_answer(&target, &negotiated, request);
	cr_assert(json_object_object_get_ex(answer, "return", NULL), "%s: %s", verb,
		  json_object_to_json_string(answer));
	json_object_put(answer);
	json_object_put(request);
}

static void happens(enum bpull_job_status status)
{
	struct bpull_event event = { .type = BPULL_EVENT_JOB,
				     .disk = target.disk,
				     .status = status };

	job.state = status == BPULL_JOB_READY ? BPULL_JOB_WAITING : BPULL_JOB_CONCLUDED;
	job.status = status;
	if (status == BPULL_JOB_COMPLETED)
		depth = 2;
	control_job_event(&target, &event);
}

/* All that clients were told since the last call. */
static void expect(const char *wanted)
{
	struct json_object *event, *data, *word;
	char got[512] = "";

	while ((event = control_take_news(&target))) {
		json_object_object_get_ex(event, "event", &word);
		json_object_object_get_ex(event, "data", &data);
		if (json_object_object_get_ex(data, "status", &word) ||
		    json_object_object_get_ex(event, "event", &word)) {
			strcat(got, json_object_get_string(word));
			strcat(got, " ");
		}
		json_object_put(event);
	}
	cr_assert_str_eq(got, wanted);
}

static void expect_calls(const char *wanted)
{
	cr_assert_str_eq(calls, wanted);
	*calls = 0;
}

#define COMMIT "{\"job-id\":\"j\",\"device\":\"top\",\"base-node\":\"mid\"}"
#define ID     "{\"id\":\"j\"}"
#define DEVICE "{\"device\":\"j\"}"
#define READY  "created running ready BLOCK_JOB_READY "
#define ENDED  "waiting pending BLOCK_JOB_COMPLETED concluded null "

static void ready(const char *args)
{
	begin();
	ask("block-commit", args);
	happens(BPULL_JOB_READY);
	expect(READY);
	expect_calls("start ");
}

Test(control_commit, is_told_to_complete)
{
	ready(COMMIT);
	cr_assert_str_eq(base_path, "mid");
	ask("job-complete", ID);
	ask("block-job-complete", DEVICE); /* QEMU takes it twice, too */
	expect("");
	cr_assert(!strncmp(calls, "finalize ", 9));
	happens(BPULL_JOB_COMPLETED);
	expect(ENDED);
	cr_assert_str_eq(target.top->name, "mid");
	cr_assert_null(control_node_named(&target, "top"));
	cr_assert_eq(n_turned, 1);
	control_forget(&target);
}

/* The library empties the image that was before it tells of the end. */
Test(control_commit, has_files_in_use_between_the_turn_and_its_event)
{
	ready(COMMIT);
	ask("job-complete", ID);
	depth = 2;
	for (unsigned i = 0; i < 3; i++)
		cr_assert(control_path_is_used(&target, all[i]), "%s", all[i]);
	happens(BPULL_JOB_COMPLETED);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(control_path_is_used(&target, all[i]), i > 0, "%s", all[i]);
	control_forget(&target);
}

Test(control_commit, is_finalized_by_hand)
{
	ready("{\"job-id\":\"j\",\"device\":\"disk\",\"base-node\":\"mid\",\"auto-finalize\":"
	      "false}");
	ask("job-complete", ID);
	expect("waiting pending BLOCK_JOB_PENDING ");
	expect_calls("");
	ask("job-finalize", ID);
	expect_calls("finalize ");
	happens(BPULL_JOB_COMPLETED);
	expect("BLOCK_JOB_COMPLETED concluded null ");
	control_forget(&target);
}

Test(control_commit, is_ended_without_a_turn)
{
	ready(COMMIT);
	ask("block-job-cancel", DEVICE);
	expect_calls("abort ");
	happens(BPULL_JOB_CANCELED);
	expect(ENDED);
	cr_assert_str_eq(target.top->name, "top");
	cr_assert_not_null(control_node_named(&target, "mid"));
	control_forget(&target);
}

Test(control_commit, that_is_canceled_leaves_the_top_as_it_was)
{
	ready(COMMIT);
	ask("job-cancel", ID);
	happens(BPULL_JOB_CANCELED);
	expect("aborting BLOCK_JOB_CANCELLED concluded null ");
	cr_assert_str_eq(target.top->name, "top");
	control_forget(&target);
	ready(COMMIT);
	ask("block-job-cancel", "{\"device\":\"j\",\"force\":true}");
	happens(BPULL_JOB_CANCELED);
	expect("aborting BLOCK_JOB_CANCELLED concluded null ");
	control_forget(&target);
}

Test(control_commit, is_told_to_complete_while_it_is_paused)
{
	ready(COMMIT);
	ask("job-pause", ID);
	control_job_look(&target);
	expect("standby ");
	ask("job-complete", ID);
	expect_calls("pause ");
	ask("job-resume", ID);
	expect("ready ");
	expect_calls("resume finalize ");
	happens(BPULL_JOB_COMPLETED);
	expect(ENDED);
	control_forget(&target);
}

/* The disk is given away and comes back: the job begins anew, and clients see a pause. */
Test(control_commit, goes_on_when_its_disk_is_back)
{
	ready(COMMIT);
	cr_assert_not_null(control_job_suspend(&target, &job));
	expect("standby ");
	control_job_wake(&target, NULL);
	job.state = BPULL_JOB_RUNNING;
	control_job_look(&target);
	ask("job-complete", ID);
	expect("");
	expect_calls("");
	happens(BPULL_JOB_READY);
	expect("ready ");
	expect_calls("finalize ");
	happens(BPULL_JOB_COMPLETED);
	expect(ENDED);
	control_forget(&target);
}

Test(control_commit, that_fails_leaves_the_top_as_it_was)
{
	ready(COMMIT);
	ask("job-complete", ID);
	happens(BPULL_JOB_FAILED);
	expect("aborting BLOCK_JOB_COMPLETED concluded null ");
	cr_assert_str_eq(target.top->name, "top");
	cr_assert_eq(n_turned, 1); /* the server may know its image's clusters again */
	control_forget(&target);
}
