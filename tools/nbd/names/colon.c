/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QEMU's older names. As there, the first ":exportname=" ends what is before it, all behind it is
 * the export's name, and nothing stands for anything else.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/nbd/names/forms.h"
#include "tools/nbd/names/refusal.h"

static int read_server(const struct nbd_reading *reading, const char *text, size_t len,
		       struct nbd_place *place)
{
	static const char unix_word[] = "unix:";
	size_t unix_len = strlen(unix_word);
	char *path;
	int rc;

	if (len < unix_len || strncmp(text, unix_word, unix_len) != 0)
		return nbd_set_host_port(reading, place, text, len, 0);
	path = strndup(text + unix_len, len - unix_len);
	if (!path)
		return nbd_refuse_memory(reading->error);
	rc = nbd_set_socket(reading, place, path);
	free(path);
	return rc;
}

int nbd_colon_read(const struct nbd_reading *reading, struct nbd_place *place)
{
	static const char key[] = ":exportname=";
	const char *server = strchr(reading->name, ':') + 1;
	/* Behind the first colon, which is not the key's: "nbd:exportname=" has no host. */
	const char *end = strstr(server, key);
	size_t len = end ? (size_t)(end - server) : strlen(server);
	const char *export_name = end ? end + strlen(key) : "";
	int rc;

	if (end && !*export_name)
		return nbd_bad_name(reading, "the export's name is missing behind 'exportname='");
	rc = read_server(reading, server, len, place);
	return rc ? rc : nbd_set_export(reading, place, export_name);
}
