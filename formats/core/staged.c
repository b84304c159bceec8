/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Staged writes: made, taken over, and done with. */
#include "formats/core/staged.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/table_cache.h"
#include "formats/core/table_lists.h"

void staged_push(struct staged *staged, enum stage stage, struct staged_write *write)
{
	write->next = staged->head[stage];
	staged->head[stage] = write;
	staged->n[stage]++;
}

int staged_add(struct staged *staged, enum stage stage, struct file *file, uint64_t host_off,
	       const void *bytes, uint32_t len)
{
	struct staged_write *write = malloc(sizeof(*write) + len);

	if (!write)
		return -ENOMEM;
	*write = (struct staged_write){ .file = file, .host_off = host_off, .len = len };
	memcpy(write->bytes, bytes, len);
	staged_push(staged, stage, write);
	return 0;
}

void staged_patch(struct staged *staged, enum stage stage, const struct file *file,
		  uint64_t host_off, const void *bytes, uint32_t len)
{
	for (struct staged_write *w = staged->head[stage]; w; w = w->next)
		if (w->file == file && w->host_off == host_off && w->len >= len)
			memcpy(w->bytes, bytes, len);
}

void staged_write_done(struct staged_write *write)
{
	struct table *table = write->table;

	if (table) {
		assert(table->n_writing > 0);
		table->n_writing--;
		table_settle(table, false);
	}
	free(write);
}

void staged_clear_stage(struct staged *staged, enum stage stage)
{
	while (staged->head[stage]) {
		struct staged_write *write = staged->head[stage];

		staged->head[stage] = write->next;
		staged_write_done(write);
	}
	staged->n[stage] = 0;
}

void staged_clear(struct staged *staged)
{
	for (enum stage stage = 0; stage < N_STAGES; stage++)
		staged_clear_stage(staged, stage);
}
