/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A chain of five images below a guest, and what each of them must read: for jobs on the backing
 * files of an open disk.
 */
#ifndef BLOCKPULL_TESTS_NODES_RIG_H
#define BLOCKPULL_TESTS_NODES_RIG_H

#include "engine/blockpull.h"
#include "tests/support/files/qemu_img.h"

#define MiB   (1u << 20)
#define LEN   (8u * MiB)
#define BLOCK 4096u

extern struct bpull_engine *nodes_engine;
extern struct bpull_error nodes_error;
extern uint8_t *nodes_want, *nodes_got;

void nodes_set_up(void);
void nodes_tear_down(void);
/* "base" (raw) <- "c" <- "b" <- "a" <- "top", of 8 MiB each. */
void nodes_make_chain(const char *format);
struct bpull_disk *nodes_open_disk(const char *name, uint32_t flags);
/* What a disk reads is `nodes_want`. */
void nodes_expect_disk(struct bpull_disk *disk);
/* What QEMU reads of an image. */
void nodes_expect_image(const char *name, const char *format);
void nodes_expect_backing(const char *name, const char *backing);
void nodes_write_and_read(struct bpull_disk *disk, uint64_t *random);
/* The guest works until the job is over; its status. */
enum bpull_job_status nodes_work_until_over(struct bpull_disk *disk, uint64_t seed);
void nodes_start(struct bpull_disk *disk, struct bpull_job_options o);

#endif
