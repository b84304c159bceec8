/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See touched.h. */
#include "tools/serve/touched.h"

#include "tools/cli/say.h"

void touched_note_first(const struct serve_options *options, struct bpull_disk *disk)
{
	char note[FIRST_NOTE_CAP];

	if (!options->line.quiet && first_note(&options->job, bpull_disk_size(disk), note))
		say_note("'%s': %s", options->image, note);
}

void touched_tell(struct port *port)
{
	char why[TRACE_WHY_CAP];

	if (record_take_complaint(&port->record, why))
		say_note("warning: %s; the next try follows", why);
}

void touched_end(struct port *port)
{
	char why[TRACE_WHY_CAP];

	if (record_end(&port->record, why))
		say_error("%s", why);
}
