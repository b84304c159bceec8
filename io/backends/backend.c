/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The choice between the backends. */
#include "io/backends/backend.h"

#include <errno.h>

#include "io/backends/threads.h"
#include "io/backends/uring.h"
#include "io/backends/workers.h"
#include "io/base.h"
#include "io/err.h"

/* Where io_uring is forbidden, unknown or too old, or has no locked memory, threads do all. The
 * thread that the ring's backend has started goes on in the other backend: the kernel counts a
 * thread for a while after it was joined, so under a limit on processes another program could take
 * its place before a new one starts. */
static int open_any(unsigned depth, unsigned n_threads, struct io **out, struct err *err)
{
	struct workers *left = NULL;

	if (!io_uring_backend_open(depth, out, &left, NULL))
		return 0;
	return io_threads_backend_open(n_threads, left, out, err);
}

int io_open(enum io_choice choice, unsigned depth, struct io **out, struct err *err)
{
	/* More threads than that only queue in the block layer instead of here. */
	unsigned n_threads = MIN(MAX(depth, 1u), (unsigned)WORKERS_MAX);

	switch (choice) {
	case IO_CHOICE_URING: return io_uring_backend_open(depth, out, NULL, err);
	case IO_CHOICE_THREADS: return io_threads_backend_open(n_threads, NULL, out, err);
	case IO_CHOICE_AUTO: return open_any(depth, n_threads, out, err);
	}
	return err_set(err, -EINVAL, "unknown I/O backend %d", (int)choice);
}
