/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Copy runs from which a guest's read takes its bytes (walk/readers.h). */
#ifndef BLOCKPULL_COPY_JOIN_H
#define BLOCKPULL_COPY_JOIN_H

#include <stdbool.h>

struct bpull_disk;
struct run_reader;

/* Lets the reader take the front of its range from a run in flight; reader->len may get shorter.
 * True: it is SERVED, or WAITS. False: there is no such run, and nothing has changed. */
bool reader_join(struct bpull_disk *disk, struct run_reader *reader);
/* The same with a run that is begun for the reader, or the newest one, made longer. The caller asks
 * before whether copies may begin. False: no buffer is free, another operation has the clusters, or
 * they are too large. */
bool reader_begin_run(struct bpull_disk *disk, struct run_reader *reader);

#endif
