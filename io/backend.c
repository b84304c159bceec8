/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The choice between the backends. */
#include "io/backend.h"

#include <errno.h>

#include "io/base.h"
#include "io/err.h"
#include "io/threads.h"
#include "io/uring.h"

/* More threads than this only queue in the block layer instead of here. */
#define IO_MAX_THREADS 16

int io_open(enum io_choice choice, unsigned depth, struct io **out, struct err *err)
{
	unsigned n_threads = MIN(MAX(depth, 1u), (unsigned)IO_MAX_THREADS);

	switch (choice) {
	case IO_CHOICE_URING: return io_uring_backend_open(depth, out, err);
	case IO_CHOICE_THREADS: return io_threads_backend_open(n_threads, out, err);
	case IO_CHOICE_AUTO:
		/* Forbidden, unknown, too old, out of locked memory: the threads can do it all. */
		if (!io_uring_backend_open(depth, out, NULL))
			return 0;
		return io_threads_backend_open(n_threads, out, err);
	}
	return err_set(err, -EINVAL, "unknown I/O backend %d", (int)choice);
}
