/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The set of open images from inside: layer_set.c changes it, identity.c looks. */
#ifndef BLOCKPULL_FORMATS_CHAIN_LAYER_ENTRIES_H
#define BLOCKPULL_FORMATS_CHAIN_LAYER_ENTRIES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct file_opener;
struct file_watch;
struct layer;
struct table_cache;

struct layer_entry {
	struct layer *layer;
	bool locked;
	bool is_apart; /* layer_set_keep_apart() */
};

struct layer_set {
	struct file_opener *opener;
	struct table_cache *cache;
	struct file_watch *watch; /* of all its files that are only read */
	struct layer_entry *entries;
	size_t n, room;
	atomic_bool changes; /* a child of fork() made now must not look at the entries */
};

#endif
