/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests that O_DIRECT refuses. */
#ifndef BLOCKPULL_IO_UNALIGNED_H
#define BLOCKPULL_IO_UNALIGNED_H

#include <stdbool.h>

struct io_req;

/* O_DIRECT would refuse it. */
bool io_req_is_unaligned(const struct io_req *req);
/* It can be read past the page cache. */
bool io_req_may_pass_cache(const struct io_req *req);
/* All of it with blocking calls; sets the result. On a worker. */
void io_req_run_unaligned(struct io_req *req);

#endif
