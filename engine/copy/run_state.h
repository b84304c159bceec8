/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The state of one copy run, and what its phases share. run.c has its life and the order of the
 * phases. */
#ifndef BLOCKPULL_COPY_RUN_STATE_H
#define BLOCKPULL_COPY_RUN_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "engine/copy/plan.h"
#include "engine/core/copied.h"
#include "engine/core/op.h"
#include "engine/core/range_lock.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/io.h"

struct clone;
struct encode;
struct copy_run;

/* Guest offset of a run in flight. */
uint64_t copy_run_guest_off(const struct copy_run *run);

enum copy_run_phase {
	COPY_RUN_LOCK,     /* the clusters, exclusively, FIFO */
	COPY_RUN_MAP,      /* plan the run, or the next piece, under the lock */
	COPY_RUN_CHARGE,   /* wait for tokens */
	COPY_RUN_READ,     /* into the buffer; compressed input beside it */
	COPY_RUN_DECODE,   /* on the workers, into the buffer */
	COPY_RUN_COMPRESS, /* on the workers, in place: jobs that compress only */
	COPY_RUN_WRITE,    /* find zeros, reserve, write */
	COPY_RUN_FILL,     /* large cluster: pieces of zeros that must be written */
	COPY_RUN_CLONE,    /* instead of CHARGE to WRITE: reserve, share blocks */
	COPY_RUN_CLONED,
	COPY_RUN_PUBLISH, /* in-memory tables; marks them dirty */
	COPY_RUN_OVER,
};

struct decode {
	struct io_req req;
	const struct layer *layer;
	uint64_t host_off; /* where the input was read */
	const uint8_t *in;
	uint32_t in_len;
	const struct copy_run *run;
	uint32_t part; /* index of its first part in the run's plan */
};

struct copy_run {
	struct op op;
	enum copy_run_phase phase;
	uint64_t guest_off;
	uint64_t len; /* at most, until it is mapped; then the run's */
	uint64_t
		taken_end; /* guest byte: [guest_off, taken_end) of the walk's work is this run's */
	bool is_finished;  /* and is done */
	uint32_t cluster_len, granule_len; /* of the overlay */
	uint32_t piece_len;                /* the granule, or a piece of a large one */
	struct range_lock lock;
	bool locked;   /* held or queued */
	bool is_zero;  /* no copy: entries that read zeros */
	bool is_clone; /* no copy: the source's blocks */
	bool on_read;  /* follows a guest's read: not the job's */
	bool compress;
	uint64_t start_ns;
	uint32_t paid_len;    /* bytes charged to the limiters for what is mapped next */
	uint64_t charged_len; /* bytes charged and not done */
	uint8_t *buf;         /* RUN_MAX_LEN bytes of the engine's pool; NULL where is_zero */

	struct io_req *reqs; /* reads, then writes */
	unsigned n_reqs;
	uint8_t *comp_buf;
	uint32_t comp_held; /* counted in engine->comp_len */
	struct decode *decodes;
	unsigned n_decodes;

	/* A cluster larger than the buffer, or than what a rate lets through at once. */
	uint64_t piece_off;
	uint64_t told_len; /* guest bytes of its pieces that the job counts as copied already */
	uint64_t written_pieces; /* bit i: piece i */
	bool known_zero;         /* its host space reads as zeros where not written */

	struct table_need need;
	uint32_t reserved_to; /* bytes of the run whose host space is decided */
	struct mapping *maps; /* written, then published */
	size_t n_maps, maps_cap;
	struct mapping *spaces; /* reserved for them: whole clusters */
	size_t n_spaces, spaces_cap;

	/* compress.c; NULL in jobs that don't compress. */
	uint32_t *comp_lens; /* for each cluster of the run: bytes in whole sectors, 0: plain */
	uint32_t n_chosen;   /* of them it is decided whether to compress them */
	struct encode *encodes;
	struct iovec *iovs;
	uint8_t *whole;       /* all of a cluster larger than the buffer */
	uint32_t encode_held; /* counted in engine->comp_len */

	/* digest.c; only in jobs that verify. */
	struct copied_list copied;      /* what it has written, or is about to */
	XXH128_hash_t *cluster_digests; /* of the run's whole clusters, a few for each large one */

	/* clone.c: the layer and byte of its file that are shared. */
	unsigned clone_depth;
	uint64_t clone_off, cloned_len;
	struct clone *clones;

	uint64_t copied_len, zero_len;
	struct copy_run *prev, *next; /* runs in flight: the job's, or those that follow reads */
	struct copy_run *next_throttled;
	struct plan plan; /* large, last */
};

/* One cluster, in pieces? */
static inline bool copy_run_in_pieces(const struct copy_run *p)
{
	return p->granule_len > p->piece_len;
}

/* Lets its clusters go; LOCK takes them again. */
void copy_run_unlock(struct copy_run *p);
/* Frees requests, compressed input and decodes; none is in flight. */
void copy_run_free_requests(struct copy_run *p);

/* The cursor may look for the next run: this one knows where it ends, and puts back what lies
 * behind. */
void copy_run_mapped(struct copy_run *p);
/* Space of the run that nothing refers to goes back. No request is in flight. */
void copy_run_give_up_space(struct copy_run *p);
/* Frees what cloning took; no request is in flight. */
void copy_run_free_clones(struct copy_run *p);
/* What comes when the run's bytes are there. */
enum copy_run_phase copy_run_after_read(const struct copy_run *p);

/* Remembers where a part of the run goes, or that it reads zeros: 0 or -ENOMEM. */
int copy_run_add_map(struct copy_run *p, const struct mapping *map);
int copy_run_add_zero(struct copy_run *p, uint64_t guest_off, uint64_t len);
/* [off, off + len) of the run holds nothing but zeros: it gets no entry, or one that says so. */
int copy_run_leave_zeros(struct copy_run *p, uint32_t off, uint32_t len);
/* Must zeros be written, or have an entry? Without a backing file what has none reads zeros. */
bool copy_run_keeps_zeros(const struct copy_run *p);
/* Must these bytes of the run be written? Pure; any thread. */
bool copy_run_is_data(const struct copy_run *p, const uint8_t *bytes, uint32_t len);
/* Decides where [off, off + len) of the run goes, plain, in one stretch where it can, and moves
 * reserved_to on behind what succeeded. 0, TABLE_NEED or -errno. */
int copy_run_reserve(struct copy_run *p, uint32_t off, uint32_t len);
/* Guest bytes of [off, off + len) of the run: the last cluster may reach behind the guest's end. */
uint64_t copy_run_guest_bytes(const struct copy_run *p, uint64_t off, uint64_t len);
/* A reservation or a publication gave rc: waits for a table (TABLE_NEED, p->need) or for the commit
 * in flight (-EAGAIN), then the phase runs again; else puts the run in error. */
enum step copy_run_retry_later(struct copy_run *p, int rc);

/* range_lock.granted of a run: it goes on. */
void copy_run_granted(void *owner);

/* Guest bytes that a run locks, whole clusters. */
uint64_t copy_run_lock_len(const struct copy_run *p);

/* The list that the run is in: the job's, or of those that follow reads. */
struct run_list *copy_run_runs_of(const struct copy_run *p);

/* The walk gets back what the run took and did not finish. */
void copy_run_put_back(struct copy_run *p, uint64_t from);

/* Punches out what a failed run has written and no entry refers to. */
void copy_run_discard_data(const struct copy_run *p);

#endif
