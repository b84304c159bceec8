/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A disk gets another image between two requests, and the guest does not notice. A request that is
 * held has no number yet and is in no other list, so everything that asks for requests from before
 * (I5, layers to be closed) is right about it when it begins later. It is checked only then: the
 * disk may be poisoned, or longer, by that time.
 */
#include "engine/guest/hold.h"

#include <assert.h>

#include "engine/core/disk.h"
#include "engine/core/loop.h"
#include "engine/guest/request.h"
#include "engine/guest/submit.h"
#include "io/base.h"
#include "io/fifo.h"

static void begin_hold(struct bpull_disk *disk, bool of_changes)
{
	assert(!disk->guests.hold.is_on);
	disk->guests.hold.is_on = true;
	disk->guests.hold.of_changes = of_changes;
	engine_rerun(disk->engine); /* the next round starts requests that are only submitted */
}

void guest_hold(struct bpull_disk *disk)
{
	begin_hold(disk, false);
}

void guest_hold_changes(struct bpull_disk *disk)
{
	begin_hold(disk, true);
}

bool guest_is_held_quiet(const struct bpull_disk *disk)
{
	return disk->guests.hold.is_on && guest_is_idle(disk);
}

void guest_release(struct bpull_disk *disk)
{
	struct guest *g;

	disk->guests.hold.is_on = false;
	while ((g = FIFO_TAKE(&disk->guests.hold, room.next)))
		guest_let_in(g);
	engine_rerun(disk->engine);
	engine_wake(disk->engine); /* calls that wait for the end of the hold look again */
}
