/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Names of places behind a network, read: what the NBD project's text on URIs, RFC 3986 and QEMU's
 * colon forms allow, and what an image's maker may try with them. Places are compared by their
 * canonical URI, which has a test of its own.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tools/nbd_rig.h"

static const struct {
	const char *name, *uri;
} places[] = {
	/* URIs over TCP. */
	{ "nbd://localhost", "nbd://localhost:10809/" },
	{ "nbd://localhost/", "nbd://localhost:10809/" },
	{ "nbd://localhost:10809/", "nbd://localhost:10809/" },
	{ "nbd://example.com:1/x", "nbd://example.com:1/x" },
	{ "nbd://example.com:65535/x", "nbd://example.com:65535/x" },
	{ "nbd://EXAMPLE.Com/X", "nbd://example.com:10809/X" },
	{ "nbd://my_host-1/disk.img", "nbd://my_host-1:10809/disk.img" },
	{ "nbd://h/a/b/c", "nbd://h:10809/a/b/c" },
	{ "nbd://h/a//b", "nbd://h:10809/a//b" },
	{ "nbd://h/../x", "nbd://h:10809/../x" },
	{ "nbd://h/%2Fx", "nbd://h:10809/%2Fx" },
	{ "nbd://h//x", "nbd://h:10809/%2Fx" },
	{ "nbd://h//", "nbd://h:10809/%2F" },
	{ "nbd://h/a;b&c", "nbd://h:10809/a%3Bb%26c" },
	{ "nbd+unix:////x?socket=/s", "nbd+unix:///%2Fx?socket=/s" },
	{ "nbd://h/a%20b", "nbd://h:10809/a%20b" },
	{ "nbd://h/a%3fb%23c%25d", "nbd://h:10809/a%3Fb%23c%25d" },
	{ "nbd://h/gr%C3%bc%c3%9fe", "nbd://h:10809/gr%C3%BC%C3%9Fe" },
	{ "nbd://h/%41%7e", "nbd://h:10809/A~" },
	{ "nbd://h/a:b@c=d+e!$'()*,", "nbd://h:10809/a%3Ab%40c%3Dd%2Be%21%24%27%28%29%2A%2C" },
	{ "nbd+tcp://h/x", "nbd://h:10809/x" },
	{ "nbds://h/x", "nbds://h:10809/x" },
	/* Addresses have one form. */
	{ "nbd://10.0.0.1/", "nbd://10.0.0.1:10809/" },
	{ "nbd://[::1]/", "nbd://[::1]:10809/" },
	{ "nbd://[::1]:20/x", "nbd://[::1]:20/x" },
	{ "nbd://[2001:DB8:0:0:0:0:0:1]/", "nbd://[2001:db8::1]:10809/" },
	{ "nbd://[::ffff:10.0.0.1]/", "nbd://10.0.0.1:10809/" },
	{ "nbd://[::FFFF:0a00:0001]:5/", "nbd://10.0.0.1:5/" },
	/* Unix sockets. */
	{ "nbd+unix:///?socket=/s", "nbd+unix:///?socket=/s" },
	{ "nbd+unix://?socket=/s", "nbd+unix:///?socket=/s" },
	{ "nbd+unix:///x?socket=/run/a.sock", "nbd+unix:///x?socket=/run/a.sock" },
	{ "nbd+unix:///a/b?socket=/s", "nbd+unix:///a/b?socket=/s" },
	{ "nbd+unix:///x?socket=rel", "nbd+unix:///x?socket=/here/rel" },
	{ "nbd+unix:///x?socket=%2fa%20b%26c%3bd", "nbd+unix:///x?socket=/a%20b%26c%3Bd" },
	{ "nbd+unix:///x?socket=/a=b", "nbd+unix:///x?socket=/a%3Db" },
	{ "nbds+unix:///x?socket=/s", "nbds+unix:///x?socket=/s" },
	/* QEMU's older names. */
	{ "nbd:localhost:10809", "nbd://localhost:10809/" },
	{ "nbd:LOCALHOST:1:exportname=a b", "nbd://localhost:1/a%20b" },
	{ "nbd:h:1:exportname=/x", "nbd://h:1/%2Fx" },
	{ "nbd:h:1:exportname=a:exportname=b", "nbd://h:1/a%3Aexportname%3Db" },
	{ "nbd:h:1:exportname=%41", "nbd://h:1/%2541" },
	{ "nbd:[::1]:7", "nbd://[::1]:7/" },
	{ "nbd:unix:/s", "nbd+unix:///?socket=/s" },
	{ "nbd:unix:/a:b:exportname=x", "nbd+unix:///x?socket=/a%3Ab" },
	{ "nbd:unix:10809", "nbd+unix:///?socket=/here/10809" },
	{ "nbd:unix:/a?b#c%20d", "nbd+unix:///?socket=/a%3Fb%23c%2520d" },
	{ "nbd:unix:/\xff", "nbd+unix:///?socket=/%FF" },
};

Test(nbd_name, what_the_forms_say_is_what_is_read)
{
	for (size_t i = 0; i < N_OF(places); i++) {
		const char *uri = rig_uri(places[i].name);

		cr_assert(!strcmp(uri, places[i].uri), "'%s' is read as %s", places[i].name, uri);
		/* And that says the same again. */
		uri = rig_uri(places[i].uri);
		cr_assert(!strcmp(uri, places[i].uri), "'%s' is read as %s", places[i].uri, uri);
	}
}

/* Each is -EINVAL with this word in its sentence. */
static const struct {
	const char *name, *word;
} refused[] = {
	{ "nbd:", "host" },
	{ "nbd:h", "port" },
	{ "nbd:h:", "port" },
	{ "nbd::1", "missing" },
	{ "nbd:h:0", "port" },
	{ "nbd:h:01", "port" },
	{ "nbd:h:+1", "port" },
	{ "nbd:h: 1", "port" },
	{ "nbd:h:65536", "port" },
	{ "nbd:h:4294967297", "port" },
	{ "nbd:h:1x", "port" },
	{ "nbd:h:1,ipv4=on", "port" },
	{ "nbd:h:1:", "':'" },
	{ "nbd:h:1:export=x", "':'" },
	{ "nbd:h:1:exportname=", "exportname" },
	{ "nbd:h:1:exportname", "':'" },
	{ "nbd:exportname=x", "port" },
	{ "nbd:unix:", "missing" },
	{ "nbd:unix", "port" },
	{ "nbd:unix:exportname=x", "port" },
	{ "nbd:unix::exportname=x", "missing" },
	{ "nbd:::1:10809", "bracket" },
	{ "nbd:[::1]", "port" },
	{ "nbd:[::1:7", "]" },
	{ "nbd:[::1]x:7", "]" },
	{ "nbd:[h]:7", "IPv6" },
	{ "nbd:[10.0.0.1]:7", "IPv6" },
	{ "nbd:[]:7", "IPv6" },
	{ "nbd:[fe80::1%eth0]:7", "IPv6" },
	{ "nbd:u@h:1", "host" },
	{ "nbd:/h:1", "host" },
	{ "nbd:h h:1", "host" },
	{ "nbd:h:1:exportname=\xff", "UTF-8" },
	/* URIs: the authority. */
	{ "nbd://", "missing" },
	{ "nbd:///x", "missing" },
	{ "nbd://:1/x", "missing" },
	{ "nbd://h:/x", "port" },
	{ "nbd://h:0/", "port" },
	{ "nbd://h:1a/", "port" },
	{ "nbd://h:99999/", "port" },
	{ "nbd://root@h/x", "user" },
	{ "nbd://root:pw@h/x", "user" },
	{ "nbd://@h/x", "user" },
	{ "nbd://h%2e/x", "host" },
	{ "nbd://%68/x", "host" },
	{ "nbd://-h/x", "label" },
	{ "nbd://.h/x", "label" },
	{ "nbd://a..b/x", "label" },
	{ "nbd://h./x", "ends" },
	{ "nbd://gr\u00fc\u00dfe/x", "host" },
	{ "nbd://h,i/x", "host" },
	{ "nbd://$(id)/x", "host" },
	{ "nbd://fe80::1/x", "bracket" },
	{ "nbd://[::1/x", "]" },
	{ "nbd://[fe80::1%25eth0]/x", "IPv6" },
	{ "nbd://[v1.x]/x", "IPv6" },
	/* What the C library takes for an address, and a policy would take for a name. */
	{ "nbd://127.1/x", "number" },
	{ "nbd://2130706433/x", "number" },
	{ "nbd://0x7f000001/x", "number" },
	{ "nbd://0X7F.1/x", "number" },
	{ "nbd://127.0.0.0x1/x", "number" },
	{ "nbd://0177.0.0.1/x", "number" },
	{ "nbd://127.0.0.01/x", "number" },
	{ "nbd://127.0.0.256/x", "number" },
	{ "nbd://1.2.3.4.5/x", "number" },
	{ "nbd://a.0x/x", "number" },
	{ "nbd:127.1:1", "number" },
	/* The export. */
	{ "nbd://h/a b", "%20" },
	{ "nbd://h/gr\u00fc", "%C3" },
	{ "nbd://h/\"", "%22" },
	{ "nbd://h/a[b", "%5B" },
	{ "nbd://h/a\\b", "%5C" },
	{ "nbd://h/<", "%3C" },
	{ "nbd://h/x%00y", "%00" },
	{ "nbd://h/%00", "%00" },
	{ "nbd://h/x%0ay", "control" },
	{ "nbd://h/x%1b[2J", "%5B" },
	{ "nbd://h/x%1B", "control" },
	{ "nbd://h/x%7f", "control" },
	{ "nbd://h/x%c2%9b31m", "control" },
	{ "nbd://h/x%e2%80%ae", "control" },
	{ "nbd://h/%ff", "UTF-8" },
	{ "nbd://h/%c0%af", "UTF-8" },
	{ "nbd://h/%ed%a0%80", "UTF-8" },
	{ "nbd://h/%", "hexadecimal" },
	{ "nbd://h/%4", "hexadecimal" },
	{ "nbd://h/%4g", "hexadecimal" },
	{ "nbd://h/%%41", "hexadecimal" },
	{ "nbd://h/% 4", "hexadecimal" },
	{ "nbd://h/%-1", "hexadecimal" },
	{ "nbd://h/x#y", "%23" },
	{ "nbd://h#", "%23" },
	/* The query: keys, certificates, users, commands are an operator's. */
	{ "nbd://h/x?", "''" },
	{ "nbd://h/x?socket=/s", "nbd+unix" },
	{ "nbd://h?x=y", "'x'" },
	{ "nbds://h/x?tls-certificates=/etc/pki", "'tls-certificates'" },
	{ "nbds://h/x?tls-psk-file=/etc/psk", "'tls-psk-file'" },
	{ "nbds://h/x?tls-username=root", "'tls-username'" },
	{ "nbds://h/x?tls-verify-peer=false", "'tls-verify-peer'" },
	{ "nbds+unix:///x?socket=/s&tls-psk-file=/k", "'tls-psk-file'" },
	{ "nbds+unix:///x?socket=/s;tls-psk-file=/k", "'tls-psk-file'" },
	{ "nbd+unix:///x?tls-psk-file=/k&socket=/s", "'tls-psk-file'" },
	{ "nbd+unix:///x?command=id&socket=/s", "commands" },
	{ "nbd+unix:///x?socket=/s&socket=/t", "two sockets" },
	{ "nbd+unix:///x?socket=/s&", "''" },
	{ "nbd+unix:///x?&socket=/s", "''" },
	{ "nbd+unix:///x?socket", "socket=PATH" },
	{ "nbd+unix:///x?socket=", "missing" },
	{ "nbd+unix:///x?Socket=/s", "'Socket'" },
	{ "nbd+unix:///x?%73ocket=/s", "'%73ocket'" },
	{ "nbd+unix:///x", "socket=PATH" },
	{ "nbd+unix:///x?socket=/a?b", "%3F" },
	{ "nbd+unix:///x?socket=/s%00/t", "%00" },
	{ "nbd+unix:///x?socket=/s%0a", "control" },
	{ "nbd+unix:///x?socket=/%e2%80%aes", "control" },
	{ "nbd+unix://h/x?socket=/s", "three" },
	{ "nbd+unix://:1/x?socket=/s", "three" },
	{ "nbd+unix://u@/x?socket=/s", "user" },
	/* Schemes. */
	{ "nbd+unix:/x?socket=/s", "://" },
	{ "nbd+unix:x", "://" },
	{ "nbds:h:1", "://" },
	{ "nbd+tcp:h:1", "://" },
	{ "NBD://h/x", "small" },
	{ "Nbd:h:1", "small" },
	{ "nbdS://h/x", "small" },
	{ "JSON:{}", "small" },
	/* The whole. */
	{ "nbd://h/x\n", "control" },
	{ "nbd:unix:/s\n", "control" },
	{ "nbd:unix:/s\x7f", "control" },
	{ "nbd:unix:/\u202es", "control" },
	{ "nbd:h\t:1", "control" },
	{ "nbd://h/\x1b[31m", "control" },
	{ "nbd://h/\xc2\x9b", "control" },
	{ "json:{\n}", "control" },
};

Test(nbd_name, what_is_doubtful_is_refused_by_name)
{
	for (size_t i = 0; i < N_OF(refused); i++)
		rig_refused(refused[i].name, -EINVAL, refused[i].word);
}

/* A text of n bytes behind a prefix, to be freed. */
static char *long_name(const char *prefix, size_t n, const char *suffix)
{
	size_t len = strlen(prefix);
	char *name = malloc(len + n + strlen(suffix) + 1);

	memcpy(name, prefix, len);
	memset(name + len, 'a', n);
	strcpy(name + len + n, suffix);
	return name;
}

Test(nbd_name, names_have_the_lengths_of_the_protocol)
{
	static const struct {
		const char *prefix, *suffix, *word;
		size_t limit;
	} limits[] = {
		{ "nbd://h/", "", "4096", 4096 },
		{ "nbd:h:1:exportname=", "", "4096", 4096 },
		{ "nbd:unix:/", "", "4095", 4094 },
		{ "nbd:unix:", "", "4095", 4095 - strlen("/here/") },
		{ "nbd+unix:///?socket=/", "", "4095", 4094 },
		{ "nbd://", "/x", "253", 253 },
		{ "nbd:", ":1", "253", 253 },
	};

	for (size_t i = 0; i < N_OF(limits); i++) {
		char *name = long_name(limits[i].prefix, limits[i].limit, limits[i].suffix);
		char *longer = long_name(limits[i].prefix, limits[i].limit + 1, limits[i].suffix);
		char *huge = long_name(limits[i].prefix, 1 << 20, limits[i].suffix);

		cr_assert(!strncmp(rig_uri(name), "nbd", 3), "limit %zu: %s", i, rig_uri(name));
		rig_refused(longer, -EINVAL, limits[i].word);
		rig_refused(huge, -EINVAL, "longer");
		free(name);
		free(longer);
		free(huge);
	}
}

Test(nbd_name, a_relative_socket_needs_a_directory)
{
	struct bpull_error error;
	struct nbd_name name;

	cr_assert(nbd_name_read("nbd:unix:s", NULL, &name, &error) == -EINVAL);
	cr_assert(strstr(error.message, "absolute"), "%s", error.message);
	cr_assert(!nbd_name_read("nbd:unix:s", "/", &name, &error));
	cr_assert_str_eq(name.place.socket_path, "/s");
	nbd_name_free(&name);
}

/* Equal places have one URI, others have others, and each URI is its place's name. */
Test(nbd_name, a_place_and_its_uri_say_the_same)
{
	static const char *const words[] = { "a",      "b",        "/a", "a/",  "",    "%61",
					     "\u00fc", "a b",      "?",  "#",   "a&b", ";",
					     "=",      "socket=x", "//", "%00", "\\",  "'" };
	static const char *const hosts[] = { "h", "10.0.0.1", "::1", "a-b.c", "2001:db8::1" };
	unsigned seed = rig_seed(), state = seed;

	for (int round = 0; round < 20000; round++) {
		struct nbd_place two[2];
		char *uris[2];

		for (int i = 0; i < 2; i++) {
			bool is_unix = rand_r(&state) % 2;
			char path[64];

			snprintf(path, sizeof(path), "/%s", words[rand_r(&state) % N_OF(words)]);
			two[i] = (struct nbd_place){
				.tls = rand_r(&state) % 2,
				.is_unix = is_unix,
				.host = is_unix ? NULL
						: strdup(hosts[rand_r(&state) % N_OF(hosts)]),
				.port = is_unix ? 0 : 10809 + rand_r(&state) % 2,
				.socket_path = is_unix ? strdup(path) : NULL,
				.export_name = strdup(words[rand_r(&state) % N_OF(words)]),
			};
			uris[i] = nbd_place_uri(&two[i]);
			for (const char *c = uris[i]; *c; c++)
				cr_assert(*c > ' ' && *c < 0x7f, "SEED=%u: %s", seed, uris[i]);
		}
		cr_assert(nbd_place_equal(&two[0], &two[1]) == !strcmp(uris[0], uris[1]),
			  "SEED=%u: %s, %s", seed, uris[0], uris[1]);
		for (int i = 0; i < 2; i++) {
			struct nbd_place again = rig_place(uris[i]), copy;

			cr_assert(nbd_place_equal(&two[i], &again), "SEED=%u: %s", seed, uris[i]);
			cr_assert(!nbd_place_copy(&copy, &again));
			cr_assert(nbd_place_equal(&copy, &again), "SEED=%u: %s", seed, uris[i]);
			nbd_place_free(&copy);
			nbd_place_free(&again);
			nbd_place_free(&two[i]);
			free(uris[i]);
		}
	}
}

Test(nbd_name, what_qemu_reads_in_another_way_is_warned_of)
{
	static const struct {
		const char *name, *word;
	} names[] = {
		{ "nbds://h/x", "TLS" },
		{ "nbds+unix:///x?socket=/s", "TLS" },
		{ "nbd://h/%2Fx", NULL },
		{ "nbd://h/x", NULL },
		{ "nbd+unix:///x?socket=s", NULL },
		{ "nbd:h:1:exportname=/x", NULL },
		{ "base.img", NULL },
		{ "nbds://u@h/x", NULL }, /* refused, not warned of */
		{ "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/x\"}}",
		  NULL },
	};

	for (size_t i = 0; i < N_OF(names); i++) {
		char text[NBD_NAME_TEXT_CAP] = "left";
		bool warned = nbd_name_warn_of_qemu(names[i].name, text);

		cr_assert(warned == (names[i].word != NULL), "%s: %s", names[i].name, text);
		if (warned) {
			cr_assert(strstr(text, names[i].word) && strstr(text, names[i].name), "%s",
				  text);
			cr_assert(strstr(text, "QEMU"), "%s", text);
		} else {
			cr_assert_str_eq(text, "");
		}
	}
}
