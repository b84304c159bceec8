/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A verb's arguments: which there are and of which type, checked once and as a
 * whole, so that no verb can overlook one that it does not know.
 */
#ifndef TOOLS_CONTROL_ARGS_H
#define TOOLS_CONTROL_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json_object.h>

enum control_type {
	CONTROL_TEXT = 1,
	CONTROL_INTEGER, /* an int64 */
	CONTROL_BOOLEAN,
	CONTROL_WORDS, /* an array of strings */
	CONTROL_ARRAY,
	CONTROL_OBJECT,
	CONTROL_REF,            /* an object, or a string: the name of one */
	CONTROL_REF_OR_NULL,    /* the same, or null */
	CONTROL_OVERLAP_CHECKS, /* an object, or one of the words */
};

/* A list ends with a row whose name is NULL. */
struct control_arg {
	const char *name; /* static */
	enum control_type type;
	bool required;
	const char *const *words; /* of a string: those that it may be, up to a NULL; NULL: any */
};

/* An answer with a value, which it takes over; NULL: an empty object. */
struct json_object *control_ok(struct json_object *value);
/* A refusal with QMP's error class. */
struct json_object *control_refuse(const char *class, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A refusal where arguments (an object, or NULL) hold what the list does not, something of a wrong
 * type, or too little; else NULL. */
struct json_object *control_check_args(const struct control_arg *list, struct json_object *args);
/* The same of an object in the arguments: `where` goes before names in sentences, as "file.". */
struct json_object *control_check_members(const struct control_arg *list, struct json_object *args,
					  const char *where);
/* Only the listed ones are looked at: what else there is may be another list's. */
struct json_object *control_check_some(const struct control_arg *list, struct json_object *args,
				       const char *where);

/* Of checked arguments. Text: NULL where there is none, valid as long as they are. The others:
 * false, and *out untouched, where there is none. */
const char *control_text(struct json_object *args, const char *name);
bool control_integer(struct json_object *args, const char *name, int64_t *out);
bool control_boolean(struct json_object *args, const char *name, bool *out);

/* QEMU's rule for names that a client makes up. */
bool control_is_well_formed(const char *name);

#endif
