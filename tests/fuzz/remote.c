/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bytes as a recorded name, as a pattern of --allow-remote or as a mapping: the first byte says
 * which. What is refused has a sentence that can be printed; what is accepted is judged by rules of
 * its own: the C library's readers of addresses, json-c, and the canonical text read again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/world.h"
#include "tools/nbd/names/mapping.h"

static void check_refusal(int rc, const struct bpull_error *error)
{
	FUZZ_CHECK(rc == -EINVAL || rc == -ENOTSUP || rc == -EPERM, "%d", rc);
	FUZZ_CHECK(error->code == rc && strlen(error->message) > 10, "%d", error->code);
	for (const char *c = error->message; *c; c++)
		FUZZ_CHECK((unsigned char)*c >= ' ' && *c != 0x7f, "an unprintable message");
}

static bool is_clean(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

/* What a resolver takes for an address is exactly one, and what it does not is a name. */
static void check_host(const char *host)
{
	struct in_addr in;
	struct in6_addr in6;

	if (inet_pton(AF_INET6, host, &in6) == 1) {
		FUZZ_CHECK(!IN6_IS_ADDR_V4MAPPED(&in6), "%s", host);
		return;
	}
	FUZZ_CHECK(!host[strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-._")], "%s", host);
	FUZZ_CHECK(*host && strlen(host) <= 253, "%s", host);
	FUZZ_CHECK(!inet_aton(host, &in) || inet_pton(AF_INET, host, &in) == 1, "%s", host);
}

static void check_place(const struct nbd_place *place)
{
	static const struct nbd_policy nothing;
	char *uri = nbd_place_uri(place);
	struct bpull_error error;
	struct nbd_name again;

	FUZZ_CHECK(place->is_unix ? !place->host && !place->port : !place->socket_path, "%s", uri);
	if (place->is_unix)
		FUZZ_CHECK(*place->socket_path == '/' && is_clean(place->socket_path) &&
				   strlen(place->socket_path) < 4096,
			   "%s", uri);
	else
		check_host(place->host);
	FUZZ_CHECK(is_clean(place->export_name) && strlen(place->export_name) <= NBD_EXPORT_MAX,
		   "%s", uri);
	FUZZ_CHECK(is_clean(uri) && (place->is_unix || place->port), "%s", uri);
	FUZZ_CHECK(!nbd_name_read(uri, NULL, &again, &error), "%s: %s", uri, error.message);
	FUZZ_CHECK(again.kind == NBD_NAME_PLACE && nbd_place_equal(&again.place, place), "%s", uri);
	FUZZ_CHECK(nbd_policy_ask(&nothing, place) == NBD_REFUSED, "%s", uri);
	check_refusal(nbd_policy_refuse(place, NULL, NULL, &error), &error);
	nbd_name_free(&again);
	free(uri);
}

static void check_name(const struct nbd_name *name)
{
	FUZZ_CHECK((name->kind == NBD_NAME_FILE) == (name->path != NULL), "%d", name->kind);
	if (name->kind == NBD_NAME_PLACE)
		check_place(&name->place);
	if (name->path)
		FUZZ_CHECK(*name->path == '/' && is_clean(name->path) && strlen(name->path) < 4096,
			   "%s", name->path);
}

static void fuzz_name(const char *text)
{
	char warning[NBD_NAME_TEXT_CAP];
	struct bpull_error error;
	struct nbd_name name;
	int rc = nbd_name_read(text, "/here", &name, &error);

	if (nbd_name_warn_of_qemu(text, warning))
		FUZZ_CHECK(!rc && name.kind == NBD_NAME_PLACE && is_clean(warning), "%s", warning);
	if (rc) {
		check_refusal(rc, &error);
		return;
	}
	if (!strncmp(text, "json:", 5)) {
		struct json_object *root = json_tokener_parse(text + 5);

		FUZZ_CHECK(root && name.format, "json-c refuses %s", text);
		json_object_put(root);
	} else {
		FUZZ_CHECK(!name.format, "%s has a format", text);
	}
	check_name(&name);
	nbd_name_free(&name);
}

/* A pattern allows nothing of the other kind, and with nbds nothing without TLS. */
static void fuzz_pattern(const char *text)
{
	static const char *const uris[] = { "nbd://h/x", "nbd://10.0.0.1:1/x", "nbd://[fd00::1]/x",
					    "nbd+unix:///x?socket=/run/s" };
	struct nbd_policy policy = { 0 };
	struct bpull_error error;
	int rc = nbd_policy_add(&policy, text, &error);

	if (rc)
		check_refusal(rc, &error);
	FUZZ_CHECK(policy.n == !rc, "%s", text);
	for (size_t i = 0; i < 4; i++) {
		struct nbd_name name;
		enum nbd_verdict plain, tls;

		FUZZ_CHECK(!nbd_name_read(uris[i], NULL, &name, &error), "%s", uris[i]);
		plain = nbd_policy_ask(&policy, &name.place);
		name.place.tls = true;
		tls = nbd_policy_ask(&policy, &name.place);
		FUZZ_CHECK(strncmp(text, "nbds", 4) ? plain == tls : plain == NBD_REFUSED, "%s",
			   text);
		FUZZ_CHECK(tls == NBD_REFUSED || (i == 3) == !!strstr(text, "+unix:"), "%s", text);
		nbd_name_free(&name);
	}
	nbd_policy_free(&policy);
}

/* The name with each '=' doubled, a '=' and the target are the text again. */
static void fuzz_mapping(const char *text)
{
	struct nbd_mappings mappings = { 0 };
	struct bpull_error error;
	int rc = nbd_mappings_add(&mappings, text, "/here", &error);
	const char *at = text;

	if (rc) {
		check_refusal(rc, &error);
		FUZZ_CHECK(!mappings.n, "%s", text);
		nbd_mappings_free(&mappings);
		return;
	}
	for (const char *c = mappings.list[0].name; *c; c++) {
		FUZZ_CHECK(*at == *c && (*c != '=' || at[1] == '='), "%s", text);
		at += *c == '=' ? 2 : 1;
	}
	FUZZ_CHECK(*at == '=' && at[1], "%s", text);
	FUZZ_CHECK(nbd_mappings_find(&mappings, mappings.list[0].name), "%s", text);
	FUZZ_CHECK(mappings.list[0].target.kind != NBD_NAME_OTHER, "%s", text);
	check_name(&mappings.list[0].target);
	FUZZ_CHECK(nbd_mappings_add(&mappings, text, "/here", &error) == -EINVAL, "twice: %s",
		   text);
	nbd_mappings_free(&mappings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size)
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	if (data[0] % 3 == 0)
		fuzz_name(text);
	else if (data[0] % 3 == 1)
		fuzz_pattern(text);
	else
		fuzz_mapping(text);
	free(text);
	return 0;
}
