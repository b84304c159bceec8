/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The backend of threads. */
#ifndef BLOCKPULL_IO_BACKENDS_THREADS_H
#define BLOCKPULL_IO_BACKENDS_THREADS_H

struct err;
struct io;
struct io_req;
struct workers;

/* Takes over the workers, also when it fails; NULL: it starts some. */
int io_threads_backend_open(unsigned n_threads, struct workers *workers, struct io **out,
			    struct err *err);
/* Does all of a request, of any kind, with blocking calls, on the calling thread; sets the
 * result. */
void io_req_run_here(struct io_req *req);

#endif
