/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "io/blocking.h"

#include <assert.h>
#include <stddef.h>

static _Thread_local struct blocking *mine;

struct blocking *blocking_set(struct blocking *blocking)
{
	struct blocking *before = mine;

	mine = blocking;
	return before;
}

void blocking_begin(void)
{
	if (mine && !mine->depth++)
		mine->begin(mine);
}

void blocking_end(void)
{
	if (!mine)
		return;
	assert(mine->depth);
	if (!--mine->depth)
		mine->end(mine);
}

void blocking_pause(void)
{
	if (mine && !mine->depth)
		mine->pause(mine);
}
