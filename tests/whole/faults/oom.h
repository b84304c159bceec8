/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The n-th allocation fails, of those made by the project's own code under
 * test. Unlike fail_alloc.h it leaves out what the simulator allocates, whose
 * memory is no part of the product: everything between oom_pause() and
 * oom_resume(). For programs linked with the --wrap options of the meson row.
 */
#ifndef BLOCKPULL_TESTS_OOM_H
#define BLOCKPULL_TESTS_OOM_H

#include <stdbool.h>
#include <stdint.h>

#include "io/file.h"
#include "io/io.h"
#include "tests/machine/sim_chain.h"

/* nth 1: the next one; forever: and all after it. */
void oom_arm(uint64_t nth, bool forever);
/* Draws each of n chains (their seeds from 1 on; how[] again and again) and calls try() with nth 1,
 * 2, ... for it, until that says that no allocation was the n-th. How often it was called. */
uint64_t oom_try_all(const struct sim_chain_how *how, uint64_t n_hows, uint64_t n, bool forever,
		     bool (*try)(const struct sim_chain *chain, uint64_t nth, bool forever));
/* How often it failed. */
uint64_t oom_disarm(void);
void oom_pause(void);
void oom_resume(void);

/* An opener that pauses inside; one at a time. The files and directories it opens pause as well. */
struct file_opener *oom_opener(struct file_opener *inner);
/* The same for a backend, which it takes over. */
struct io *oom_io(struct io *inner);

#endif
