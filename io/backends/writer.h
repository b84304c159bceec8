/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A thread that does writes which may wait, or which are copies in memory, one after the other,
 * beside a ring. */
#ifndef BLOCKPULL_IO_BACKENDS_WRITER_H
#define BLOCKPULL_IO_BACKENDS_WRITER_H

#include <stdbool.h>

#include "io/req_list.h"

struct writer;

/* Starts it. wake_fd (wake.h) stays the caller's: it is signalled when finished requests begin to
 * wait for writer_take(). 0 or -errno; -EAGAIN where no thread may be started. */
int writer_open(int wake_fd, struct writer **out);
/* Takes over all of the list. This and what follows is for the owner's thread. */
void writer_put(struct writer *writer, struct req_list *list);
/* Switches the signals of wake_fd on or off; they are on at first. Switched on, the writer signals
 * at once if requests have finished meanwhile. */
void writer_set_notify(struct writer *writer, bool on);
unsigned writer_take(struct writer *writer, struct io_req **out, unsigned max);
/* Nothing may be queued or running. NULL: there is none. */
void writer_close(struct writer *writer);

#endif
