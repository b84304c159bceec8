/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/serve/capabilities.h"

#include <json-c/json.h>

#include "tools/cli/say.h"
#include "tools/words/exit_code.h"

int capabilities_print(void)
{
	struct json_object *object = json_object_new_object();
	struct json_object *features = json_object_new_array();

	json_object_array_add(features, json_object_new_string("read-only"));
	json_object_array_add(features, json_object_new_string("blk-file"));
	json_object_object_add(object, "type", json_object_new_string("block"));
	json_object_object_add(object, "features", features);
	say_json(object, SAY_JSON_DOCUMENT);
	return EXIT_CODE_DONE;
}
