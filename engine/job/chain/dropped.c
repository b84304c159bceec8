/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/job/chain/dropped.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/disk.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/file.h"

struct dropped_names {
	bool is_over; /* the job has completed: those that are left were dropped */
	unsigned n;
	struct {
		/* To be compared only. While a job runs no other layer comes into the chain. */
		const struct layer *layer;
		char *path;
	} list[];
};

void dropped_free(struct bpull_disk *disk)
{
	struct dropped_names *names = STEAL(disk->dropped.names);

	for (unsigned i = 0; names && i < names->n; i++)
		free(names->list[i].path);
	free(names);
}

int dropped_begin(struct bpull_disk *disk)
{
	struct bpull_disk *opened = disk_opened(disk);
	const struct chain *chain = opened->chain;
	struct dropped_names *names;

	dropped_free(opened);
	/* A flatten's new file was never above its source. */
	if (opened->flatten)
		return 0;
	names = calloc(1, sizeof(*names) + chain->n_layers * sizeof(names->list[0]));
	opened->dropped.names = names;
	for (; names && names->n < chain->n_layers; names->n++) {
		names->list[names->n].layer = chain->layers[names->n];
		names->list[names->n].path = strdup(chain->layers[names->n]->file->name);
		if (!names->list[names->n].path)
			return -ENOMEM;
	}
	return names ? 0 : -ENOMEM;
}

static bool is_in_chain(const struct chain *chain, const struct layer *layer)
{
	for (unsigned i = 0; i < chain->n_layers; i++)
		if (chain->layers[i] == layer)
			return true;
	return false;
}

void dropped_end(struct bpull_disk *disk)
{
	const struct bpull_disk *opened = disk_opened(disk);
	struct dropped_names *names = opened->dropped.names;
	unsigned n = 0;

	if (!names)
		return;
	for (unsigned i = 0; i < names->n; i++)
		if (is_in_chain(opened->chain, names->list[i].layer))
			free(names->list[i].path);
		else
			names->list[n++] = names->list[i];
	names->n = n;
	names->is_over = true;
}

const char *dropped_path(const struct bpull_disk *disk, unsigned i)
{
	const struct dropped_names *names = disk->dropped.names;

	return names && names->is_over && i < names->n ? names->list[i].path : NULL;
}
