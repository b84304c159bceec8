/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The writes of a commit, by the stage at which each may reach the disk. They
 * are private copies, so what is changed later belongs to the next commit.
 */
#ifndef BLOCKPULL_FORMATS_CORE_STAGED_H
#define BLOCKPULL_FORMATS_CORE_STAGED_H

#include <stdint.h>

struct file;
struct table;

/* When a changed sector may reach the disk; the order is engine/commit/commit.c's. */
enum stage {
	STAGE_REFCOUNT, /* raised refcounts, new refcount blocks and new tables: unreachable yet */
	STAGE_REFTABLE, /* what makes a new refcount block, refcount table or L1 table reachable;
			 * the disk's length */
	STAGE_TABLE,    /* entries of tables that readers of the disk can reach (L2) */
	STAGE_ROOT,     /* entries that make new tables reachable (L1) */
	STAGE_NAME,     /* a new backing file's name, where nothing leads to it yet */
	STAGE_HEADER,   /* the backing link */
	N_STAGES,
};

/* A write described, not performed: a private copy of table sectors or header bytes. */
struct staged_write {
	struct staged_write *next;
	struct table *table; /* whose n_writing falls when it is done; NULL for none */
	struct file *file;
	uint64_t host_off;
	uint32_t len;
	uint8_t bytes[];
};

/* One commit's writes by stage. Zero-initialise. */
struct staged {
	struct staged_write *head[N_STAGES];
	unsigned n[N_STAGES];
};

/* Adds a copy of other bytes (header, refcount table) to *staged. 0 or -ENOMEM. */
int staged_add(struct staged *staged, enum stage stage, struct file *file, uint64_t host_off,
	       const void *bytes, uint32_t len);
/* Adds a write, which is *staged's from then on. */
void staged_push(struct staged *staged, enum stage stage, struct staged_write *write);
/* Frees a staged write that has ended, or is given up, and tells its table. */
void staged_write_done(struct staged_write *write);
/* Puts other bytes into the staged write that begins at host_off of the file, if there is one. It
 * has not been submitted. */
void staged_patch(struct staged *staged, enum stage stage, const struct file *file,
		  uint64_t host_off, const void *bytes, uint32_t len);
/* Gives up all writes that are left in *staged. */
void staged_clear(struct staged *staged);
/* Gives up those of one stage. */
void staged_clear_stage(struct staged *staged, enum stage stage);

#endif
