/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/nbd/names/fields.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/nbd/names/host.h"
#include "tools/nbd/names/refusal.h"
#include "tools/words/text.h"

int nbd_bad_name(const struct nbd_reading *reading, const char *format, ...)
{
	char shown[REFUSAL_NAME_CAP], text[sizeof(reading->error->message)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return nbd_refuse(reading->error, -EINVAL, "'%s': %s", nbd_show(reading->name, shown),
			  text);
}

bool nbd_has_control(const char *text)
{
	uint32_t code_point;

	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || text_harmful(c, &code_point))
			return true;
	return false;
}

int nbd_set_host_port(const struct nbd_reading *reading, struct nbd_place *place, const char *text,
		      size_t len, uint16_t otherwise)
{
	const char *why;
	int rc = nbd_host_port_read(text, len, otherwise, &place->host, &place->port, &why);

	if (rc == -ENOMEM)
		return nbd_refuse_memory(reading->error);
	return rc ? nbd_bad_name(reading, "the host %s", why) : 0;
}

int nbd_make_path(const struct nbd_reading *reading, const char *what, const char *from,
		  char **path)
{
	size_t len = strlen(from);

	*path = NULL;
	if (!len)
		return nbd_bad_name(reading, "the %s's name is missing", what);
	if (nbd_has_control(from))
		return nbd_bad_name(
			reading, "the %s's name holds characters that control or hide text", what);
	if (*from != '/' && !reading->here)
		return nbd_bad_name(reading, "the %s's name must be absolute", what);
	if (len + (*from == '/' ? 0 : strlen(reading->here) + 1) >= PATH_MAX)
		return nbd_bad_name(reading, "the %s's name is longer than %d bytes", what,
				    PATH_MAX - 1);
	if ((*from == '/'
		     ? asprintf(path, "%s", from)
		     : asprintf(path, "%s/%s", reading->here[1] ? reading->here : "", from)) < 0) {
		*path = NULL;
		return nbd_refuse_memory(reading->error);
	}
	return 0;
}

int nbd_set_socket(const struct nbd_reading *reading, struct nbd_place *place, const char *path)
{
	place->is_unix = true;
	return nbd_make_path(reading, "socket", path, &place->socket_path);
}

int nbd_set_export(const struct nbd_reading *reading, struct nbd_place *place, const char *name)
{
	if (strlen(name) > NBD_EXPORT_MAX)
		return nbd_bad_name(reading, "the export's name is longer than %d bytes",
				    NBD_EXPORT_MAX);
	if (!text_is_utf8(name))
		return nbd_bad_name(reading, "the export's name is not UTF-8");
	if (nbd_has_control(name))
		return nbd_bad_name(reading,
				    "the export's name holds characters that control or hide text");
	place->export_name = strdup(name);
	return place->export_name ? 0 : nbd_refuse_memory(reading->error);
}
