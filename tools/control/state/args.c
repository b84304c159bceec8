/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Sentences and their order are QEMU's: first the arguments that the verb
 * knows, in its own order, then what is left over. json-c keeps integers up to
 * UINT64_MAX and bends longer ones to it; QMP's end at INT64_MAX.
 */
#include "tools/control/state/args.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/control/state/events.h"

struct json_object *control_ok(struct json_object *value)
{
	struct json_object *answer = json_object_new_object();

	json_object_object_add(answer, "return", value ? value : json_object_new_object());
	return answer;
}

struct json_object *control_refuse(const char *class, const char *format, ...)
{
	struct json_object *answer = json_object_new_object(), *error = json_object_new_object();
	char text[1200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_object_object_add(error, "class", json_object_new_string(class));
	control_add_text(error, "desc", text); /* a name may have been cut inside a character */
	json_object_object_add(answer, "error", error);
	return answer;
}

static bool args_is_int64(struct json_object *value)
{
	if (!json_object_is_type(value, json_type_int))
		return false;
	return json_object_get_int64(value) < 0 || json_object_get_uint64(value) <= INT64_MAX;
}

static bool args_are_words(struct json_object *value)
{
	if (!json_object_is_type(value, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(value); i++)
		if (!json_object_is_type(json_object_array_get_idx(value, i), json_type_string))
			return false;
	return true;
}

static bool args_fits(enum control_type type, struct json_object *value)
{
	switch (type) {
	case CONTROL_TEXT: return json_object_is_type(value, json_type_string);
	case CONTROL_INTEGER: return args_is_int64(value);
	case CONTROL_BOOLEAN: return json_object_is_type(value, json_type_boolean);
	case CONTROL_WORDS: return args_are_words(value);
	case CONTROL_ARRAY: return json_object_is_type(value, json_type_array);
	case CONTROL_OBJECT: return json_object_is_type(value, json_type_object);
	case CONTROL_REF:
	case CONTROL_OVERLAP_CHECKS:
		return json_object_is_type(value, json_type_string) ||
		       json_object_is_type(value, json_type_object);
	case CONTROL_REF_OR_NULL: return !value || args_fits(CONTROL_REF, value);
	}
	return false;
}

static const char *args_type_name(enum control_type type)
{
	switch (type) {
	case CONTROL_TEXT: return "string";
	case CONTROL_INTEGER: return "integer";
	case CONTROL_BOOLEAN: return "boolean";
	case CONTROL_WORDS: return "array of strings";
	case CONTROL_ARRAY: return "array";
	case CONTROL_OBJECT: return "object";
	case CONTROL_REF: return "BlockdevRef";
	case CONTROL_REF_OR_NULL: return "BlockdevRefOrNull";
	case CONTROL_OVERLAP_CHECKS: return "Qcow2OverlapChecks";
	}
	return "";
}

static struct json_object *args_check_unexpected(const struct control_arg *list,
						 struct json_object *args, const char *where)
{
	json_object_object_foreach(args, key, value)
	{
		const struct control_arg *arg = list;

		(void)value;
		while (arg->name && strcmp(arg->name, key))
			arg++;
		if (!arg->name)
			return control_refuse("GenericError", "Parameter '%s%.200s' is unexpected",
					      where, key);
	}
	return NULL;
}

static bool args_is_word(const char *const *words, const char *text)
{
	while (*words && strcmp(*words, text) != 0)
		words++;
	return *words;
}

static struct json_object *args_check_one(const struct control_arg *arg, struct json_object *value,
					  const char *where)
{
	if (!args_fits(arg->type, value))
		return control_refuse("GenericError",
				      "Invalid parameter type for '%s%s', expected: %s", where,
				      arg->name, args_type_name(arg->type));
	if (arg->words && json_object_is_type(value, json_type_string) &&
	    !args_is_word(arg->words, json_object_get_string(value)))
		return control_refuse("GenericError",
				      "Parameter '%s' does not accept value '%.200s'", arg->name,
				      json_object_get_string(value));
	return NULL;
}

struct json_object *control_check_some(const struct control_arg *list, struct json_object *args,
				       const char *where)
{
	for (const struct control_arg *arg = list; arg->name; arg++) {
		struct json_object *value, *refusal = NULL;

		if (args && json_object_object_get_ex(args, arg->name, &value))
			refusal = args_check_one(arg, value, where);
		else if (arg->required)
			refusal = control_refuse("GenericError", "Parameter '%s%s' is missing",
						 where, arg->name);
		if (refusal)
			return refusal;
	}
	return NULL;
}

struct json_object *control_check_members(const struct control_arg *list, struct json_object *args,
					  const char *where)
{
	struct json_object *refusal = control_check_some(list, args, where);

	return refusal || !args ? refusal : args_check_unexpected(list, args, where);
}

struct json_object *control_check_args(const struct control_arg *list, struct json_object *args)
{
	return control_check_members(list, args, "");
}

bool control_is_well_formed(const char *name)
{
	if (!isascii((unsigned char)*name) || !isalpha((unsigned char)*name))
		return false;
	while (*name && isascii((unsigned char)*name) &&
	       (isalnum((unsigned char)*name) || strchr("-._", *name)))
		name++;
	return !*name;
}

const char *control_text(struct json_object *args, const char *name)
{
	struct json_object *value;

	return args && json_object_object_get_ex(args, name, &value) ? json_object_get_string(value)
								     : NULL;
}

bool control_integer(struct json_object *args, const char *name, int64_t *out)
{
	struct json_object *value;

	if (!args || !json_object_object_get_ex(args, name, &value))
		return false;
	*out = json_object_get_int64(value);
	return true;
}

bool control_boolean(struct json_object *args, const char *name, bool *out)
{
	struct json_object *value;

	if (!args || !json_object_object_get_ex(args, name, &value))
		return false;
	*out = json_object_get_boolean(value);
	return true;
}
