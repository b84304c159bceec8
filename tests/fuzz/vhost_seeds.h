/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* First inputs for the targets of serve's protocol. */
#ifndef TESTS_FUZZ_VHOST_SEEDS_H
#define TESTS_FUZZ_VHOST_SEEDS_H

#include <stddef.h>
#include <stdint.h>

/* Takes one input of a target. */
typedef void vhost_seed(const char *target, const char *name, const void *bytes, size_t len);

void vhost_seeds(vhost_seed *put);

#endif
