/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Lines of any bytes to a control socket, with a job that runs and without one:
 * every line has an answer, which is JSON. The first byte says whether capabilities
 * were negotiated.
 */
#include <stdio.h>

#include <json-c/json.h>

#include "io/base.h"
#include "tests/build_image.h"
#include "tests/fuzz/world.h"
#include "tools/control.h"

static void answer(struct control_target *target, bool *negotiated, const uint8_t *line, size_t len)
{
	char *copy = sim_need(malloc(len ? len : 1));
	struct json_object *said;

	memcpy(copy, line, len);
	said = control_answer(target, negotiated, copy, len);
	FUZZ_CHECK(said && json_object_is_type(said, json_type_object), "no answer");
	FUZZ_CHECK(json_object_object_get(said, "return") ||
			   json_object_object_get(said, "error") || json_object_object_length(said),
		   "an empty answer");
	json_object_put(said);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct build_how how = { .guest_len = 64 * KiB,
				 .backing_name = "b1",
				 .backing_format = "raw" };
	struct build_image image = build_image(&how);
	struct sim *sim = fuzz_world(image.bytes, image.len);
	struct sim_chain chain = { .unnamed = IMAGE_RAW, .how = { .format = IMAGE_QCOW2 } };
	struct control_target target = { .device = "drive0",
					 .job = { .size = sizeof(target.job) } };
	struct sim_pull p = { 0 };
	bool negotiated = size && data[0] & 1;

	FUZZ_CHECK(!sim_pull_open(&p, &chain, sim, NULL, SIM_PULL_MEMORY, 0), "%s",
		   p.error.message);
	target.disk = p.disk;
	for (size_t at = 1, end; at < size; at = end + 1) {
		struct bpull_event event;
		const uint8_t *nl = memchr(data + at, '\n', size - at);

		end = nl ? (size_t)(nl - data) : size;
		answer(&target, &negotiated, data + at, end - at);
		json_object_put(control_status_change(&target));
		if (bpull_engine_process(p.engine, &event, 1) == 1)
			json_object_put(control_describe(&target, &event));
	}
	sim_pull_close(&p);
	sim_free(sim);
	build_image_free(&image);
	return 0;
}
