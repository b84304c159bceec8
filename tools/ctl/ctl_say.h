/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What blockpull ctl says of a job and of a served disk. */
#ifndef TOOLS_CTL_SAY_H
#define TOOLS_CTL_SAY_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json_object.h>

/* A member of an answer; 0 or "", where there is none. The word is the object's. */
uint64_t ctl_say_number(struct json_object *object, const char *key);
const char *ctl_say_word(struct json_object *object, const char *key);
/* A job as `pull --json` prints it. */
void ctl_say_json(struct json_object *job);
/* A job, the counters of a device, and the servers of bases behind a network; each may be NULL. */
void ctl_say_info(struct json_object *job, struct json_object *device, struct json_object *servers,
		  bool json);

#endif
