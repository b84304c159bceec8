/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QEMU's verb for descriptors that come with a request (SCM_RIGHTS). There it names one for
 * other verbs; here that name is a file's, since files are what other verbs name.
 *
 * QEMU keeps what no verb has named for as long as it runs. Here it goes with its client.
 */
#include "tools/control/getfd.h"

#include <errno.h>

#include "tools/control/wire/handed.h"

const struct control_arg control_getfd_args[] = { { "fdname", CONTROL_TEXT, true }, { 0 } };

struct json_object *control_getfd(struct control_target *target, struct json_object *args)
{
	struct control_handed *handed = target->handed;
	struct bpull_error error = { 0 };

	if (!target->files)
		return control_refuse("GenericError", "No descriptor is taken here: the files of "
						      "this disk are opened by their names");
	if (!handed || !handed->is_there)
		return control_refuse("GenericError", "No file descriptor supplied via SCM_RIGHTS");
	handed->is_there = false;
	if (target->files->take(target->owner, control_text(args, "fdname"), handed->fd, handed,
				&error))
		return control_refuse("GenericError", "%s", error.message);
	return control_ok(NULL);
}

struct json_object *control_closefd(struct control_target *target, struct json_object *args)
{
	const char *name = control_text(args, "fdname");
	struct bpull_error error = { 0 };
	int rc = target->files ? target->files->give_back(target->owner, name, &error) : -ENOENT;

	if (rc == -ENOENT)
		return control_refuse("GenericError", "File descriptor named '%.1000s' not found",
				      name);
	return rc ? control_refuse("GenericError", "%s", error.message) : control_ok(NULL);
}

void control_files_settle(struct control_target *target, const struct control_handed *gone)
{
	if (target->files && target->disk)
		target->files->settle(target->owner, target, gone);
}
