/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Recorded names that do not lead to NBD: what is left alone, and other protocols, which are
 * refused with the line to type.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "tests/unit/tools/nbd_rig.h"

/* The library's own: paths, and what it refuses itself. */
Test(nbd_name, what_is_not_ours_is_left_alone)
{
	static const char *const others[] = {
		"",
		"base.img",
		"/images/base.img",
		"./nbd://h/x",
		"/nbd:h:1",
		"file:base.img",
		"file:///x",
		"nbd",
		"nbds",
		"nbdx:h:1",
		"nbd/x:y",
		"a:b",
		"c:\\x",
		"fd:0",
		":",
		"blkdebug::base.img",
		"fat:/etc",
		"host_device:/dev/zero",
		"raw:base.img",
		"httpx:y",
		"tftp://h/x",
		"\n",
		"\xff",
		" nbd://h/x",
		"jso:{}",
		"json/x:y",
		"./https://h/x",
		"rbd/x:y",
	};

	for (size_t i = 0; i < N_OF(others); i++) {
		struct bpull_error error;
		struct nbd_name name;

		cr_assert(!nbd_name_read(others[i], NULL, &name, &error), "'%s': %s", others[i],
			  error.message);
		cr_assert(name.kind == NBD_NAME_OTHER, "'%s'", others[i]);
		cr_assert(!name.path && !name.place.export_name && name.format == 0);
		nbd_name_free(&name);
	}
}

static const struct {
	const char *name, *line;
} foreign[] = {
	{ "https://h/b.img",
	  "nbdkit -r -U /run/base.sock --filter=retry curl url=https://h/b.img" },
	{ "http://h/b", "curl url=http://h/b" },
	{ "HTTP://h/b", "curl url=HTTP://h/b" },
	{ "ftp://h/b", "curl url=ftp://h/b" },
	{ "ftps://h/b", "curl url=ftps://h/b" },
	{ "https://h/b?a=b&c", "curl url='https://h/b?a=b&c'" },
	{ "https://h/$(touch x)", "curl url='https://h/$(touch x)'" },
	{ "https://h/'; rm x '", "curl url='https://h/'\\''; rm x '\\'''" },
	{ "https://h/\n", "curl url=URL" },
	{ "https://root:pw@h/b", "curl url=URL)" },
	{ "https://h/\u202ex", "curl url=URL" },
	{ "ssh://root@h/b", "nbdkit -r -U /run/base.sock --filter=retry ssh host=HOST path=/PATH" },
	{ "s3://b/k", "S3 bucket=BUCKET key=KEY" },
	{ "rbd:pool/image:conf=/evil", "rbd map --read-only POOL/IMAGE" },
	{ "iscsi://h/t/0", "iscsiadm" },
	{ "nfs://h/x", "nbdkit" },
	{ "gluster+tcp://h/v/x", "nbdkit" },
	{ "nbd+ssh://root@h/x", "ssh -N -L" },
	{ "nbds+ssh://root@h/x", "ssh -N -L" },
	{ "nbd+vsock://2/x", "VSOCK-CONNECT" },
	{ "nbds+vsock://2/x", "VSOCK-CONNECT" },
};

Test(nbd_name, other_protocols_are_refused_with_the_line_to_type)
{
	for (size_t i = 0; i < N_OF(foreign); i++) {
		rig_refused(foreign[i].name, -ENOTSUP, foreign[i].line);
		rig_refused(foreign[i].name, -ENOTSUP, "--map-backing ");
	}
	rig_refused("https://h/b", -ENOTSUP,
		    "--map-backing 'https://h/b=nbd+unix:///?socket=/run/base.sock'");
	/* As --map-backing reads it again. */
	rig_refused("https://h/b?s=1", -ENOTSUP, "'https://h/b?s==1=nbd+unix:///?socket=");
	/* No user of the image's choice gets into a line. */
	rig_refused("ssh://root@h/b", -ENOTSUP, "ssh host=HOST path=/PATH)");
}
