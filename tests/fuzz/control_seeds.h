/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* First inputs for the target of the control socket. */
#ifndef TESTS_FUZZ_CONTROL_SEEDS_H
#define TESTS_FUZZ_CONTROL_SEEDS_H

#include <stddef.h>
#include <stdint.h>

/* Takes one input of a target, behind a first byte. */
typedef void control_seed(const char *target, const char *name, int first, const void *bytes,
			  size_t len);

void control_seeds(control_seed *put);

#endif
