/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What clients are told, as the objects on the wire: they wait in the target until they are taken.
 * A data object is taken over. */
#ifndef TOOLS_CONTROL_EVENTS_H
#define TOOLS_CONTROL_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/control/state/target.h"

void control_tell_status(struct control_target *target, struct control_job *job,
			 const char *status);
void control_tell_end(struct control_target *target, const struct control_job *job,
		      const char *event, const char *error);
void control_tell_ready(struct control_target *target, const struct control_job *job,
			const struct bpull_job_info *info);
void control_tell_pending(struct control_target *target, const struct control_job *job);
void control_tell_error(struct control_target *target, const struct control_job *job, bool was_read,
			const char *action, const char *message);
/* The next event on its way to clients, which the caller puts; NULL: no more. */
struct json_object *control_take_news(struct control_target *target);

/* Members of any object. */
void control_add_text(struct json_object *object, const char *key, const char *text);
void control_add_item(struct json_object *array, const char *text);
void control_add_number(struct json_object *object, const char *key, uint64_t value);
void control_add_bool(struct json_object *object, const char *key, bool value);
/* How far a job is, as QEMU's jobs say it. */
void control_add_progress(struct json_object *object, const char *offset_key, const char *len_key,
			  const struct bpull_job_info *info);

#endif
