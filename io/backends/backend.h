/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which backend serves an engine. */
#ifndef BLOCKPULL_IO_BACKENDS_BACKEND_H
#define BLOCKPULL_IO_BACKENDS_BACKEND_H

struct err;
struct io;

enum io_choice {
	IO_CHOICE_AUTO, /* uring if it really works, its kernel threads too; else threads */
	IO_CHOICE_URING,
	IO_CHOICE_THREADS,
};

/* depth: requests the kernel may hold at once. Errors: -ENOTSUP with a sentence where uring was
 * asked for by name and is refused here; -EAGAIN, with a sentence, where no thread may be started;
 * -ENOMEM. */
int io_open(enum io_choice choice, unsigned depth, struct io **out, struct err *err);

#endif
