/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/nbd/names/name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tools/nbd/names/forms.h"
#include "tools/nbd/names/refusal.h"

/* More than the longest export and socket, each byte of them as three, take. */
#define NAME_MAX_LEN (3 * (NBD_EXPORT_MAX + 4096) + 64)

enum form {
	FORM_OTHER = 0,
	FORM_COLON = 1,
	FORM_URI = 2,
	FORM_JSON = 3,
	FORM_CAPITALS = 4, /* one of these, with capital letters */
};

static enum form form_of(const char *name)
{
	static const struct {
		const char *word;
		enum form form;
	} forms[] = {
		{ "json:", FORM_JSON },     { "nbd://", FORM_URI },    { "nbd:", FORM_COLON },
		{ "nbd+tcp:", FORM_URI },   { "nbd+unix:", FORM_URI }, { "nbds:", FORM_URI },
		{ "nbds+unix:", FORM_URI },
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		size_t len = strlen(forms[i].word);

		if (!strncasecmp(name, forms[i].word, len))
			return strncmp(name, forms[i].word, len) != 0 ? FORM_CAPITALS
								      : forms[i].form;
	}
	return FORM_OTHER;
}

static int read_form(const struct nbd_reading *reading, enum form form, struct nbd_name *name)
{
	if (strlen(reading->name) > NAME_MAX_LEN)
		return nbd_bad_name(reading, "it is longer than %d bytes", NAME_MAX_LEN);
	if (nbd_has_control(reading->name))
		return nbd_bad_name(reading, "it holds characters that control or hide text");
	name->kind = NBD_NAME_PLACE;
	switch (form) {
	case FORM_COLON: return nbd_colon_read(reading, &name->place);
	case FORM_URI: return nbd_uri_read(reading, &name->place);
	case FORM_JSON: return nbd_json_name_read(reading, name);
	case FORM_OTHER:
	case FORM_CAPITALS: break;
	}
	return nbd_bad_name(reading, "its first word must be written in small letters");
}

int nbd_name_read(const char *recorded, const char *here, struct nbd_name *name,
		  struct bpull_error *error)
{
	struct nbd_reading reading = { .name = recorded, .here = here, .error = error };
	enum form form = form_of(recorded);
	int rc;

	*name = (struct nbd_name){ 0 };
	if (form == FORM_OTHER)
		return nbd_foreign_refuse(&reading);
	rc = read_form(&reading, form, name);
	if (rc)
		nbd_name_free(name);
	return rc;
}

void nbd_name_free(struct nbd_name *name)
{
	nbd_place_free(&name->place);
	free(name->path);
	*name = (struct nbd_name){ 0 };
}

bool nbd_name_warn_of_qemu(const char *recorded, char text[NBD_NAME_TEXT_CAP])
{
	struct bpull_error error;
	struct nbd_name name;
	char shown[REFUSAL_NAME_CAP];
	bool warns;

	*text = 0;
	if (nbd_name_read(recorded, "/", &name, &error))
		return false;
	warns = name.kind == NBD_NAME_PLACE && name.place.tls;
	if (warns)
		snprintf(text, NBD_NAME_TEXT_CAP,
			 "'%s': QEMU reads no name with TLS: it opens no image that records this "
			 "one",
			 nbd_show(recorded, shown));
	nbd_name_free(&name);
	return warns;
}
