/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which places the patterns of --allow-remote allow, asked as a connector asks: by the name, by the
 * socket's real name, by each address. What no pattern names is refused, and the refusal has a
 * pattern that lets exactly this pass.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/files/scratch.h"
#include "tests/unit/tools/nbd_rig.h"
#include "tools/nbd/names/policy.h"

static struct nbd_policy policy_of(const char *patterns)
{
	struct nbd_policy policy = { 0 };
	struct bpull_error error;
	char *copy = strdup(patterns), *rest = copy, *one;

	while ((one = strsep(&rest, " ")))
		if (*one)
			cr_assert(!nbd_policy_add(&policy, one, &error), "%s", error.message);
	free(copy);
	return policy;
}

static enum nbd_verdict ask(const char *patterns, const char *uri)
{
	struct nbd_policy policy = policy_of(patterns);
	struct nbd_place place = rig_place(uri);
	enum nbd_verdict verdict = nbd_policy_ask(&policy, &place);

	nbd_place_free(&place);
	nbd_policy_free(&policy);
	return verdict;
}

static const struct {
	const char *patterns, *uri;
	enum nbd_verdict verdict;
} by_name[] = {
	/* Nothing is allowed that was not said. */
	{ "", "nbd://h/x", NBD_REFUSED },
	{ "", "nbd://127.0.0.1/x", NBD_REFUSED },
	{ "", "nbd+unix:///x?socket=/s", NBD_REFUSED },
	/* Hosts: literally, and without regard to case. */
	{ "nbd:h", "nbd://h/x", NBD_ALLOWED },
	{ "nbd:H.Example", "nbd://h.exAMPLE/x", NBD_ALLOWED },
	{ "nbd:h", "nbd://h/any/export", NBD_ALLOWED },
	{ "nbd:h", "nbd://h:1/x", NBD_ALLOWED },
	{ "nbd:h", "nbd://hh/x", NBD_REFUSED },
	{ "nbd:h", "nbd://g.h/x", NBD_REFUSED },
	{ "nbd:h", "nbd://h.g/x", NBD_REFUSED },
	{ "nbd:hh", "nbd://h/x", NBD_REFUSED },
	{ "nbd:h", "nbd+unix:///h?socket=/h", NBD_REFUSED },
	{ "nbd:g nbd:h", "nbd://h/x", NBD_ALLOWED },
	{ "nbd:h nbd:g", "nbd://h/x", NBD_ALLOWED },
	/* Ports. */
	{ "nbd:h:10809", "nbd://h/x", NBD_ALLOWED },
	{ "nbd:h:10809", "nbd://h:10810/x", NBD_REFUSED },
	{ "nbd:h:1", "nbd://h/x", NBD_REFUSED },
	{ "nbd:h:1 nbd:h:2", "nbd://h:2/x", NBD_ALLOWED },
	{ "nbd:h:1 nbd:g:2", "nbd://h:2/x", NBD_REFUSED },
	/* TLS: nbds: asks for it, nbd: allows it. */
	{ "nbd:h", "nbds://h/x", NBD_ALLOWED },
	{ "nbds:h", "nbds://h/x", NBD_ALLOWED },
	{ "nbds:h", "nbd://h/x", NBD_REFUSED },
	{ "nbds:h:1", "nbds://h:2/x", NBD_REFUSED },
	{ "nbds:10.0.0.0/8", "nbd://10.0.0.1/x", NBD_REFUSED },
	{ "nbds:10.0.0.0/8", "nbds://10.0.0.1/x", NBD_ALLOWED },
	{ "nbds+unix:/", "nbd+unix:///x?socket=/s", NBD_REFUSED },
	{ "nbds+unix:/", "nbds+unix:///x?socket=/s", NBD_ASK_SOCKET },
	{ "nbd+unix:/", "nbds+unix:///x?socket=/s", NBD_ASK_SOCKET },
	/* Addresses and networks. */
	{ "nbd:127.0.0.1", "nbd://127.0.0.1/x", NBD_ALLOWED },
	{ "nbd:127.0.0.1", "nbd://127.0.0.2/x", NBD_REFUSED },
	{ "nbd:127.0.0.1:1", "nbd://127.0.0.1:2/x", NBD_REFUSED },
	{ "nbd:10.0.0.0/8", "nbd://10.255.255.255/x", NBD_ALLOWED },
	{ "nbd:10.0.0.0/8", "nbd://11.0.0.0/x", NBD_REFUSED },
	{ "nbd:10.0.0.0/8", "nbd://9.255.255.255/x", NBD_REFUSED },
	{ "nbd:10.0.0.0/8:1", "nbd://10.0.0.1:1/x", NBD_ALLOWED },
	{ "nbd:10.0.0.0/8:1", "nbd://10.0.0.1/x", NBD_REFUSED },
	{ "nbd:10.16.0.0/13", "nbd://10.23.255.255/x", NBD_ALLOWED },
	{ "nbd:10.16.0.0/13", "nbd://10.24.0.0/x", NBD_REFUSED },
	{ "nbd:192.168.1.128/25", "nbd://192.168.1.128/x", NBD_ALLOWED },
	{ "nbd:192.168.1.128/25", "nbd://192.168.1.127/x", NBD_REFUSED },
	{ "nbd:1.2.3.4/32", "nbd://1.2.3.4/x", NBD_ALLOWED },
	{ "nbd:1.2.3.4/32", "nbd://1.2.3.5/x", NBD_REFUSED },
	{ "nbd:0.0.0.0/0", "nbd://1.2.3.4/x", NBD_ALLOWED },
	{ "nbd:0.0.0.0/0", "nbd://[::1]/x", NBD_REFUSED },
	{ "nbd:0.0.0.0/1", "nbd://127.0.0.1/x", NBD_ALLOWED },
	{ "nbd:0.0.0.0/1", "nbd://128.0.0.0/x", NBD_REFUSED },
	{ "nbd:[::1]", "nbd://[::1]/x", NBD_ALLOWED },
	{ "nbd:[0:0::1]", "nbd://[::1]:5/x", NBD_ALLOWED },
	{ "nbd:[::1]:5", "nbd://[::1]:5/x", NBD_ALLOWED },
	{ "nbd:[::1]:5", "nbd://[::1]/x", NBD_REFUSED },
	{ "nbd:[fd00::]/8", "nbd://[fdff::1]/x", NBD_ALLOWED },
	{ "nbd:fd00::/8", "nbd://[fdff::1]/x", NBD_ALLOWED },
	{ "nbd:[fd00::]/8", "nbd://[fe00::1]/x", NBD_REFUSED },
	{ "nbd:[2001:db8::]/33:9", "nbd://[2001:db8:7fff::1]:9/x", NBD_ALLOWED },
	{ "nbd:[2001:db8::]/33:9", "nbd://[2001:db8:8000::1]:9/x", NBD_REFUSED },
	{ "nbd:[::]/0", "nbd://[2001::1]/x", NBD_ALLOWED },
	/* An IPv4 address is one, also where it is written as an IPv6 address. */
	{ "nbd:[::]/0", "nbd://10.0.0.1/x", NBD_REFUSED },
	{ "nbd:[::]/0", "nbd://[::ffff:10.0.0.1]/x", NBD_REFUSED },
	{ "nbd:10.0.0.0/8", "nbd://[::ffff:10.0.0.1]/x", NBD_ALLOWED },
	{ "nbd:10.0.0.0/8", "nbd://[::ffff:11.0.0.1]/x", NBD_REFUSED },
	{ "nbd:[::ffff:10.0.0.0]/104", "nbd://10.1.0.1/x", NBD_ALLOWED },
	{ "nbd:[::ffff:10.0.0.0]/104", "nbd://11.0.0.1/x", NBD_REFUSED },
	{ "nbd:[::ffff:10.0.0.1]", "nbd://10.0.0.1/x", NBD_ALLOWED },
	/* A name is no address: each of its addresses decides, at the right port and TLS. */
	{ "nbd:10.0.0.0/8", "nbd://h/x", NBD_ASK_ADDRESS },
	{ "nbd:10.0.0.1", "nbd://h/x", NBD_ASK_ADDRESS },
	{ "nbd:10.0.0.0/8:1", "nbd://h/x", NBD_REFUSED },
	{ "nbds:10.0.0.0/8", "nbd://h/x", NBD_REFUSED },
	{ "nbd:10.0.0.0/8 nbd:h", "nbd://h/x", NBD_ALLOWED },
	{ "nbd:h nbd:10.0.0.0/8", "nbd://h/x", NBD_ALLOWED },
	{ "nbd:10.0.0.0/8 nbd:g", "nbd://h/x", NBD_ASK_ADDRESS },
	/* Sockets. */
	{ "nbd+unix:/run", "nbd+unix:///x?socket=/run/s", NBD_ASK_SOCKET },
	{ "nbd+unix:/run", "nbd+unix:///x?socket=/tmp/s", NBD_ASK_SOCKET }, /* may be a link */
	{ "nbd+unix:/run", "nbd://h/x", NBD_REFUSED },
};

Test(nbd_policy, patterns_allow_what_they_name_and_no_more)
{
	for (size_t i = 0; i < N_OF(by_name); i++) {
		enum nbd_verdict verdict = ask(by_name[i].patterns, by_name[i].uri);

		cr_assert(verdict == by_name[i].verdict, "'%s', %s: %d", by_name[i].patterns,
			  by_name[i].uri, verdict);
	}
}

static bool allows_socket(const char *patterns, const char *uri, const char *real)
{
	struct nbd_policy policy = policy_of(patterns);
	struct nbd_place place = rig_place(uri);
	bool is_allowed = nbd_policy_allows_socket(&policy, &place, real);

	nbd_place_free(&place);
	nbd_policy_free(&policy);
	return is_allowed;
}

Test(nbd_policy, sockets_are_allowed_by_their_real_names)
{
	static const char plain[] = "nbd+unix:///x?socket=/run/vm/s";
	static const char tls[] = "nbds+unix:///x?socket=/run/vm/s";
	static const struct {
		const char *patterns, *uri, *real;
		bool is_allowed;
	} cases[] = {
		{ "nbd+unix:/run/vm", plain, "/run/vm/s", true },
		{ "nbd+unix:/run/vm/", plain, "/run/vm/s", true },
		{ "nbd+unix:/run", plain, "/run/vm/s", true },
		{ "nbd+unix:/", plain, "/run/vm/s", true },
		{ "nbd+unix:/run/vm/s", plain, "/run/vm/s", true },
		{ "nbd+unix:/a nbd+unix:/run", plain, "/run/vm/s", true },
		{ "nbd+unix:/run/vm", tls, "/run/vm/s", true },
		{ "nbds+unix:/run/vm", tls, "/run/vm/s", true },
		{ "nbds+unix:/run/vm", plain, "/run/vm/s", false },
		{ "", plain, "/run/vm/s", false },
		{ "nbd:h", plain, "/run/vm/s", false },
		/* Where it leads counts, not what the name says. */
		{ "nbd+unix:/run/vm", plain, "/tmp/s", false },
		{ "nbd+unix:/run/vm", plain, "/run/vmm/s", false },
		{ "nbd+unix:/run/vm", plain, "/run/v", false },
		{ "nbd+unix:/run/vm", plain, "/run/s", false },
		{ "nbd+unix:/run/vm/s", plain, "/run/vm/st", false },
		{ "nbd+unix:/run/vm/s", plain, "/run/vm", false },
		{ "nbd+unix:/run/vm/s", plain, "/run/vm/t", false },
		/* What is no resolved name is nowhere. */
		{ "nbd+unix:/", plain, "run/vm/s", false },
		{ "nbd+unix:/", plain, "socket:[1234]", false },
		{ "nbd+unix:/", plain, "", false },
		{ "nbd+unix:/", plain, "/", false },
		{ "nbd+unix:/run/vm", plain, "/run/vm/../s", false },
		{ "nbd+unix:/run/vm", plain, "/run/vm/./s", false },
		{ "nbd+unix:/run/vm", plain, "/run/vm//s", false },
		{ "nbd+unix:/run/vm", plain, "/run/vm/s/", false },
		{ "nbd+unix:/run/vm", plain, "/run/vm/..", false },
		{ "nbd+unix:/run/vm", plain, "/run/vm/..s", true },
		{ "nbd+unix:/run/vm", plain, "/run/vm/.s", true },
		/* A relative directory that was not resolved is nowhere, too. */
		{ "nbd+unix:run", plain, "/run/vm/s", false },
		{ "nbd+unix:.", plain, "/run/vm/s", false },
		{ "nbd+unix:/run/../tmp", plain, "/tmp/s", false },
		{ "nbd+unix:/", "nbd://h/x", "/run/vm/s", false },
	};

	for (size_t i = 0; i < N_OF(cases); i++)
		cr_assert(allows_socket(cases[i].patterns, cases[i].uri, cases[i].real) ==
				  cases[i].is_allowed,
			  "'%s', %s: %s", cases[i].patterns, cases[i].uri, cases[i].real);
}

static bool allows_address(const char *patterns, const char *uri, const char *address)
{
	struct nbd_policy policy = policy_of(patterns);
	struct nbd_place place = rig_place(uri);
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	bool is_allowed;

	if (inet_pton(AF_INET, address, &in.sin_addr) == 1) {
		is_allowed = nbd_policy_allows_address(&policy, &place, (struct sockaddr *)&in,
						       sizeof(in));
	} else {
		cr_assert(inet_pton(AF_INET6, address, &in6.sin6_addr) == 1);
		is_allowed = nbd_policy_allows_address(&policy, &place, (struct sockaddr *)&in6,
						       sizeof(in6));
	}
	nbd_place_free(&place);
	nbd_policy_free(&policy);
	return is_allowed;
}

Test(nbd_policy, addresses_of_a_host_are_asked_for_one_by_one)
{
	static const struct {
		const char *patterns, *uri, *address;
		bool is_allowed;
	} cases[] = {
		{ "nbd:10.0.0.0/8", "nbd://h/x", "10.1.2.3", true },
		{ "nbd:10.0.0.0/8", "nbd://h/x", "127.0.0.1", false },
		{ "nbd:10.0.0.0/8", "nbd://h/x", "::ffff:10.1.2.3", true },
		{ "nbd:10.0.0.0/8", "nbd://h/x", "::ffff:127.0.0.1", false },
		{ "nbd:10.0.0.0/8", "nbd://h/x", "a00::", false },
		{ "nbd:10.0.0.1", "nbd://h/x", "10.0.0.1", true },
		{ "nbd:10.0.0.0/8:1", "nbd://h/x", "10.0.0.1", false },
		{ "nbd:10.0.0.0/8:1", "nbd://h:1/x", "10.0.0.1", true },
		{ "nbds:10.0.0.0/8", "nbd://h/x", "10.0.0.1", false },
		{ "nbds:10.0.0.0/8", "nbds://h/x", "10.0.0.1", true },
		{ "nbd:[fd00::]/8", "nbd://h/x", "fd12::1", true },
		{ "nbd:[fd00::]/8", "nbd://h/x", "fe80::1", false },
		{ "nbd:[::]/0", "nbd://h/x", "10.0.0.1", false },
		{ "nbd:[::]/0", "nbd://h/x", "::ffff:10.0.0.1", false },
		/* A host that is allowed by its name has whatever address it has. */
		{ "nbd:h", "nbd://h/x", "192.0.2.1", true },
		{ "nbd:h", "nbd://h/x", "2001::1", true },
		{ "nbd:h:1", "nbd://h/x", "192.0.2.1", false },
		{ "nbds:h", "nbd://h/x", "192.0.2.1", false },
		{ "nbd:g", "nbd://h/x", "192.0.2.1", false },
		{ "nbd:g nbd:10.0.0.0/8", "nbd://h/x", "192.0.2.1", false },
		{ "", "nbd://h/x", "127.0.0.1", false },
		{ "nbd+unix:/", "nbd://h/x", "127.0.0.1", false },
		{ "nbd:0.0.0.0/0", "nbd+unix:///x?socket=/s", "127.0.0.1", false },
	};
	struct nbd_policy policy = policy_of("nbd:h nbd:0.0.0.0/0 nbd:[::]/0");
	struct nbd_place place = rig_place("nbd://h/x");
	struct sockaddr_storage other = { .ss_family = AF_UNIX };

	for (size_t i = 0; i < N_OF(cases); i++)
		cr_assert(allows_address(cases[i].patterns, cases[i].uri, cases[i].address) ==
				  cases[i].is_allowed,
			  "'%s', %s: %s", cases[i].patterns, cases[i].uri, cases[i].address);
	cr_assert(!nbd_policy_allows_address(&policy, &place, (struct sockaddr *)&other,
					     sizeof(other)));
	other.ss_family = AF_INET;
	cr_assert(!nbd_policy_allows_address(&policy, &place, (struct sockaddr *)&other,
					     sizeof(struct sockaddr_in) - 1));
	nbd_place_free(&place);
	nbd_policy_free(&policy);
}

Test(nbd_policy, directories_are_resolved_once, .init = scratch_make, .fini = scratch_remove)
{
	struct nbd_place place = rig_place("nbd+unix:///x?socket=/s");
	struct nbd_policy policy = { 0 };
	struct bpull_error error;
	char pattern[4200];

	cr_assert(!mkdir(scratch("real"), 0700) && !symlink("real", scratch("link")));
	snprintf(pattern, sizeof(pattern), "nbd+unix:%s", scratch("link"));
	cr_assert(!nbd_policy_add(&policy, "nbd:h", &error));
	cr_assert(!nbd_policy_add(&policy, pattern, &error));
	cr_assert(!nbd_policy_allows_socket(&policy, &place, scratch("real/s")));
	cr_assert(nbd_policy_resolve(&policy, 0) == 2);
	cr_assert(nbd_policy_allows_socket(&policy, &place, scratch("real/s")));
	cr_assert_str_eq(nbd_policy_text(&policy, 1), pattern);

	/* One that is not there is told, and stays what it is: nothing is allowed by it. */
	snprintf(pattern, sizeof(pattern), "nbd+unix:%s", scratch("gone"));
	cr_assert(!nbd_policy_add(&policy, pattern, &error));
	cr_assert(!nbd_policy_add(&policy, "nbd+unix:/", &error));
	cr_assert(nbd_policy_resolve(&policy, 0) == 2);
	cr_assert(nbd_policy_resolve(&policy, 3) == 4);
	nbd_policy_free(&policy);
	nbd_place_free(&place);
}
