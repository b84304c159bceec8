/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What nbdkit was told on its own command line, and tells a plugin only with the
 * first client, or not at all: -r, and -e. By then the image would be locked and
 * made ready for writing.
 */
#ifndef TOOLS_NBDKIT_LINE_H
#define TOOLS_NBDKIT_LINE_H

#include <stdbool.h>

struct nbdkit_line {
	bool is_known;     /* false: the command line could not be read */
	bool read_only;    /* -r */
	char *export_name; /* -e; NULL: not given. The line's */
};

/* Reads it. Call it once, before nbdkit looks at the parameters: it cuts them at their '=' in
 * place. */
void nbdkit_line_read(struct nbdkit_line *line);
void nbdkit_line_free(struct nbdkit_line *line);

#endif
