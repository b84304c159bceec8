/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The flags of files that the program opens, which are set once. A program may answer with a copy
 * of a descriptor that it has given before, of a file that is in use: flags, locks and the offset
 * are those of all copies. So a file that is open already keeps its flags, and who opens it again
 * reads it as they are. Reads and writes say where; nothing trusts the offset.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "io/file/opener.h"
#include "io/posix/lookup.h"
#include "io/posix/use.h"

/* A given file while it is open. */
struct given_use {
	struct given_use *next;
	dev_t dev;
	ino_t ino;
	bool write;
};

/* What is open in this process. The lock is also for flags: they are read, and set from that. */
static pthread_mutex_t uses_lock = PTHREAD_MUTEX_INITIALIZER;
static struct given_use *uses;

/* The flags of this use may be set: no other use of the same file needs them as they are. (Nothing
 * tells for certain if two descriptors share a description, so the file counts.) A use for writing
 * gives way only to another for writing. */
static bool may_decide(const struct given_use *use)
{
	for (const struct given_use *other = uses; other; other = other->next)
		if (other->dev == use->dev && other->ino == use->ino &&
		    (other->write || !use->write))
			return false;
	return true;
}

/* The description's flags as an open of ours has them: io_uring ends reads that would wait with
 * EAGAIN where O_NONBLOCK is set, and with O_DIRECT that was not asked for two requests could
 * change one block at once. */
static int set_flags(const struct posix_lookup *lk, bool decides)
{
	int flags = fcntl(lk->fd, F_GETFL);
	int wanted = flags & ~(O_NONBLOCK | (decides ? O_DIRECT : 0));

	if (flags < 0 || fcntl(lk->fd, F_SETFD, FD_CLOEXEC))
		return -errno;
	/* A file system without direct I/O says so here. */
	if (decides && lk->how->direct && !fcntl(lk->fd, F_SETFL, wanted | O_DIRECT))
		return 0;
	return wanted == flags || !fcntl(lk->fd, F_SETFL, wanted) ? 0 : -errno;
}

int posix_use_begin(struct posix_lookup *lk)
{
	struct given_use *use = malloc(sizeof(*use));
	int rc;

	if (!use)
		return -ENOMEM;
	*use = (struct given_use){ .dev = lk->st.st_dev,
				   .ino = lk->st.st_ino,
				   .write = lk->how->write };
	pthread_mutex_lock(&uses_lock);
	rc = set_flags(lk, may_decide(use));
	use->next = uses;
	uses = use;
	pthread_mutex_unlock(&uses_lock);
	lk->use = use;
	return rc;
}

void posix_use_end(struct given_use *use)
{
	struct given_use **at = &uses;

	if (!use)
		return;
	pthread_mutex_lock(&uses_lock);
	while (*at != use)
		at = &(*at)->next;
	*at = use->next;
	pthread_mutex_unlock(&uses_lock);
	free(use);
}
