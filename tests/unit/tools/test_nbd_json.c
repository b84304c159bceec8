/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * json: names. Whatever is not exactly a format over a server or a file is refused and named:
 * leaving a key out would open another disk than the image says. The reader below them is judged
 * by json-c: what it accepts, json-c accepts, with the same values.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tools/nbd_rig.h"
#include "tools/nbd/names/json_flat.h"

#define SERVER     "\"server\":{\"type\":\"inet\",\"host\":\"h\",\"port\":\"1\"}"
#define OVER(file) "json:{\"driver\":\"raw\",\"file\":{" file "}}"
#define NBD(more)  OVER("\"driver\":\"nbd\"," more)

static const struct {
	const char *name, *uri;
	enum bpull_format format;
} places[] = {
	{ NBD(SERVER), "nbd://h:1/", BPULL_FORMAT_RAW },
	{ NBD(SERVER ",\"export\":\"x\""), "nbd://h:1/x", BPULL_FORMAT_RAW },
	{ NBD(SERVER ",\"export\":\"\""), "nbd://h:1/", BPULL_FORMAT_RAW },
	{ NBD("\"export\":\"/a b%41\"," SERVER), "nbd://h:1/%2Fa%20b%2541", BPULL_FORMAT_RAW },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"::1\",\"port\":\"1\"}"), "nbd://[::1]:1/",
	  BPULL_FORMAT_RAW },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"H\",\"port\":10809}"), "nbd://h:10809/",
	  BPULL_FORMAT_RAW },
	{ NBD("\"server\":{\"type\":\"unix\",\"path\":\"/s\"},\"export\":\"x\""),
	  "nbd+unix:///x?socket=/s", BPULL_FORMAT_RAW },
	{ NBD("\"server\":{\"type\":\"unix\",\"path\":\"s\"}"), "nbd+unix:///?socket=/here/s",
	  BPULL_FORMAT_RAW },
	{ "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"nbd\"," SERVER "}}", "nbd://h:1/",
	  BPULL_FORMAT_QCOW2 },
	{ "json:{\"driver\":\"qed\",\"file\":{\"driver\":\"nbd\"," SERVER "}}", "nbd://h:1/",
	  BPULL_FORMAT_QED },
	/* Flattened, wholly and in part. */
	{ "json:{\"driver\":\"raw\",\"file.driver\":\"nbd\",\"file.server.type\":\"inet\","
	  "\"file.server.host\":\"h\",\"file.server.port\":\"1\",\"file.export\":\"x\"}",
	  "nbd://h:1/x", BPULL_FORMAT_RAW },
	{ "json:{\"file\":{\"server.type\":\"unix\",\"server\":{\"path\":\"/s\"}},"
	  "\"driver\":\"qcow2\",\"file.driver\":\"nbd\"}",
	  "nbd+unix:///?socket=/s", BPULL_FORMAT_QCOW2 },
	{ "json: { \"driver\" : \"raw\" , \"file\" : {\"driver\":\"nbd\"," SERVER "} } ",
	  "nbd://h:1/", BPULL_FORMAT_RAW },
	/* One character, written in several ways. */
	{ NBD(SERVER ",\"export\":\"\\u00fc\u00fc\\ud83d\\udcbe\\/\\\\\\\"\""),
	  "nbd://h:1/%C3%BC%C3%BC%F0%9F%92%BE/%5C%22", BPULL_FORMAT_RAW },
	{ "json:{\"dri\\u0076er\":\"raw\",\"file\":{\"driver\":\"nbd\"," SERVER "}}", "nbd://h:1/",
	  BPULL_FORMAT_RAW },
};

Test(nbd_json, servers_are_read)
{
	for (size_t i = 0; i < N_OF(places); i++) {
		struct bpull_error error;
		struct nbd_name name;
		const char *uri = rig_uri(places[i].name);

		cr_assert(!strcmp(uri, places[i].uri), "%s is read as %s", places[i].name, uri);
		cr_assert(!nbd_name_read(places[i].name, "/here", &name, &error));
		cr_assert(name.format == places[i].format, "%s", places[i].name);
		nbd_name_free(&name);
	}
}

Test(nbd_json, files_are_read)
{
	static const struct {
		const char *name, *path;
	} files[] = {
		{ OVER("\"driver\":\"file\",\"filename\":\"/a/b.img\""), "/a/b.img" },
		{ OVER("\"driver\":\"file\",\"filename\":\"b.img\""), "/here/b.img" },
		{ OVER("\"driver\":\"file\",\"filename\":\"nbd://h/x\""), "/here/nbd://h/x" },
		{ OVER("\"driver\":\"file\",\"filename\":\"file:x\""), "/here/file:x" },
		{ "json:{\"driver\":\"raw\",\"file.driver\":\"file\",\"file.filename\":\"/x\"}",
		  "/x" },
	};

	for (size_t i = 0; i < N_OF(files); i++) {
		struct bpull_error error;
		struct nbd_name name;

		cr_assert(!nbd_name_read(files[i].name, "/here", &name, &error), "%s: %s",
			  files[i].name, error.message);
		cr_assert(name.kind == NBD_NAME_FILE && name.format == BPULL_FORMAT_RAW);
		cr_assert_str_eq(name.path, files[i].path);
		cr_assert(!name.place.export_name);
		nbd_name_free(&name);
	}
	cr_assert_str_eq(rig_uri(files[0].name), "(not a place)");
}

static const struct {
	const char *name, *word;
} refused[] = {
	/* No object, or more than one. */
	{ "json:", "object" },
	{ "json:[]", "object" },
	{ "json:\"x\"", "object" },
	{ "json:null", "object" },
	{ "json:{", "missing" },
	{ "json:{\"driver\":\"raw\"", "missing" },
	{ "json:{\"driver\":\"raw\",}", "missing" },
	{ "json:{\"driver\" \"raw\"}", "':'" },
	{ "json:{\"driver\":}", "not JSON" },
	{ "json:{'driver':'raw'}", "double quotes" },
	{ "json:{driver:\"raw\"}", "double quotes" },
	{ NBD(SERVER) "x", "behind" },
	{ NBD(SERVER) "{}", "behind" },
	{ NBD(SERVER) " }", "behind" },
	{ NBD(SERVER) "//", "behind" },
	{ "json:/**/{}", "object" },
	{ "json:{\"driver\":\"raw}", "does not end" },
	{ "json:{\"driver\":\"\\x\"}", "backslash" },
	{ "json:{\"driver\":\"\\", "backslash" },
	{ "json:{\"driver\":\"\\u12\"}", "four" },
	{ "json:{\"driver\":\"\\ud800\"}", "half" },
	{ "json:{\"driver\":\"\\ud800\\u0041\"}", "half" },
	{ "json:{\"driver\":\"\\udc00\"}", "half" },
	{ "json:{\"driver\":\"\\udc00\\udc00\"}", "half" },
	{ "json:{\"driver\":\"\\ud800\\udbff\"}", "half" },
	{ NBD(SERVER ",\"export\":\"\\u0000\""), "\\u0000" },
	{ NBD(SERVER ",\"export\":\"a\\u0000b\""), "\\u0000" },
	{ NBD(SERVER ",\"export\":\"\\n\""), "control" },
	{ NBD(SERVER ",\"export\":\"\\u001b[2J\""), "control" },
	{ NBD(SERVER ",\"export\":\"\\u202e\""), "control" },
	{ NBD(SERVER ",\"export\":\"\xff\""), "UTF-8" },
	{ "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"\xff\"}}",
	  "UTF-8" },
	/* What is missing. */
	{ "json:{}", "'driver' is missing" },
	{ "json:{\"driver\":\"raw\"}", "'file.driver' is missing" },
	{ "json:{\"driver\":\"raw\",\"file\":{}}", "'file.driver' is missing" },
	{ "json:{\"file\":{\"driver\":\"nbd\"," SERVER "}}", "'driver' is missing" },
	{ OVER("\"driver\":\"nbd\""), "'file.server.type' is missing" },
	{ NBD("\"server\":{}"), "'file.server.type' is missing" },
	{ NBD("\"server\":{\"type\":\"inet\",\"port\":\"1\"}"), "'file.server.host' is missing" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"h\"}"), "'file.server.port' is missing" },
	{ NBD("\"server\":{\"type\":\"unix\"}"), "'file.server.path' is missing" },
	{ OVER("\"driver\":\"file\""), "'file.filename' is missing" },
	{ OVER("\"driver\":\"file\",\"filename\":\"\""), "missing" },
	/* Other formats, other drivers. */
	{ "json:{\"driver\":\"nbd\"," SERVER "}", "'nbd'" },
	{ "json:{\"driver\":\"vmdk\",\"file\":{\"driver\":\"nbd\"," SERVER "}}", "'vmdk'" },
	{ "json:{\"driver\":\"\",\"file\":{\"driver\":\"nbd\"," SERVER "}}", "''" },
	{ "json:{\"driver\":\"RAW\",\"file\":{\"driver\":\"nbd\"," SERVER "}}", "'RAW'" },
	{ "json:{\"driver\":\"throttle\",\"file\":{}}", "'throttle'" },
	{ OVER("\"driver\":\"https\",\"url\":\"https://h/x\""), "'https'" },
	{ OVER("\"driver\":\"https\",\"url\":\"https://h/x\""), "--map-backing" },
	{ OVER("\"driver\":\"host_device\",\"filename\":\"/dev/sda\""), "'host_device'" },
	{ OVER("\"driver\":\"ssh\",\"user\":\"root\""), "'ssh'" },
	{ OVER("\"driver\":\"\""), "''" },
	{ NBD("\"server\":{\"type\":\"vsock\",\"cid\":\"2\",\"port\":\"1\"}"), "'vsock'" },
	{ NBD("\"server\":{\"type\":\"fd\",\"str\":\"3\"}"), "'fd'" },
	{ NBD("\"server\":{\"type\":\"\"}"), "''" },
	/* Keys that would change which disk it is, or with which means it is opened. */
	{ NBD(SERVER ",\"tls-creds\":\"tls0\""), "'file.tls-creds'" },
	{ NBD(SERVER ",\"tls-creds\":\"tls0\""), "certificates" },
	{ NBD(SERVER ",\"tls-hostname\":\"x\""), "'file.tls-hostname'" },
	{ NBD(SERVER ",\"x-dirty-bitmap\":\"b\""), "'file.x-dirty-bitmap'" },
	{ NBD(SERVER ",\"reconnect-delay\":10"), "'file.reconnect-delay'" },
	{ NBD("\"host\":\"h\",\"port\":\"1\""), "'file.host'" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"h\",\"port\":\"1\",\"ipv4\":true}"),
	  "'file.server.ipv4'" },
	{ NBD("\"server\":{\"type\":\"unix\",\"path\":\"/s\",\"abstract\":true}"),
	  "'file.server.abstract'" },
	{ "json:{\"driver\":\"raw\",\"offset\":512,\"file\":{\"driver\":\"nbd\"," SERVER "}}",
	  "'offset'" },
	{ "json:{\"driver\":\"raw\",\"size\":512,\"file\":{\"driver\":\"nbd\"," SERVER "}}",
	  "'size'" },
	{ "json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":\"nbd\"," SERVER "}}",
	  "'backing'" },
	{ "json:{\"driver\":\"qcow2\",\"data-file\":{\"driver\":\"file\",\"filename\":\"/x\"},"
	  "\"file\":{\"driver\":\"nbd\"," SERVER "}}",
	  "'data-file'" },
	{ "json:{\"driver\":\"qcow2\",\"encrypt\":{\"key-secret\":\"s\"},\"file\":{\"driver\":"
	  "\"nbd\"," SERVER "}}",
	  "'encrypt'" },
	{ OVER("\"driver\":\"file\",\"filename\":\"/x\",\"locking\":\"off\""), "'file.locking'" },
	{ OVER("\"driver\":\"file\",\"filename\":\"/x\",\"pr-manager\":\"x\""),
	  "'file.pr-manager'" },
	{ OVER("\"driver\":\"file\",\"filename\":\"/x\",\"\":1"), "'file.'" },
	{ OVER("\"driver\":\"file\",\"filename\":\"/x\",\"file.driver\":1"), "'file.file.driver'" },
	{ NBD(SERVER ",\"\\u001b\":1"), "\\x1b" },
	/* Keys of the other kind. */
	{ NBD(SERVER ",\"filename\":\"/x\""), "'file.filename' does not go" },
	{ OVER("\"driver\":\"file\",\"filename\":\"/x\",\"export\":\"x\""),
	  "'file.export' does not go" },
	{ OVER("\"driver\":\"file\",\"filename\":\"/x\"," SERVER), "'file.server' does not go" },
	{ OVER("\"driver\":\"file\",\"filename\":\"/x\",\"server.type\":\"inet\""),
	  "'file.server.type' does not go" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"h\",\"port\":\"1\",\"path\":\"/s\"}"),
	  "'file.server.path' does not go" },
	{ NBD("\"server\":{\"type\":\"unix\",\"path\":\"/s\",\"host\":\"h\"}"),
	  "'file.server.host' does not go" },
	/* Twice, in whichever way it is written. */
	{ "json:{\"driver\":\"raw\",\"driver\":\"raw\"}", "'driver' is there twice" },
	{ "json:{\"driver\":\"raw\",\"dri\\u0076er\":\"raw\"}", "'driver' is there twice" },
	{ NBD(SERVER "," SERVER), "'file.server' is there twice" },
	{ "json:{\"driver\":\"raw\",\"file.driver\":\"nbd\",\"file\":{\"driver\":\"file\"}}",
	  "'file.driver' is there twice" },
	{ "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"nbd\"},\"file\":{" SERVER "}}",
	  "'file' is there twice" },
	{ NBD("\"server.host\":\"a\"," SERVER), "'file.server.host' is there twice" },
	{ "json:{\"\\u001b\":1,\"\\u001b\":2}", "'\\x1b' is there twice" },
	/* Wrong types. */
	{ "json:{\"driver\":1}", "'1'" },
	{ "json:{\"driver\":{}}", "''" },
	{ "json:{\"driver\":[\"raw\"]}", "list" },
	{ "json:{\"driver\":\"raw\",\"file\":\"node0\"}", "'file' must be an object" },
	{ "json:{\"driver\":\"raw\",\"file\":null}", "'file' must be an object" },
	{ NBD("\"server\":\"h\""), "'file.server' must be an object" },
	{ NBD(SERVER ",\"export\":null"), "'file.export' must be a string" },
	{ NBD(SERVER ",\"export\":1"), "'file.export' must be a string" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":1,\"port\":\"1\"}"),
	  "'file.server.host' must be a string" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":{},\"port\":\"1\"}"), "deeper" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"h\",\"port\":true}"),
	  "'file.server.port' must be a string" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"h\",\"port\":1.0}"), "no port" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"h\",\"port\":1e1}"), "no port" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"h\",\"port\":-1}"), "no port" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"h\",\"port\":70000}"), "no port" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"h\",\"port\":01}"), "not JSON" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"h\",\"port\":\"nbd\"}"), "no port" },
	/* Hosts are those of URIs. */
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"\",\"port\":\"1\"}"), "missing" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"[::1]\",\"port\":\"1\"}"), "IPv6" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"127.1\",\"port\":\"1\"}"), "number" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"u@h\",\"port\":\"1\"}"), "host" },
	{ NBD("\"server\":{\"type\":\"inet\",\"host\":\"h:2\",\"port\":\"1\"}"), "IPv6" },
	/* Deep. */
	{ NBD("\"server\":{\"type\":{}}"), "deeper" },
	{ "json:{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}", "deeper" },
};

Test(nbd_json, all_else_is_refused_by_name)
{
	for (size_t i = 0; i < N_OF(refused); i++)
		rig_refused(refused[i].name, -EINVAL, refused[i].word);
}

Test(nbd_json, neither_depth_nor_number_has_no_limit)
{
	char *text = malloc(200000);

	strcpy(text, "json:");
	for (int i = 0; i < 4000; i++)
		strcat(text, "{\"a\":");
	rig_refused(text, -EINVAL, "deeper");

	strcpy(text, "json:{");
	for (int i = 0; i < 100; i++)
		sprintf(text + strlen(text), "\"k%d\":1,", i);
	rig_refused(text, -EINVAL, "more than 32");

	strcpy(text, "json:{\"");
	memset(text + 7, 'k', 100000);
	strcpy(text + 100007, "\":1}");
	rig_refused(text, -EINVAL, "longer");
	free(text);
}

/* json-c's value at a key that may be parted by dots anywhere; NULL: none. */
static struct json_object *value_at(struct json_object *object, const char *key)
{
	json_object_object_foreach(object, name, value)
	{
		size_t len = strlen(name);
		struct json_object *found;

		if (!strcmp(name, key))
			return value;
		if (strncmp(name, key, len) || key[len] != '.' ||
		    !json_object_is_type(value, json_type_object))
			continue;
		found = value_at(value, key + len + 1);
		if (found)
			return found;
	}
	return NULL;
}

/* json-c 0.16 takes the code points 0x1d800 to 0x1dfff, and those 0x10000 and so on above them, for
 * halves of others. */
static bool json_c_errs(const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c >= 0xf0 && (c[1] & 0xf) == 0xd && c[2] & 0x20)
			return true;
	return false;
}

static bool agrees(const struct json_flat_item *item, struct json_object *root)
{
	struct json_object *value = value_at(root, item->key);

	switch (item->type) {
	case JSON_FLAT_STRING:
		return json_object_is_type(value, json_type_string) &&
		       (json_c_errs(item->text) ||
			!strcmp(json_object_get_string(value), item->text));
	case JSON_FLAT_OBJECT: return json_object_is_type(value, json_type_object);
	case JSON_FLAT_NUMBER:
		return json_object_is_type(value, json_type_int) ||
		       json_object_is_type(value, json_type_double);
	case JSON_FLAT_WORD: return !value || json_object_is_type(value, json_type_boolean);
	}
	return false;
}

/* One text that is made of tokens at random, then bent. */
static void make_text(unsigned *state, char *text, size_t cap)
{
	static const char *const tokens[] = { "{",
					      "}",
					      ":",
					      ",",
					      "\"a\"",
					      "\"b.c\"",
					      "\"\\u0041\"",
					      "1",
					      "-0.5e3",
					      "true",
					      "null",
					      "\"\"",
					      " ",
					      "{\"a\":1}",
					      "{\"x\":\"y\"}",
					      "\"k\":",
					      "\"\\ud83d\\udcbe\"" };
	size_t len = 0;

	text[len++] = '{';
	for (unsigned n = rand_r(state) % 12; n; n--) {
		const char *token = tokens[rand_r(state) % N_OF(tokens)];

		if (rand_r(state) % 2)
			len += (size_t)snprintf(text + len, cap - len, "%s\"k%u\":%s",
						len > 1 ? "," : "", rand_r(state) % 8, token);
		else if (rand_r(state) % 8 == 0)
			len += (size_t)snprintf(text + len, cap - len, "%s", token);
	}
	text[len++] = '}';
	text[len] = 0;
	if (rand_r(state) % 4 == 0)
		text[rand_r(state) % len] = (char)(' ' + rand_r(state) % 95);
}

Test(nbd_json, what_is_accepted_json_c_reads_alike)
{
	unsigned seed = rig_seed(), state = seed;
	unsigned n_accepted = 0;

	for (int round = 0; round < 100000; round++) {
		char text[512], why[JSON_FLAT_WHY];
		struct json_tokener *tokener;
		struct json_object *root;
		struct json_flat flat;
		int rc;

		make_text(&state, text, sizeof(text));
		rc = json_flat_read(text, &flat, why);
		cr_assert(rc == 0 ? !*why : rc == -EINVAL && *why, "SEED=%u: %s", seed, text);
		if (!rc) {
			n_accepted++;
			tokener = json_tokener_new();
			json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
			root = json_tokener_parse_ex(tokener, text, -1);
			cr_assert(root, "SEED=%u: json-c refuses %s", seed, text);
			for (size_t i = 0; i < flat.n; i++)
				cr_assert(agrees(&flat.items[i], root), "SEED=%u: %s of %s", seed,
					  flat.items[i].key, text);
			json_object_put(root);
			json_tokener_free(tokener);
		}
		json_flat_free(&flat);
	}
	cr_assert(n_accepted > 10000, "SEED=%u: only %u were JSON", seed, n_accepted);
}
