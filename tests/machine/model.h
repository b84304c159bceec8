/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a guest may read: for every byte of the disk, the set of versions that a
 * read may return now. A version is what one request wrote there. Written from
 * engine/blockpull.h alone: requests in flight are in no order, of two that
 * overlap either may win, and what has won stays.
 */
#ifndef BLOCKPULL_TESTS_MODEL_H
#define BLOCKPULL_TESTS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

/* Version 0 is what the disk held at first; requests that change it, per life of a model: */
#define MODEL_MAX_VERSIONS 64

struct model_version {
	uint8_t value;
	bool is_hint;          /* a discard: may have done nothing */
	uint64_t begun, ended; /* 0: not yet */
};

struct model {
	const uint8_t *first; /* version 0 */
	uint64_t len;
	uint64_t *legal; /* one bit a version, for each byte */
	struct model_version versions[MODEL_MAX_VERSIONS];
	unsigned n_versions;
	uint64_t now;
	uint16_t *n_changing; /* requests in flight that change the byte */
	/* What a power cut now may leave of each byte. */
	uint64_t *after_cut;
	/* Versions that failed, and where they may be on a device though reads found others: a
	 * write that failed stays uncertain until another one is durable over it. */
	uint64_t *uncertain;
};

/* A flush in flight. */
struct model_flush {
	uint64_t begun;
	uint64_t *legal; /* of each byte, when it began */
};

/* One read in flight. */
struct model_read {
	uint64_t off, len;
	uint64_t *legal; /* all versions that were so at any time since it began */
	uint64_t begun;
};

void model_begin(struct model *m, const uint8_t *first, uint64_t len);
void model_end(struct model *m);
/* A request that is to leave `value` in the range begins. Returns its version. */
unsigned model_write_begin(struct model *m, uint64_t off, uint64_t len, uint8_t value,
			   bool is_hint);
/* It is over. */
void model_write_end(struct model *m, unsigned version, uint64_t off, uint64_t len);
/* It failed, and is over: done, or not, or in part. */
void model_write_failed(struct model *m, unsigned version, uint64_t off, uint64_t len);
/* The process that asked for it is dead, or the machine is: done, or not, or in part, and what
 * model_restarted() is told decides it. */
void model_write_abandoned(struct model *m, unsigned version, uint64_t off, uint64_t len);
/* It is durable as well (FUA); after model_write_end(). */
void model_write_durable(struct model *m, unsigned version, uint64_t off, uint64_t len);
/* A read of the byte may return this now. */
bool model_is_legal(const struct model *m, uint64_t byte, uint8_t value);
void model_flush_begin(struct model *m, struct model_flush *f);
/* What was over when it began is durable. Frees the flush. */
void model_flush_end(struct model *m, struct model_flush *f);
/* The first byte that may not hold what `got` has of it after a power cut now, or m->len. */
uint64_t model_illegal_after_cut(const struct model *m, const uint8_t *got);
/* The disk was opened anew after a death, with nothing in flight, and holds this. durable: the
 * power was cut, so that is all that there is; else a cut may still bring older bytes back, until
 * a flush. The first byte that it may not hold, or m->len: then nothing was changed. */
uint64_t model_restarted(struct model *m, const uint8_t *got, bool durable);
void model_read_begin(struct model *m, struct model_read *r, uint64_t off, uint64_t len);
/* A version begins while the read is in flight. */
void model_read_sees(struct model_read *r, unsigned version, uint64_t off, uint64_t len);
/* What it returned: true, or false and the byte that is wrong in *bad. Frees the read. What nothing
 * in flight can change any more is what was read, from now on. */
bool model_read_end(struct model *m, struct model_read *r, const uint8_t *got, uint64_t *bad);

#endif
