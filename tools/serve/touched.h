/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the machine touches first, recorded; what of an earlier recording a pull begins with. */
#ifndef TOOLS_SERVE_TOUCHED_H
#define TOOLS_SERVE_TOUCHED_H

#include "tools/serve/options.h"
#include "tools/serve/port.h"

/* Says what of --first lies behind the disk's end. */
void touched_note_first(const struct serve_options *options, struct bpull_disk *disk);
/* Says what went wrong with writing it, if that is new. */
void touched_tell(struct port *port);
/* The server ends: writes what was touched, and says what went wrong with it. */
void touched_end(struct port *port);

#endif
