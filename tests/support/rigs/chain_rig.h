/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What tests of opening chains share: files in memory, small images that name one
 * another, and what an opening says.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_RIGS_CHAIN_RIG_H
#define BLOCKPULL_TESTS_SUPPORT_RIGS_CHAIN_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/chain/chain.h"
#include "formats/chain/layer_set.h"
#include "formats/core/table_cache.h"
#include "io/err.h"
#include "tests/support/files/mem_file.h"

/* Of the test that runs. */
extern struct chain_rig {
	struct mem_fs fs;
	struct table_cache *cache;
	struct layer_set *set;
	struct err err; /* of the last opening */
} chain_rig;

void chain_rig_begin(void);
/* Fails the test where a layer, a file or memory is left. */
void chain_rig_end(void);

/* A QED image with 4 KiB clusters and an empty L1 table. backing NULL: none. */
struct mem_inode *chain_rig_add_qed(const char *name, const char *backing, uint64_t more_features);
/* A qcow2 image with 512-byte clusters: header, refcount table and L1 table, all empty. backing,
 * format NULL: none is recorded. */
struct mem_inode *chain_rig_add_qcow2(const char *name, const char *backing, const char *format);

/* 0 or -errno, which the error says, too. */
int chain_rig_open_how(const struct chain_open *how, struct chain **out);
int chain_rig_open(const char *name, bool write, struct chain **out);
/* The last opening's sentence must hold both texts. */
void chain_rig_says(const char *a, const char *b);
/* Opening this overlay for writing fails with this code, and says both. */
void chain_rig_refused(const char *name, int code, const char *a, const char *b);

/* Callbacks of struct chain_open, with a struct chain_rig_told as opaque. */
struct chain_rig_told {
	unsigned n_opened, n_closing, n_no_locks;
};
void chain_rig_count_opened(void *opaque, struct file *file);
void chain_rig_count_closing(void *opaque, struct file *file);
void chain_rig_count_no_locks(void *opaque, const char *name);

#endif
