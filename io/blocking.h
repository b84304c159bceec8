/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Calls that wait for a file, in a thread that holds a lock which others want. The
 * blocking calls of file.h and the formats' walks say here when they wait and when
 * they compute for long; the owner of the lock has told this thread what it does
 * then. Threads that were told nothing pay one look at a variable of their own.
 *
 * Passing the lock down through formats/ was rejected: what reads tables would have
 * to know of engines.
 */
#ifndef BLOCKPULL_BLOCKING_H
#define BLOCKPULL_BLOCKING_H

struct blocking {
	void (*begin)(struct blocking *blocking); /* gives the lock back */
	void (*end)(struct blocking *blocking);   /* takes it again */
	void (*pause)(struct blocking *blocking); /* may do both, if it was held for long */
	unsigned depth;                           /* of begins */
};

/* Sets what this thread calls from now on; NULL: nothing. Returns what was set before. */
struct blocking *blocking_set(struct blocking *blocking);
/* Up to blocking_end() this thread touches nothing that the lock protects. May be nested. */
void blocking_begin(void);
void blocking_end(void);
/* Makes a call that waits, between a begin and an end. Its value is the call's. */
#define WAITING(call)                      \
	({                                 \
		__typeof__(call) returned; \
		blocking_begin();          \
		returned = call;           \
		blocking_end();            \
		returned;                  \
	})
/* Between two steps of a long walk: nothing that the lock protects is in use. Not between begin and
 * end. */
void blocking_pause(void);

#endif
