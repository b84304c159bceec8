/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What an operation does when a format could not answer at once. */
#ifndef BLOCKPULL_COMMIT_RETRY_H
#define BLOCKPULL_COMMIT_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/op.h"
#include "io/base.h"

struct table_need;

struct retry {
	const struct table_need *need; /* for rc == TABLE_NEED */
	/* A guest's request begins the commit that it waits for, and tries a stalled one again. A
	 * copy run does neither: a stalled commit waits for the job's runs to end. */
	bool begins_commit;
	uint64_t off; /* what an error is reported with: the byte, and whether it was to be read */
	bool is_read;
};

/* A format answered rc, not 0. The operation waits for the table (TABLE_NEED) or for a commit
 * (-EAGAIN), and its phase runs again; everything else is its error. */
enum step op_retry_later(struct op *op, int rc, const struct retry *how);

#endif
