/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is told of each source, as long as the struct bpull_nbd is there: also of closed ones. */
#ifndef TOOLS_NBD_RECORD_H
#define TOOLS_NBD_RECORD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tools/nbd/blockpull-nbd.h"

struct record {
	struct records *records;
	unsigned index;
	bool is_open; /* a remote writes to it */
	char *uri;
	enum bpull_nbd_state state;
	int error;
	char message[256];
	uint64_t since_ns; /* of the state, CLOCK_MONOTONIC */
	uint64_t length;
	uint32_t n_connections;
	uint64_t bytes_read, n_requests, n_reconnects;
	struct record *next;
};

struct records {
	pthread_mutex_t lock; /* of all that is in them */
	struct record *first, **last;
	unsigned n;
	/* bpull_nbd_options; called without the lock. */
	void (*changed)(void *opaque, unsigned index);
	void *opaque;
};

void records_init(struct records *records);
void records_free(struct records *records);
/* The record of a source that is being opened: a closed one of the same URI, which goes on, or a
 * new one. NULL: no memory. */
struct record *records_add(struct records *records, const char *uri);
/* Tells of a state; message: NULL for none. */
void record_tell(struct record *record, enum bpull_nbd_state state, int error, const char *message);
bool record_is_connected(struct record *record);
void record_count(struct record *record, uint64_t bytes, uint64_t n_requests);
void record_connections(struct record *record, uint32_t n, bool is_reconnect);
void record_length(struct record *record, uint64_t length);
/* The source was closed, or did not open. */
void record_close(struct record *record);
/* Fills what the caller's struct has room for. 0, -EINVAL or -ENOENT. */
int records_get(struct records *records, unsigned index, struct bpull_nbd_source *source);

#endif
