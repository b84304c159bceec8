/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * json: descriptions of a format over a server or a file. They can say far more in QEMU: filters,
 * parts of a file, keys, other files. What is not in the table below is refused by its name,
 * because leaving it out would open another disk than the image's maker meant.
 */
#include <errno.h>
#include <string.h>

#include "tools/nbd/names/forms.h"
#include "tools/nbd/names/host.h"
#include "tools/nbd/names/json_flat.h"
#include "tools/nbd/names/refusal.h"
#include "tools/words/text.h"

enum goes_with {
	ALL = 0,
	FILE_ONLY = 1,
	NBD = 2,
	INET = 3,
	UNIX = 4
};

static const struct known_key {
	const char *key;
	enum json_flat_type type;
	enum goes_with with;
	bool needed; /* where what it goes with is there */
} known_keys[] = {
	{ "driver", JSON_FLAT_STRING, ALL, true },
	{ "file", JSON_FLAT_OBJECT, ALL, false },
	{ "file.driver", JSON_FLAT_STRING, ALL, true },
	{ "file.filename", JSON_FLAT_STRING, FILE_ONLY, true },
	{ "file.export", JSON_FLAT_STRING, NBD, false },
	{ "file.server", JSON_FLAT_OBJECT, NBD, false },
	{ "file.server.type", JSON_FLAT_STRING, NBD, true },
	{ "file.server.host", JSON_FLAT_STRING, INET, true },
	{ "file.server.port", JSON_FLAT_STRING, INET, true },
	{ "file.server.path", JSON_FLAT_STRING, UNIX, true },
};

#define N_KNOWN (sizeof(known_keys) / sizeof(known_keys[0]))

static const char *text_of(const struct json_flat *flat, const char *key)
{
	const struct json_flat_item *item = json_flat_find(flat, key);

	return item && item->text ? item->text : "";
}

/* libvirt and QEMU write the port as a string; QEMU reads a number as well. */
static bool has_type(const struct known_key *known, const struct json_flat_item *item)
{
	if (item->type == JSON_FLAT_NUMBER && !strcmp(known->key, "file.server.port"))
		return true;
	return item->type == known->type;
}

static bool names_secrets(const char *key)
{
	static const char *const words[] = { "tls",  "user",   "password", "secret",  "key",
					     "cert", "cookie", "auth",     "command", "exec" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(key, words[i]))
			return true;
	return false;
}

static int check_item(const struct nbd_reading *reading, const struct json_flat_item *item)
{
	static const char *const types[] = { "a string", "a number", "an object", "a word" };
	char shown[REFUSAL_NAME_CAP];

	for (size_t i = 0; i < N_KNOWN; i++) {
		if (strcmp(known_keys[i].key, item->key) != 0)
			continue;
		if (has_type(&known_keys[i], item))
			return 0;
		return nbd_bad_name(reading, "'%s' must be %s", item->key,
				    types[known_keys[i].type]);
	}
	return nbd_bad_name(reading, "'%s' is not taken from a name%s", nbd_show(item->key, shown),
			    names_secrets(item->key) ? ": it may not say which keys, certificates, "
						       "users or commands are used"
						     : "");
}

static const char *const formats[] = { "raw", "qcow2", "qed", NULL };
static const enum bpull_format format_numbers[] = { BPULL_FORMAT_RAW, BPULL_FORMAT_QCOW2,
						    BPULL_FORMAT_QED };
static const char *const protocols[] = { "nbd", "file", NULL };
static const char *const addresses[] = { "inet", "unix", NULL };

/* Keys on whose values others depend, and what these may be. */
static const struct {
	const char *key;
	const char *const *words;
	const char *all;
} known_words[] = {
	{ "driver", formats, "raw, qcow2 and qed, over a 'file' of nbd or file," },
	{ "file.driver", protocols, "nbd and file" },
	{ "file.server.type", addresses, "inet and unix" },
};

/* Its place in the list; -1: it is not there. */
static int word_place(const char *const *words, const char *text)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], text))
			return i;
	return -1;
}

static int check_words(const struct nbd_reading *reading, const struct json_flat *flat)
{
	char shown[REFUSAL_NAME_CAP];

	for (size_t i = 0; i < sizeof(known_words) / sizeof(known_words[0]); i++) {
		const char *text = text_of(flat, known_words[i].key);

		if (json_flat_find(flat, known_words[i].key) &&
		    word_place(known_words[i].words, text) < 0)
			return nbd_bad_name(
				reading,
				"its '%s' is '%s', and only %s are read here; have another program "
				"serve it as NBD, and say so: --map-backing NAME=URI",
				known_words[i].key, nbd_show(text, shown), known_words[i].all);
	}
	return 0;
}

static bool is_there(const struct json_flat *flat, enum goes_with with)
{
	bool is_nbd = !strcmp(text_of(flat, "file.driver"), "nbd");

	switch (with) {
	case ALL: return true;
	case FILE_ONLY: return !strcmp(text_of(flat, "file.driver"), "file");
	case NBD: return is_nbd;
	case INET: return is_nbd && !strcmp(text_of(flat, "file.server.type"), "inet");
	case UNIX: return is_nbd && !strcmp(text_of(flat, "file.server.type"), "unix");
	}
	return false;
}

static int check_combination(const struct nbd_reading *reading, const struct json_flat *flat)
{
	for (size_t i = 0; i < N_KNOWN; i++) {
		const struct known_key *known = &known_keys[i];
		bool has = json_flat_find(flat, known->key);

		if (has && !is_there(flat, known->with))
			return nbd_bad_name(reading,
					    "'%s' does not go with what it says of the "
					    "server or the file",
					    known->key);
		if (!has && known->needed && is_there(flat, known->with))
			return nbd_bad_name(reading, "'%s' is missing", known->key);
	}
	return 0;
}

static int check(const struct nbd_reading *reading, const struct json_flat *flat)
{
	int rc = check_words(reading, flat);

	for (size_t i = 0; !rc && i < flat->n; i++)
		rc = check_item(reading, &flat->items[i]);
	return rc ? rc : check_combination(reading, flat);
}

static int set_inet(const struct nbd_reading *reading, const struct json_flat *flat,
		    struct nbd_place *place)
{
	const char *host = text_of(flat, "file.server.host");
	const char *port = text_of(flat, "file.server.port");
	const char *why;
	int rc;

	if (!nbd_port_read(port, strlen(port), &place->port))
		return nbd_bad_name(reading, "'file.server.port' is no port (1 to 65535)");
	rc = nbd_host_read(host, strlen(host), &place->host, &why);
	if (rc == -ENOMEM)
		return nbd_refuse_memory(reading->error);
	return rc ? nbd_bad_name(reading, "the host %s", why) : 0;
}

static int set_place(const struct nbd_reading *reading, const struct json_flat *flat,
		     struct nbd_place *place)
{
	int rc = is_there(flat, INET)
			 ? set_inet(reading, flat, place)
			 : nbd_set_socket(reading, place, text_of(flat, "file.server.path"));

	return rc ? rc : nbd_set_export(reading, place, text_of(flat, "file.export"));
}

static int use(const struct nbd_reading *reading, const struct json_flat *flat,
	       struct nbd_name *name)
{
	int rc = check(reading, flat); /* so its driver is one of the formats */

	if (rc)
		return rc;
	name->format = format_numbers[word_place(formats, text_of(flat, "driver"))];
	name->kind = is_there(flat, NBD) ? NBD_NAME_PLACE : NBD_NAME_FILE;
	if (name->kind == NBD_NAME_PLACE)
		return set_place(reading, flat, &name->place);
	return nbd_make_path(reading, "file", text_of(flat, "file.filename"), &name->path);
}

int nbd_json_name_read(const struct nbd_reading *reading, struct nbd_name *name)
{
	struct json_flat flat;
	char why[JSON_FLAT_WHY];
	int rc;

	if (!text_is_utf8(reading->name))
		return nbd_bad_name(reading, "it is not UTF-8");
	rc = json_flat_read(reading->name + strlen("json:"), &flat, why);
	if (rc == -ENOMEM)
		rc = nbd_refuse_memory(reading->error);
	else
		rc = rc ? nbd_bad_name(reading, "%s", why) : use(reading, &flat, name);
	json_flat_free(&flat);
	return rc;
}
