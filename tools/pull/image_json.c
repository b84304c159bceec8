/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An image's result as JSON. It only reads what image.c has kept, as the text does. */
#include <string.h>

#include <json-c/json_object.h>

#include "tools/cli/say.h"
#include "tools/pull/image.h"
#include "tools/words/exit_code.h"
#include "tools/words/job_json.h"

static struct json_object *pull_plan_bytes(const struct pull_plan *plan)
{
	struct json_object *bytes = json_object_new_object();
	json_object_object_add(bytes, "to-copy", json_object_new_uint64(plan->copy_bytes));
	json_object_object_add(bytes, "skipped", json_object_new_uint64(plan->skipped_bytes));
	json_object_object_add(bytes, "present", json_object_new_uint64(plan->present_bytes));
	return bytes;
}

void pull_image_json(const struct pull_image *image, const struct pull_plan *plan,
		     struct json_object *network)
{
	struct json_object *line = json_object_new_object();
	const char *message = image->error.code ? image->error.message : NULL;

	if (message && !*message)
		message = strerror(-image->error.code);
	json_object_object_add(line, "event", json_object_new_string("result"));
	json_object_object_add(line, "filename", say_json_text(image->path));
	json_object_object_add(line, "status", json_object_new_string(image->status));
	json_object_object_add(line, "exit-code", json_object_new_int(image->code));
	json_object_object_add(line, "exit-class",
			       json_object_new_string(exit_code_class(image->code)));
	json_object_object_add(line, "error", say_json_text(message));
	json_object_object_add(line, "errno", json_object_new_int(-image->error.code));
	json_object_object_add(line, "virtual-size", json_object_new_uint64(image->virtual_size));
	json_object_object_add(line, "depth", json_object_new_int(image->depth));
	json_object_object_add(line, "bytes",
			       plan ? pull_plan_bytes(plan) : job_json_bytes(&image->info));
	json_object_object_add(line, "seconds", job_json_seconds(image->info.elapsed_ns / 1e9));
	if (network)
		json_object_object_add(line, "network", network);
	if (image->kind)
		image->kind->add_json(image, line);
	say_json(line, SAY_JSON_LINE);
}
