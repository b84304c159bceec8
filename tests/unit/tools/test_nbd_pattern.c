/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Patterns of names that may be opened: what is none, and what a refusal says of them. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/tools/nbd_rig.h"
#include "tools/nbd/names/policy.h"

static const struct {
	const char *pattern, *word;
} refused[] = {
	{ "", "nbd:HOST" },
	{ "any", "nbd:HOST" },
	{ "none", "nbd:HOST" },
	{ "*", "nbd:HOST" },
	{ "h", "nbd:HOST" },
	{ "10.0.0.0/8", "nbd:HOST" },
	{ "tcp:h", "nbd:HOST" },
	{ "NBD:h", "nbd:HOST" },
	{ "nbd+tcp:h", "nbd:HOST" },
	{ "unix:/run", "nbd:HOST" },
	{ " nbd:h", "nbd:HOST" },
	{ "nbd", "nbd:HOST" },
	{ "nbd://h/x", "this is a name" },
	{ "nbd:///x", "this is a name" },
	{ "nbd+unix:///x?socket=/s", "this is a name" },
	{ "nbd:", "missing" },
	{ "nbd::1", "missing" },
	{ "nbd:*", "host" },
	{ "nbd:*.example.com", "host" },
	{ "nbd:h:", "port" },
	{ "nbd:h:0", "port" },
	{ "nbd:h:x", "port" },
	{ "nbd:h:65536", "port" },
	{ "nbd:h:1-2", "port" },
	{ "nbd:h:1:2", "':'" },
	{ "nbd:u@h", "host" },
	{ "nbd:h ", "host" },
	{ "nbd:h\n", "host" },
	{ "nbd:127.1", "number" },
	{ "nbd:0x7f000001", "number" },
	{ "nbd:010.0.0.1", "number" },
	{ "nbd:::1", "bracket" },
	{ "nbd:[::1", "]" },
	{ "nbd:[10.0.0.1]", "IPv6" },
	{ "nbd:h/x", "address" },
	{ "nbd:h/8", "address" },
	{ "nbd:10.0.0/8", "address" },
	{ "nbd:10/8", "address" },
	{ "nbd:[10.0.0.0]/8", "address" },
	{ "nbd:[fd00::/8]", "address" },
	{ "nbd:/8", "address" },
	{ "nbd:10.0.0.0/", "bits" },
	{ "nbd:10.0.0.0/33", "0 to 32" },
	{ "nbd:10.0.0.0/08", "bits" },
	{ "nbd:10.0.0.0/-1", "bits" },
	{ "nbd:10.0.0.0/8x", "bits" },
	{ "nbd:10.0.0.0/255.0.0.0", "bits" },
	{ "nbd:[fd00::]/129", "0 to 128" },
	{ "nbd:[::ffff:10.0.0.0]/95", "96 to 128" },
	{ "nbd:[::ffff:10.0.0.0]/8", "96 to 128" },
	{ "nbd:10.0.0.0/8:", "port" },
	{ "nbd:10.0.0.0/8:0", "port" },
	{ "nbd:10.0.0.0/8/8", "bits" },
	{ "nbd:10.0.0.1/8", "10.0.0.0/8" },
	{ "nbd:10.0.0.0/0", "0.0.0.0/0" },
	{ "nbd:[fd00::1]/8", "fd00::/8" },
	{ "nbd:192.168.1.129/25", "192.168.1.128/25" },
	{ "nbd+unix:", "missing" },
	{ "nbds+unix:", "missing" },
	{ "nbd+unix:/a\nb", "control" },
	{ "nbd+unix:/\u202e", "control" },
};

Test(nbd_policy, what_is_no_pattern_is_refused)
{
	struct nbd_policy policy = { 0 };

	for (size_t i = 0; i < N_OF(refused); i++) {
		struct bpull_error error;
		int rc = nbd_policy_add(&policy, refused[i].pattern, &error);

		cr_assert(rc == -EINVAL, "'%s': %d", refused[i].pattern, rc);
		rig_judge_error(&error, rc, refused[i].pattern);
		cr_assert(strstr(error.message, refused[i].word), "'%s': %s", refused[i].pattern,
			  error.message);
		cr_assert(policy.n == 0);
	}
	nbd_policy_free(&policy);
}

/* The pattern behind "--allow-remote=" in a sentence, without a shell's quotes. */
static void pattern_in(const char *message, char pattern[512])
{
	static const char option[] = "--allow-remote=";
	const char *at = strstr(message, option);
	bool is_quoted;
	size_t len;

	cr_assert(at, "%s", message);
	at += strlen(option);
	is_quoted = *at == '\'';
	at += is_quoted;
	len = strcspn(at, is_quoted ? "'" : " ");
	snprintf(pattern, 512, "%.*s", (int)len, at);
}

Test(nbd_policy, a_refusal_has_the_pattern_that_lets_it_pass)
{
	static const struct {
		const char *uri, *real, *pattern;
	} cases[] = {
		{ "nbd://h/x", NULL, "nbd:h:10809" },
		{ "nbds://h:1/x", NULL, "nbds:h:1" },
		{ "nbd://10.0.0.1/x", NULL, "nbd:10.0.0.1:10809" },
		{ "nbd://[fd00::1]:7/x", NULL, "nbd:[fd00::1]:7" },
		{ "nbd+unix:///x?socket=/run/s", NULL, "nbd+unix:/run/s" },
		{ "nbds+unix:///x?socket=/run/s", NULL, "nbds+unix:/run/s" },
		{ "nbd+unix:///x?socket=/run/s", "/tmp/t", "nbd+unix:/tmp/t" },
		{ "nbd+unix:///x?socket=/a%20b%24%28id%29", NULL, "nbd+unix:/a b$(id)" },
	};

	for (size_t i = 0; i < N_OF(cases); i++) {
		struct nbd_place place = rig_place(cases[i].uri);
		const char *real = cases[i].real ? cases[i].real : place.socket_path;
		struct bpull_error error;
		struct nbd_policy policy = { 0 };
		char pattern[512];

		cr_assert(nbd_policy_refuse(&place, cases[i].real, NULL, &error) == -EPERM);
		rig_judge_error(&error, -EPERM, cases[i].uri);
		pattern_in(error.message, pattern);
		cr_assert_str_eq(pattern, cases[i].pattern);
		cr_assert(!nbd_policy_add(&policy, pattern, &error), "%s", error.message);
		if (place.is_unix)
			cr_assert(nbd_policy_allows_socket(&policy, &place, real), "%s", pattern);
		else
			cr_assert(nbd_policy_ask(&policy, &place) == NBD_ALLOWED, "%s", pattern);
		nbd_policy_free(&policy);
		nbd_place_free(&place);
	}
}

Test(nbd_policy, a_refusal_says_what_was_found)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001) };
	struct nbd_place place = rig_place("nbd://h/x");
	struct bpull_error error;
	char path[4000], uri[4100];

	nbd_policy_refuse(&place, NULL, (struct sockaddr *)&in, &error);
	cr_assert(strstr(error.message, "127.0.0.1") && strstr(error.message, "nbd:h:10809"), "%s",
		  error.message);
	nbd_place_free(&place);

	place = rig_place("nbd+unix:///x?socket=/run/s");
	nbd_policy_refuse(&place, "/tmp/t", NULL, &error);
	cr_assert(strstr(error.message, "links"), "%s", error.message);
	nbd_place_free(&place);

	/* A name that has no room for its pattern still gets a whole sentence. */
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	snprintf(uri, sizeof(uri), "nbd+unix:///x?socket=/%s", path);
	place = rig_place(uri);
	nbd_policy_refuse(&place, NULL, NULL, &error);
	cr_assert(strstr(error.message, "--allow-remote=nbd+unix:DIR would let it pass"), "%s",
		  error.message);
	nbd_place_free(&place);
}
