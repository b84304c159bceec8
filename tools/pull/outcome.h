/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What becomes of several images together. */
#ifndef TOOLS_PULL_OUTCOME_H
#define TOOLS_PULL_OUTCOME_H

#include <stdbool.h>

#include "tools/pull/image.h"

/* Ends images that a stop came before, and says how many. */
void outcome_end_untried(struct pull_image *images, unsigned n_images, int signal, bool json);
/* The exit code of all of them. `by_remedy`: what running the command again may mend outweighs what
 * it can't; else the first in order counts. */
int outcome_code(const struct pull_image *images, unsigned n_images, bool by_remedy);

#endif
