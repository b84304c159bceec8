/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* blockpull ctl's verbs that change the chain of a served disk. */
#ifndef TOOLS_CTL_CHAIN_H
#define TOOLS_CTL_CHAIN_H

#include <stdbool.h>

#include "tools/ctl/ctl_client.h"

/* A file's name as another process finds it, for the caller to free; NULL: out of memory (said).
 * is_known: it is one of the chain, and may be a name that an image records. */
char *ctl_chain_absolute(const char *name, bool is_known);

/* A new overlay becomes the disk's image. Returns an exit code, as the other does. */
int ctl_chain_snapshot(struct ctl_client *client, const char *path);
/* What the image holds goes into `base`; NULL: the file below it. */
int ctl_chain_commit(struct ctl_client *client, const char *base, bool verifies);

#endif
