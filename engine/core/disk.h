/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The engine and its disks: the state that all rooms share.
 *
 * THREADS. Only the engine's owner thread touches it, without locks; in an engine with a thread of
 * its own, the thread that holds the engine's lock (lock.h). `struct control` is the exception:
 * other threads ask things of a job there and read a copy of its numbers, under control.mutex, and
 * wake the owner by engine->loop.wake_fd.
 */
#ifndef BLOCKPULL_CORE_DISK_H
#define BLOCKPULL_CORE_DISK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/blockpull.h"
#include "engine/core/aside.h"
#include "engine/core/convoy.h"
#include "engine/core/events.h"
#include "engine/core/job.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/core/merge.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_lock.h"
#include "engine/core/rate/calm.h"
#include "engine/core/rate/latency.h"
#include "engine/core/rate/limiter.h"
#include "engine/core/rate/toll.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/file.h"
#include "io/io.h"

struct bpull_disk;
struct buf_pool;
struct commit;
struct flatten;
struct guest;
struct layer_set;
struct verify;
struct copy_run;
struct copy_walk;
struct dropped_names;
struct table_cache;

/* Bytes: the longest copy run, or piece of a cluster that is longer. */
#define RUN_MAX_LEN (1 * MiB)

/* Bytes copied between two group commits. A crash can undo so much work, and no data. */
#define COMMIT_LEN (64 * MiB)

/* The engine's memory as its parts may use it; api/engine.c shares it out. */
struct engine_budget {
	unsigned max_runs;    /* of one job, in flight at once: small runs share slots */
	uint64_t comp_len;    /* no new run while bpull_engine.comp_len is more */
	uint64_t verify_len;  /* bytes that a job's list of what to verify may take */
	size_t n_ranges;      /* in each set of a job */
	uint64_t changed_len; /* no new run while more bytes of cached tables wait for a commit */
	uint64_t commit_len;  /* a group commit is due when so many bytes were copied */
};

/* The guest requests of all disks. */
struct engine_guests {
	struct {
		struct guest *first, *last;
	} done;     /* requests that have ended: to be taken as events (guest/request.c) */
	unsigned n; /* in flight */
	struct {
		struct guest *first, *last;
	} waiting; /* requests that wait for memory before they begin (guest/admit.c) */
	/* Bytes of memory that requests which have begun may take, and the limit of that sum. */
	uint64_t cost, cost_limit;
	uint64_t n_over;    /* requests that have ended, since the engine was opened */
	uint64_t n_seen;    /* n_over as job/round.c saw it last: if it grew, a guest is at work */
	uint64_t last_ns;   /* when job/round.c saw it grow last; 0: never */
	uint64_t source_ns; /* when a request wanted bytes of a source last; 0: never */
	struct toll toll;   /* what the jobs' runs cost them (copy/walk/window.c) */
};

/* A budget that the program shares with others (copy/walk/outside.c). */
struct outside_budget {
	uint64_t (*ask)(void *opaque, uint64_t bytes); /* NULL: there is none */
	void *opaque;
	uint64_t taken;    /* bytes that the engine has taken and no run has used */
	uint64_t ready_ns; /* when a run may use them */
};

struct bpull_engine {
	struct engine_thread thread;
	struct io *io;
	/* Slots of RUN_MAX_LEN; each run in flight has one, or a part of one. */
	struct buf_pool *bufs;
	/* Disks that want buffers, and how many of them are not parted from their convoy: counted
	 * once a round (copy/walk/slots.c). */
	unsigned n_copying, n_in_time;
	struct table_cache *cache;
	struct layer_set *layers;
	struct limiter limiter;         /* shared by all jobs; its tokens are bytes */
	struct limiter request_limiter; /* the same; requests (copy/walk/requests.h) */
	struct outside_budget outside;
	struct {
		pthread_mutex_t mutex;
		atomic_bool is_new;
		uint64_t bandwidth, burst;
	} speed; /* a new limit in bytes/s and bytes, set by any thread, taken by the owner */
	/* Bytes: throttle.shared_turn of the job whose run took tokens last. */
	uint64_t shared_turn;
	struct bpull_disk *disks;
	uint64_t n_ahead_failed; /* loads ahead that failed; while it is not 0, none begins */
	struct merge_queue merging;
	/* Operations that wait for a table which a yielding thread reads itself. */
	struct op_list table_waiters;
	struct op_list urgent, ready; /* operations to be stepped: the guest's, the others */
	uint64_t comp_len; /* bytes that runs hold of compressed input, and for compressing */
	struct engine_budget budget;
	struct convoys convoys; /* jobs that read the same layers, and what they have read */
	struct {
		struct queued_event *first, *last;
	} events; /* of jobs, to be taken by the program */
	struct engine_guests guests;
	/* api/fork.c: the process that opened the engine, and a page that tells a child of fork()
	 * from it without a system call: the page holds 1, and the kernel empties it in a child.
	 * NULL: there is no such page. */
	pid_t owner;
	uint8_t *owner_page;
	struct engine_loop loop;
};

/* Copy runs in flight, in the order in which they began. */
struct run_list {
	struct copy_run *first, *last;
	unsigned n;
};

/* A job as other threads see it: they ask things of it and read its numbers here, under the
 * mutex. */
struct control {
	pthread_mutex_t mutex;
	struct bpull_job_info info;
	uint64_t start_ns; /* of the job that info is about */
	bool running;      /* between start and conclusion */
	bool want_pause, want_abort, want_finalize, new_speed;
	bool keep_paused;             /* the program paused the job: it does not go on by itself */
	uint64_t bandwidth, burst;    /* bytes/s and bytes, while new_speed */
	struct bpull_job_rates rates; /* .which: those that are new */
};

/* Whether the image is this engine's or another program's (api/rest.c). */
enum disk_rest {
	DISK_ACTIVE,
	DISK_CHANGING, /* a call makes the disk inactive or active: nothing begins */
	DISK_INACTIVE, /* other programs may change the image: nothing is read or written */
};

/* A disk's guest requests. guest/ changes it, but where a comment names another file. */
struct guests {
	struct bpull_disk_stats stats; /* of requests that are over */
	struct latency recent;         /* of reads and writes, while a job gives way by them */
	/* Of the reads that need no request (guest/read_now.c). */
	struct {
		uint64_t took_ns;   /* what the read took that was timed last */
		unsigned n_untimed; /* reads to come before the next one is timed */
	} read_now;
	struct calm calm; /* of writes on the spot that may wait (guest/write_now.c) */
	/* Bytes of the guest's disk. While it is made longer the overlay's guest_len is the new
	 * length already. api/ and job/chain/ set it when the disk gets another image. */
	uint64_t len;
	bool is_growing;            /* guest/grow.c is at work */
	struct guest *first, *last; /* in flight, in order of submission */
	uint64_t next_seq;          /* of the next one */
	uint64_t oldest_seq;        /* of the first in the list; next_seq where there is none */
	/* Unless it is DISK_ACTIVE no request, job or walk begins (api/rest.c). */
	enum disk_rest rest;
	/* While it is on requests don't begin, but wait in this list (guest/hold.c). */
	struct {
		bool is_on;
		bool of_changes; /* only requests that change data wait */
		struct guest *first, *last;
	} hold;
	atomic_bool copy_on_read;
	struct run_list runs_on_read; /* copies that follow reads */
	uint64_t below_ns; /* what a read from below the overlay takes (guest/neighbours.c) */
	/* The header's claims that a write makes untrue (layer_claims_ops) are withdrawn before the
	 * guest's first write: not yet, by a request in flight, done. */
	enum {
		GUESTS_UNPREPARED,
		GUESTS_PREPARING,
		GUESTS_PREPARED,
	} prepare;
	struct op_list prepare_waiters;
	/* core/drop.c. Layers were hidden from mappings: requests with a lower number than hide_seq
	 * may still use them. */
	uint64_t hide_seq;
	/* core/drop.c. The hidden layers are about to be closed: no copy that follows a read
	 * begins. */
	bool dropping;
	/* commit/commit.c sets these three when it lets space go: the space may be used again once
	 * no request with a lower number than drain_seq is in flight (I5). Then guest/guest.c
	 * clears `draining`, and job/chain/pivot.c does when it gives the image up. */
	bool draining;
	uint64_t drain_seq;
	uint64_t drain_seq_above; /* for a node: the same number of the disk that was opened */
	/* The drained space is being given back to the file system, on a worker; `draining` stays
	 * true meanwhile. */
	struct {
		struct op op;
		struct io_req req;
		bool runs;
	} discard;
};

/* The backing link on its way out of the header. commit/header.c changes it, job/job.c when a job
 * begins, and job/chain/pivot.c and api/snapshot_top.c when the disk gets another image. */
struct link_state {
	bool leaving; /* the header without it is being written: the point of no return (I8) */
	bool changed; /* the header without the link is durable */
};

/* A disk's commits. Only commit/ changes it, but for the last two fields, which disk_wrote() sets
 * and a barrier clears. */
struct disk_commits {
	struct commit *in_flight; /* or NULL */
	struct op_list waiters;   /* operations that run when it ends */
	uint64_t n_begun;
	uint64_t n_synced;      /* ended well, and passed a barrier */
	uint64_t last_hard;     /* number of the last hard commit that ended well */
	uint64_t published_len; /* bytes since the last commit began */
	uint64_t first_published_ns;
	bool held;           /* commit_hold() */
	bool undurable;      /* the image's file was written to since its last barrier */
	bool data_undurable; /* the same of the overlay's data file, where it has one */
};

/* A *node* is a disk inside the library: a backing file of an opened disk, with the layers below
 * it, while a job of the opened disk writes to that file (job/chain/node.h). */
struct disk_nodes {
	/* Of a node. */
	struct bpull_disk *of; /* the disk that was opened; NULL: this is that disk, no node */
	unsigned depth;        /* of the node's image in the opened disk's chain, when it began */
	bool is_over;          /* the node is no longer needed: the next round frees it */
	/* Of a disk that was opened. */
	unsigned n; /* nodes that share its chain */
	/* The node that does the disk's job; NULL: the disk does it itself, or has none. Written
	 * under control.mutex by the owner, so other threads may read it there. */
	struct bpull_disk *working;
};

struct bpull_disk {
	struct bpull_engine *engine;
	struct bpull_disk *next;
	struct chain *chain;
	void *user_data;
	uint32_t flags;
	struct {
		char *warning, *hint; /* NULL: there is nothing to say */
	} told;
	struct flatten *flatten; /* api/flatten.c: the top is a new file; NULL: a pull's disk */
	/* The name that the overlay will have for its new backing file; NULL: it gets none. */
	char *base_name;

	struct range_locks locks;
	/* -errno: a barrier or a table write failed, nothing is written any more (I7). */
	int poisoned;
	struct disk_commits commits;

	bool may_write; /* layer_begin_writing() was done for the guest */
	/* A call that starts a job or takes a snapshot, or a job's work on a worker (aside.h), has
	 * the image alone, though other threads come into the engine: nothing else may look at this
	 * disk's tables or write its header. */
	bool exclusive;
	/* Calls that walk the disk's chain, and let other threads in: no layer is closed
	 * meanwhile. */
	unsigned n_walking;
	struct {
		bool sharing_checked; /* damage_refuse_sharing() found nothing */
		bool has_copied;      /* a job or a read has copied into it */
	} since_opened;

	struct aside aside;
	/* What the disk's jobs have dropped. */
	struct {
		struct file *files;          /* of layers that are gone: still to be closed */
		struct dropped_names *names; /* all names, closed or not (job/chain/dropped.h) */
	} dropped;
	struct guests guests;
	struct job job;
	struct verify *verify;  /* core/copied.h: what the job reads back; NULL: not asked for */
	struct copy_walk *walk; /* copy/walk/walk.h: what the job copies, and how far it is */
	/* Requests in flight that no operation waits for: tables loaded ahead (load.c), early
	 * write-back (copy/walk/writeback.c). A job is not over before they are. */
	unsigned n_background;
	struct link_state link;
	struct control control;
	struct disk_events events;
	struct disk_nodes nodes;
};

/* The disk that the program has opened: a node's, or the disk itself. */
static inline struct bpull_disk *disk_opened(struct bpull_disk *disk)
{
	return disk->nodes.of ? disk->nodes.of : disk;
}

/* The disk whose job writes to this disk's image. Mostly the disk itself. A commit's target is a
 * node without a job: there it is the disk, or node, that does the commit. */
static inline struct bpull_disk *disk_with_job(struct bpull_disk *disk)
{
	if (!disk->nodes.of || disk->job.step != JOB_IDLE)
		return disk;
	return disk->nodes.of->nodes.working ? disk->nodes.of->nodes.working : disk->nodes.of;
}

/* A job of the disk's has begun and not ended. */
static inline bool disk_has_job(const struct bpull_disk *disk)
{
	return disk->job.step != JOB_IDLE || disk->nodes.working;
}

static inline bool engine_has_ready(const struct bpull_engine *engine)
{
	return engine->urgent.first || engine->ready.first;
}

static inline struct layer *disk_overlay(const struct bpull_disk *disk)
{
	return disk->chain->layers[0];
}

/* Guest bytes [guest_off, guest_off + len) are of the disk. */
static inline bool disk_has_range(const struct bpull_disk *disk, uint64_t guest_off, uint64_t len)
{
	return guest_off <= disk->guests.len && len <= disk->guests.len - guest_off;
}

/* A raw image by itself, open for the guest. */
static inline bool disk_is_raw(const struct bpull_disk *disk)
{
	return layer_format(disk_overlay(disk)) == IMAGE_RAW && !disk->flatten;
}

/* The overlay keeps its data in a file of its own. */
static inline bool disk_has_data_file(const struct bpull_disk *disk)
{
	return disk_overlay(disk)->data != disk_overlay(disk)->file;
}

enum disk_part {
	DISK_IMAGE, /* tables: in the image's file */
	DISK_DATA,  /* the guest's bytes: in the data file, where the overlay has one */
};

/* That file was written to, or will be before its next barrier: what was written is durable only
 * after that (I1). Nothing else sets `undurable` and `data_undurable` of disk_commits. */
void disk_wrote(struct bpull_disk *disk, enum disk_part part);

/* The disk's image may be written to from now on. What an earlier process wrote before it was
 * killed may be in the page cache only, so the next barrier must cover that, too (I1, I3). */
void disk_began_writing(struct bpull_disk *disk);
/* How many of the len bytes at host_off are to be written. A data file need not be longer than the
 * guest's disk (a device can't be), but where it is, the rest of the last cluster is cleared. */
uint64_t disk_write_len(const struct bpull_disk *disk, uint64_t host_off, uint64_t len);
/* Neither a guest request of the disk nor a copy that follows one is in flight. */
bool guest_is_idle(const struct bpull_disk *disk);

/* A guest request is in flight, or one ended within the last 10 ms. */
bool engine_guest_is_active(const struct bpull_engine *engine);
/* A guest request has wanted bytes of a source within the last second. */
bool engine_guest_needs_sources(const struct bpull_engine *engine);

/* The image's name, for a message. */
const char *disk_show(const struct bpull_disk *disk, struct shown *shown);

/* Takes the disk off the engine's list: rounds don't visit it any more. */
void disk_leave_engine(struct bpull_disk *disk);

/* Ends disk.exclusive: others may look at the tables and write the header again. */
void disk_end_exclusive(struct bpull_disk *disk);

/* The flatten's new file has got its name, or was removed: there is no file to write to any
 * more. */
bool flatten_is_over(const struct bpull_disk *disk);

/* Tells the backend that a file was opened. opaque: the disk. For chain_open.file_opened. */
void disk_note_file_opened(void *opaque, struct file *file);
/* Tells the backend that a file will be closed. opaque: the engine, not the disk. */
void disk_note_file_closing(void *opaque, struct file *file);

#endif
