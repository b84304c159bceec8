/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What tests of sources share: an engine, the sources that names lead to, the bytes that they have,
 * and images above them. Judged by the shared library alone.
 */
#ifndef BLOCKPULL_TESTS_SOURCE_RIG_H
#define BLOCKPULL_TESTS_SOURCE_RIG_H

#include <stdint.h>

#include "engine/blockpull.h"
#include "tests/support/files/mem_source.h"

#define MiB     (1u << 20)
#define NAME    "nbd://host.example/base"
#define LEN     (9u * MiB + 1536)
#define N_PLAYS 24

/* Of the test that runs. */
extern struct bpull_engine *engine;
extern struct bpull_error error;
extern struct mem_sources sources;
extern uint8_t *bytes;

uint64_t source_rig_first_seed(void);
void source_rig_fill(uint64_t seed, uint64_t len);
/* A source of a seed, of up to LEN bytes. */
struct mem_source_how source_rig_draw(uint64_t seed);
void source_rig_begin(enum bpull_io io);
void source_rig_end(void);
void source_rig_set_up(void);
int source_rig_find_any(void *opaque, const struct bpull_open_request *request,
			struct bpull_base *base, struct bpull_error *why);
const char *source_rig_any_image(enum bpull_format format);
void source_rig_make_top(const char *name, const char *backing, enum bpull_format format,
			 uint64_t len);
struct bpull_disk_options source_rig_options(uint32_t flags);
int source_rig_try_open(const char *name, uint32_t flags, struct bpull_disk **disk);
struct bpull_disk *source_rig_open_top(uint32_t flags);
void source_rig_add_source(struct mem_source_how how);
struct bpull_event source_rig_next_event(void);
void source_rig_start(struct bpull_disk *disk, struct bpull_job_options o);
void source_rig_pull(struct bpull_disk *disk);
void source_rig_expect_alone(const char *name, uint64_t len);

#endif
