/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An engine with a guest that reads, and calls in a thread of their own that files hold up. */
#ifndef BLOCKPULL_TESTS_YIELDS_RIG_H
#define BLOCKPULL_TESTS_YIELDS_RIG_H

#include <pthread.h>

#include "engine/api/engine.h"
#include "engine/api/thread.h"
#include "engine/core/disk.h"
#include "engine/core/lock.h"
#include "io/backends/backend.h"
#include "io/base.h"
#include "io/io.h"

#define BASE_LEN (4 * MiB)
#define PIECE    UINT64_C(65536)

extern struct bpull_engine *yields_engine;
extern struct bpull_disk *yields_guest; /* over a raw base */

struct bpull_disk *yields_open_disk(const char *name, uint32_t flags, int *rc);
/* Byte i of every piece is the piece's number. */
void yields_fill(const char *name);
void yields_check_read(struct bpull_disk *disk, uint64_t at, int expected);
void yields_make_top(const char *name);
void yields_open_engine(enum io_choice choice);
void yields_begin(void);
void yields_end(void);

struct call {
	pthread_t thread;
	void (*run)(struct call *call);
	const char *name;
	uint32_t flags;
	struct bpull_disk *disk;
	int rc;
};

void yields_begin_call(struct call *call);
void yields_end_call(struct call *call);
void yields_call_open(struct call *call);
void yields_call_start(struct call *call);
void yields_call_check(struct call *call);
void yields_call_map(struct call *call);
void yields_call_close(struct call *call);
void yields_call_read(struct call *call);
/* The guest of another disk reads and writes while the call stands at the gate. */
void yields_guest_goes_on(struct call *call);

#endif
