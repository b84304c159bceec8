/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/pull/dropped.h"

#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"

void dropped_note(struct pull_image *image)
{
	unsigned n = 0;

	while (bpull_job_dropped(image->disk, n))
		n++;
	image->dropped = calloc(n, sizeof(*image->dropped));
	for (unsigned i = 0; image->dropped && i < n; i++) {
		char *path = strdup(bpull_job_dropped(image->disk, i));

		if (path)
			image->dropped[image->n_dropped++] = path;
	}
}

void dropped_forget(struct pull_image *image)
{
	for (unsigned i = 0; i < image->n_dropped; i++)
		free(image->dropped[i]);
	free(image->dropped);
}
