/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/unit/tools/nbd_rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/words/text.h"

const char *rig_uri_here(const char *text, const char *here)
{
	static char shown[32768];
	struct bpull_error error;
	struct nbd_name name;
	char *uri;

	if (nbd_name_read(text, here, &name, &error)) {
		snprintf(shown, sizeof(shown), "(not a place) %s", error.message);
		return shown;
	}
	if (name.kind != NBD_NAME_PLACE) {
		nbd_name_free(&name);
		return "(not a place)";
	}
	uri = nbd_place_uri(&name.place);
	snprintf(shown, sizeof(shown), "%s", uri);
	free(uri);
	nbd_name_free(&name);
	return shown;
}

const char *rig_uri(const char *text)
{
	return rig_uri_here(text, "/here");
}

void rig_judge_error(const struct bpull_error *error, int code, const char *name)
{
	cr_assert(code < 0 && error->code == code, "%s: %d, %d", name, code, error->code);
	cr_assert(strlen(error->message) > 10, "%s: '%s'", name, error->message);
	cr_assert(text_is_utf8(error->message), "%s", name);
	cr_assert(error->remedy == BPULL_REMEDY_NONE && !*error->remedy_name);
	for (const unsigned char *c = (const unsigned char *)error->message; *c; c++) {
		bool is_c1 = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
		bool is_bidi = c[0] == 0xe2 && c[1] == 0x80 && c[2] >= 0xa8 && c[2] <= 0xae;

		cr_assert(*c >= ' ' && *c != 0x7f && !is_c1 && !is_bidi, "a sentence with \\x%02x",
			  *c);
	}
}

void rig_refused(const char *text, int code, const char *word)
{
	struct bpull_error error;
	struct nbd_name name;
	int rc;

	memset(&error, 0x5a, sizeof(error));
	rc = nbd_name_read(text, "/here", &name, &error);
	cr_assert(rc == code, "'%s' gives %d", text, rc);
	rig_judge_error(&error, rc, text);
	cr_assert(strstr(error.message, word), "'%s' is refused by: %s", text, error.message);
	cr_assert(name.kind == NBD_NAME_OTHER && !name.path && !name.place.export_name,
		  "'%s' leaves something behind", text);
}

struct nbd_place rig_place(const char *uri)
{
	struct bpull_error error;
	struct nbd_name name;

	cr_assert(!nbd_name_read(uri, "/here", &name, &error), "%s: %s", uri, error.message);
	cr_assert(name.kind == NBD_NAME_PLACE, "%s", uri);
	return name.place;
}

unsigned rig_seed(void)
{
	const char *fixed = getenv("SEED");

	return fixed ? (unsigned)strtoul(fixed, NULL, 0) : (unsigned)time(NULL);
}
