/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Rejected: freeing in the child. At the fork another thread may have been
 * changing what would be freed, and may have held its locks; the child does not
 * have that thread. Rejected too: a handler of pthread_atfork(), which is state
 * of the whole process and outlives a library that is unloaded.
 */
#include "engine/api/fork.h"

#include <sys/mman.h>
#include <unistd.h>

#include "engine/core/disk.h"
#include "formats/chain/layer_set.h"
#include "io/base.h"
#include "io/io.h"

#define PAGE_LEN 4096

/* Makes no system call: every public call asks this, and getpid() made a guest's read from the page
 * cache a third longer. */
bool engine_is_forked(const struct bpull_engine *engine)
{
	return engine->owner_page ? !*engine->owner_page : engine->owner != getpid();
}

void engine_note_owner(struct bpull_engine *engine)
{
	uint8_t *page =
		mmap(NULL, PAGE_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	engine->owner = getpid();
	if (page == MAP_FAILED)
		return;
	if (madvise(page, PAGE_LEN,
		    MADV_WIPEONFORK)) { /* an emulator of user programs may refuse it */
		munmap(page, PAGE_LEN);
		return;
	}
	*page = 1;
	engine->owner_page = page;
}

void engine_forget_owner(struct bpull_engine *engine)
{
	if (engine->owner_page)
		munmap(engine->owner_page, PAGE_LEN);
}

static void leave_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void engine_leave_to_parent(struct bpull_engine *engine)
{
	if (engine->loop.epoll_fd < 0) /* closed already */
		return;
	layer_set_leave(engine->layers);
	io_leave(engine->io);
	leave_fd(&engine->loop.epoll_fd);
	leave_fd(&engine->loop.timer_fd);
	leave_fd(&engine->loop.wake_fd);
	if (engine->thread.is_on)
		leave_fd(&engine->thread.event_fd);
}
