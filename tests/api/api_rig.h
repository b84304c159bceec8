/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What tests of the public interface share: an engine over images in the scratch
 * directory, a disk and its job, each step asserted. They see the shared library
 * and nothing else of ours.
 */
#ifndef BLOCKPULL_TESTS_API_RIG_H
#define BLOCKPULL_TESTS_API_RIG_H

#include "engine/blockpull.h"

#define MiB               (1u << 20)
#define API_RIG_BASE_LEN  (24u * MiB)
#define API_RIG_SMALL_LEN (8u * MiB)

/* Of the test that runs. */
extern struct bpull_engine *engine;
extern struct bpull_error error;

/* An engine, and "base.raw", whose every 8 bytes say where they are; every fourth MiB is a hole. */
void api_rig_begin(enum bpull_io io);
/* "top", a qcow2 overlay over "base", of equal bytes. */
void api_rig_make_small(void);
/* The same, and an engine. */
void api_rig_begin_small(void);
/* An engine with these flags (enum bpull_engine_flags), and "top", open for a guest. The files must
 * be there: they are the caller's to make. */
struct bpull_disk *api_rig_begin_guest(uint32_t engine_flags);
/* The result of the next event, which must be that of a request with this user_data. */
int api_rig_request(const void *user_data);
/* Closes the engine; the files are gone. */
void api_rig_end(void);
/* Bytes of base.raw that are data. */
uint64_t api_rig_data_len(void);

/* The disk's events have &engine as user_data. */
struct bpull_disk *api_rig_open(const char *name, uint32_t flags);
/* Opens "top" with these options (the size is filled in) and closes it. 0, or what it was refused
 * with. */
int api_rig_try_open(struct bpull_disk_options o);
void api_rig_start(struct bpull_disk *disk, uint64_t bandwidth, uint32_t flags);
struct bpull_job_info api_rig_info(struct bpull_disk *disk);
/* The next event, which must be this disk's job's. */
struct bpull_event api_rig_event(struct bpull_disk *disk);
/* The engine runs for so long, and has no event. */
void api_rig_no_event(int ms);
/* The image, which must have no backing file any more, reads as base.raw. */
void api_rig_expect_base(const char *name);

#endif
