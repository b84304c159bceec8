/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Bases that a program supplies. */
#ifndef BLOCKPULL_API_SOURCE_H
#define BLOCKPULL_API_SOURCE_H

struct chain_found;
struct err;

/* As struct chain_finder has it; opaque is a struct bpull_disk_options with find_base. */
int source_find(void *opaque, const char *name, const char *recorded, struct chain_found *found,
		struct err *err);

#endif
