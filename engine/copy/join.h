/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Copy runs from which a guest's read takes its bytes (walk/readers.h). */
#ifndef BLOCKPULL_COPY_JOIN_H
#define BLOCKPULL_COPY_JOIN_H

#include <stdbool.h>

struct bpull_disk;
struct run_reader;

/* The reader takes the front of its range, reader->len, which may get shorter, from a run in
 * flight: it is SERVED or WAITS. False: there is none, and nothing has changed. */
bool reader_join(struct bpull_disk *disk, struct run_reader *reader);
/* The same with a run that is begun for it, or made longer: it is the caller's to ask whether
 * copies may begin. False: no buffer is free, another operation has the clusters, or these are too
 * large. */
bool reader_begin_run(struct bpull_disk *disk, struct run_reader *reader);

#endif
