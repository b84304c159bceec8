/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Protocols that other programs serve as NBD. The name is an image's: it goes into a line that a
 * user may type only as one quoted word, and without the users and options that it may hold.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tools/nbd/names/forms.h"
#include "tools/nbd/names/refusal.h"

#define SERVE "nbdkit -r -U /run/base.sock "
/* By itself nbdkit answers EIO at the first hiccup of what it reads from, and a pull fails. */
#define SERVE_REMOTE "nbdkit -r -U /run/base.sock --filter=retry "

static const struct foreign {
	const char *word, *line;
	bool is_url; /* the name stands behind the line */
} foreign[] = {
	{ "http", SERVE_REMOTE "curl url=", true },
	{ "https", SERVE_REMOTE "curl url=", true },
	{ "ftp", SERVE_REMOTE "curl url=", true },
	{ "ftps", SERVE_REMOTE "curl url=", true },
	{ "ssh", SERVE_REMOTE "ssh host=HOST path=/PATH", false },
	{ "sftp", SERVE_REMOTE "ssh host=HOST path=/PATH", false },
	{ "s3", SERVE_REMOTE "S3 bucket=BUCKET key=KEY", false },
	{ "rbd", "rbd map --read-only POOL/IMAGE && " SERVE "file /dev/rbd/POOL/IMAGE", false },
	{ "iscsi", "iscsiadm -m node -T TARGET -l && " SERVE "file /dev/disk/by-path/DISK", false },
	{ "iser", "iscsiadm -m node -T TARGET -l && " SERVE "file /dev/disk/by-path/DISK", false },
	{ "nfs", SERVE "file /MOUNT/FILE", false },
	{ "gluster", SERVE "file /MOUNT/FILE", false },
	{ "gluster+tcp", SERVE "file /MOUNT/FILE", false },
	{ "gluster+unix", SERVE "file /MOUNT/FILE", false },
	{ "gluster+rdma", SERVE "file /MOUNT/FILE", false },
	{ "nbd+ssh", "ssh -N -L /run/base.sock:localhost:10809 HOST", false },
	{ "nbds+ssh", "ssh -N -L /run/base.sock:localhost:10809 HOST", false },
	{ "nbd+vsock", "socat UNIX-LISTEN:/run/base.sock,fork VSOCK-CONNECT:CID:PORT", false },
	{ "nbds+vsock", "socat UNIX-LISTEN:/run/base.sock,fork VSOCK-CONNECT:CID:PORT", false },
};

static const struct foreign *find(const char *name)
{
	size_t len = strcspn(name, ":/");

	if (name[len] != ':')
		return NULL;
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		if (strlen(foreign[i].word) == len && !strncasecmp(name, foreign[i].word, len))
			return &foreign[i];
	return NULL;
}

/* A name that has a user and a password in it is not typed as it is. */
static const char *url_word(const char *name, char word[REFUSAL_NAME_CAP])
{
	const char *typed = strchr(name, '@') ? NULL : nbd_shell_word(name, word);

	return typed ? typed : "URL";
}

/* NAME=URI as one word for a shell, a '=' in the name doubled; what has no room is NAME. */
static const char *mapping_word(const char *name, char word[REFUSAL_NAME_CAP])
{
	static const char uri[] = "=nbd+unix:///?socket=/run/base.sock";
	char whole[REFUSAL_NAME_CAP];
	size_t len = 0;

	for (; *name && len + 2 + sizeof(uri) < sizeof(whole); name++) {
		whole[len++] = *name;
		if (*name == '=')
			whole[len++] = '=';
	}
	strcpy(whole + len, uri);
	if (!*name && nbd_shell_word(whole, word))
		return word;
	return "'NAME=nbd+unix:///?socket=/run/base.sock'";
}

int nbd_foreign_refuse(const struct nbd_reading *reading)
{
	const struct foreign *how = find(reading->name);
	char shown[REFUSAL_NAME_CAP], url[REFUSAL_NAME_CAP], word[REFUSAL_NAME_CAP];
	const char *argument;

	if (!how)
		return 0;
	argument = how->is_url ? url_word(reading->name, url) : "";
	return nbd_refuse(
		reading->error, -ENOTSUP,
		"'%s': this protocol is not read here; serve it as NBD (%s%s) and say so: "
		"--map-backing %s",
		nbd_show(reading->name, shown), how->line, argument,
		mapping_word(reading->name, word));
}
