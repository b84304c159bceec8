/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QEMU's verb for descriptors that come with a request (SCM_RIGHTS). There it names one for
 * other verbs; here that name is a file's, since files are what other verbs name.
 */
#include "tools/control/getfd.h"

#include "tools/control/wire/handed.h"

const struct control_arg control_getfd_args[] = { { "fdname", CONTROL_TEXT, true }, { 0 } };

struct json_object *control_getfd(struct control_target *target, struct json_object *args)
{
	struct control_handed *handed = target->handed;
	struct bpull_error error = { 0 };

	if (!target->take_file)
		return control_refuse("GenericError", "No descriptor is taken here: the files of "
						      "this disk are opened by their names");
	if (!handed || !handed->is_there)
		return control_refuse("GenericError", "No file descriptor supplied via SCM_RIGHTS");
	handed->is_there = false;
	if (target->take_file(target->owner, control_text(args, "fdname"), handed->fd, &error))
		return control_refuse("GenericError", "%s", error.message);
	return control_ok(NULL);
}
