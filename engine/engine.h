/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The engine's inside.
 *
 * THREADS. Everything here belongs to the engine's owner thread (or to whoever
 * is inside an engine with a thread of its own, thread.h), without locks, but for `struct control`: what other threads ask of a job, and the
 * copy of its numbers they may read, under control.mutex, with engine->wake_fd
 * to be heard.
 */
#ifndef BLOCKPULL_ENGINE_H
#define BLOCKPULL_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "engine/blockpull.h"
#include "engine/limiter.h"
#include "engine/merge.h"
#include "engine/open_flags.h"
#include "engine/op.h"
#include "engine/plan.h"
#include "engine/range_lock.h"
#include "engine/range_set.h"
#include "engine/thread.h"
#include "engine/commit_private.h"
#include "engine/engine.h"
#include "engine/guest.h"
#include "engine/populate.h"
#include "engine/verify.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/buf.h"

/* A copy run, and a piece of a cluster larger than this, at most. */
#define RUN_MAX_LEN (1 * MiB)
/* Group commits: this much copied. What a crash can lose of work, never of data. */
#define COMMIT_LEN (64 * MiB)

struct queued_event {
	struct bpull_event event;
	char message[1024]; /* event.message points here: it is of that event alone */
	struct queued_event *next;
};

struct bpull_engine {
	struct engine_thread thread;
	struct io *io;
	struct buf_pool *bufs; /* slots of RUN_MAX_LEN: one for each run in flight */
	unsigned max_runs;     /* in flight, of a job: small ones share slots */
	struct table_cache *cache;
	struct layer_set *layers;
	struct limiter limiter; /* shared by all jobs */
	struct {
		pthread_mutex_t mutex;
		atomic_bool is_new;
		uint64_t bandwidth, burst;
	} speed;              /* what any thread wishes for the limiter */
	uint64_t shared_turn; /* bytes: job.shared_turn of the run that was let go last */
	struct bpull_disk *disks;
	uint64_t n_ahead_failed; /* tables that could not be read before anybody wanted them */
	struct merge_queue merging;
	struct op *table_waiters;     /* for tables that a thread which yields is reading itself */
	struct op_list urgent, ready; /* operations to be stepped: the guest's, the others */
	uint64_t comp_len;       /* bytes of compressed input, and for compressing, held by runs */
	uint64_t comp_len_limit; /* no new run while more is held */
	uint64_t verify_len_limit;  /* a list of what is to be verified takes no more bytes */
	size_t range_sets_max;      /* ranges in each set of a job */
	uint64_t changed_len_limit; /* nor while more bytes of cached tables wait for a commit */
	uint64_t commit_len;        /* a group commit is due when so many bytes were copied */
	struct queued_event *events_first, *events_last;
	struct guest *done_first, *done_last; /* guest requests that are over: events to be */
	unsigned n_guests;                    /* guest requests in flight, of all disks */
	uint64_t guest_cost,
		guest_cost_limit; /* bytes: what those that have begun may need, and its bound */
	struct guest *held_first,
		*held_last;     /* submitted, and without room to begin: guest_admit.c */
	bool guest_seen;        /* one ended since the engine last looked at the clock */
	uint64_t last_guest_ns; /* when one ended last */
	pid_t owner;            /* the process that opened it: fork.h */
	int epoll_fd, timer_fd, wake_fd;
	atomic_bool woken; /* wake_fd is readable, or about to be */
	int n_woken;       /* writes to wake_fd that were announced and not read yet */
	bool fd_asked;     /* the program may be waiting for the descriptor */
	bool may_sleep;    /* whoever runs it sleeps next if there is nothing to do, in io_wait() */
	bool running;      /* in engine_run() */
	bool again;        /* there is something to do at once, and wake_fd does not say so */
	bool has_news;     /* the program has got something since engine_run() began */
	bool lazy; /* what completes may wait for the timer: see may_be_late() in engine.c */
	uint64_t timer_ns; /* what timer_fd is set to; 0: off */
};

/* Copy runs in flight, in guest order. */
struct run_list {
	struct populate *first, *last;
	unsigned n;
};

enum job_step {
	JOB_IDLE,       /* no job, or it is concluded */
	JOB_COPYING,    /* the cursor walks */
	JOB_COMMITTING, /* all copied: making it durable */
	JOB_PROVING,    /* walking the tables on disk again before the link goes */
	JOB_VERIFYING,  /* reading back what was copied */
	JOB_READY,      /* waits for finalize */
	JOB_DETACHING,  /* the link is being dropped */
	JOB_UNWINDING,  /* aborted or failed: runs drain, what was published is committed */
};

/* What may be touched from any thread, under the mutex. */
struct control {
	pthread_mutex_t mutex;
	struct bpull_job_info info;
	bool running; /* between start and conclusion */
	bool want_pause, want_abort, want_finalize, new_speed;
	uint64_t bandwidth, burst;
};

struct populate;
struct commit;
struct verify;
struct flatten;
struct guest;

/* A disk's guest requests (guest.c). */
struct guests {
	struct guest *first, *last; /* in flight, in order of submission */
	uint64_t next_seq;          /* of the next one */
	uint64_t oldest_seq;        /* of the first in the list; next_seq where there is none */
	atomic_bool copy_on_read;
	struct run_list runs_on_read; /* copies that follow reads */
	/* Words in the header that the first write makes untrue. */
	enum {
		GUESTS_UNPREPARED,
		GUESTS_PREPARING,
		GUESTS_PREPARED,
	} prepare;
	struct op *prepare_waiters;
	/* Layers were hidden from mappings: requests from before hide_seq may still use them. */
	uint64_t hide_seq;
	bool dropping; /* they are about to be closed: no new copies that follow reads */
	/* Space was let go: it may be used again once no request from before drain_seq is in flight
	 * (I5). */
	bool draining;
	uint64_t drain_seq;
};

struct job {
	enum job_step step;
	uint32_t flags; /* enum bpull_job_flags */
	struct limiter limiter;
	bool compress; /* what is copied */
	enum bpull_copy copy;
	uint64_t clone_refused[CHAIN_MAX_DEPTH / 64 +
			       1];  /* a bit for each layer that can't be cloned from */
	unsigned compression_level; /* 0: the type's default */
	bool paused, aborted;
	bool stopped;      /* by an error; paused, until told to go on */
	uint32_t on_error; /* enum bpull_on_error */
	int error;
	enum bpull_remedy remedy; /* of that error */
	char message[1024];
	uint64_t start_ns;
	struct bpull_job_info n; /* the owner's numbers; copied to control.info */

	/* The cursor (cursor.c). */
	struct op cursor;
	/* Guest bytes that the walk has still to look at: the cursor takes them from the front, a run
	 * that does not finish puts its own back. */
	struct range_set todo;
	unsigned
		n_hints; /* requests that nobody waits for: tables loaded ahead (load.c), write-back */
	/* writeback.c: host bytes written through the page cache since the last write-back, and between
	 * which offsets. */
	uint64_t dirty_len, dirty_lo, dirty_hi;
	struct run_list runs;
	uint64_t rest_ns;         /* while a guest is at work: no new run before then */
	unsigned guest_share;     /* percent of the time, while a guest is at work */
	struct populate *mapping; /* the newest run, until it knows its length */
	struct populate *throttled_first, *throttled_last; /* wait for tokens, FIFO */
	uint64_t shared_turn;  /* of the engine's tokens, bytes it has had: who had least is next */
	struct range_set owed; /* guest bytes without evidence that they need no chain (proof.h) */
	unsigned n_rounds;     /* copying walks begun */
	unsigned n_stuck;      /* proofs that found no less owed than the one before */
	unsigned n_ignored;    /* runs that could not read, and were left out (job_stop.h) */
	int ignored_error;     /* the first one's */
	char ignored_message[1024];
	uint64_t owed_len;      /* bytes that the last proof found owed */
	struct verify *verify;  /* verify.c; NULL: not asked for */
	uint64_t commit_target; /* the hard commit that the step waits for; 0: none yet */
	bool finalize;          /* asked for */
	bool link_leaving;      /* the header without it is being written: the point of no return */
	bool says_mixed;        /* the message is of the mark (mixed.c): told with any status */
	bool link_changed;      /* and is durable */
	bool has_retried;       /* unwinding: the commit that found no space had another try */
	uint64_t abandoned_end; /* host byte up to which failed runs may have written */
};

struct bpull_disk {
	struct bpull_engine *engine;
	struct bpull_disk *next;
	struct chain *chain;
	void *user_data;
	uint32_t flags;
	char *warning, *hint;    /* NULL: there is nothing to say */
	struct flatten *flatten; /* flatten.c: the top is a new file; NULL: a pull's disk */
	char *base_name; /* what the overlay is to call its new backing file; NULL: it gets none */

	struct range_locks locks;
	int poisoned; /* -errno: a barrier or a table write failed, nothing is written any more (I7) */
	struct commit *commit;     /* in flight, or NULL */
	struct op *commit_waiters; /* run when it ends */
	uint64_t n_commits_begun;
	uint64_t hard_commit;   /* which one, counted so, was the last hard one that ended well */
	uint64_t published_len; /* bytes since the last commit began */
	uint64_t first_published_ns;
	bool commits_held;   /* commit_hold() */
	bool undurable;      /* something was written since the last barrier */
	bool data_undurable; /* and to the overlay's data file, since that one's last */

	bool may_write; /* begin_writing() was done for the guest */
	/* A job's start looks at the image and mends it, and lets others into the engine meanwhile: nothing
	 * else may look at this disk's tables, or write its header. */
	bool starting;
	unsigned
		n_walking; /* calls that walk its chain, and let others in: no layer is closed meanwhile */
	bool sharing_checked; /* measure_sharing() found nothing */
	bool has_copied;      /* a job, or reads, since it was opened */

	struct guests guests;
	struct job job;
	struct control control;
	/* A job has at most one of each: set aside when it starts, so that no event needs memory when
	 * there is none. NULL once queued. */
	struct queued_event *ready_event, *end_event, *stop_event;
	struct queued_event *taken_events; /* the program may still read their messages */
};

static inline bool engine_has_ready(const struct bpull_engine *engine)
{
	return engine->urgent.first || engine->ready.first;
}

static inline struct layer *disk_overlay(const struct bpull_disk *disk)
{
	return disk->chain->layers[0];
}

/* engine.c */
/* An engine on this backend and file system, which it takes over (the opener stays the caller's).
 * 0 or -errno. */
int engine_open_on(struct io *io, struct file_opener *opener, uint64_t memory,
		   struct bpull_engine **out);
uint64_t engine_now_ns(void);
void engine_wake(struct bpull_engine *engine); /* any thread */
/* The owner's own wish for another engine_run(): without a system call where nobody sleeps. */
void engine_again(struct bpull_engine *engine);
void engine_run(struct bpull_engine *engine); /* all that can be done without waiting */
/* Before a sleep on the backend's descriptor: from now on it tells, unless that can wait. */
void engine_tell(struct bpull_engine *engine);
void engine_wait_io(struct bpull_engine *engine, int timeout_ms);

/* events.c */
/* Sets memory for a new job's events aside. 0 or -ENOMEM. */
int events_prepare(struct bpull_disk *disk);
/* Frees the events that were taken; those still queued stay. */
void events_drop_taken(struct bpull_disk *disk);
/* Queues a job event; the message is copied. */
void events_push(struct bpull_disk *disk, enum bpull_job_status status, int error,
		 const char *message);
/* Sets one aside for the next stop; a want of memory costs that event alone. */
void events_prepare_stopped(struct bpull_disk *disk);
void events_push_stopped(struct bpull_disk *disk, int error, const char *message);
/* Without memory for it, it is not told. */
void events_push_ignored(struct bpull_disk *disk, int error, const char *message);
int events_take(struct bpull_engine *engine, struct bpull_event *out, int max);
/* Frees all of a disk's events, taken or not. */
void events_forget(struct bpull_disk *disk);
/* Fills a public error from an internal one. Returns err->code. */
int error_export(const struct err *err, struct bpull_error *out);
int error_fill(struct bpull_error *out, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* options.c */
/* Takes over a program's options for opening images (NULL: all defaults), complete and checked for
 * this way of opening. The names stay the program's. 0, or -EINVAL with a sentence. */
int options_take(enum open_way way, const struct bpull_disk_options *given,
		 struct bpull_disk_options *out, struct bpull_error *error);
/* What the options allow backing files to be, as chain_open() wants it: the image's own directory,
 * symlinks resolved, and what was named. Free with policy_free(). 0 or -errno. */
int policy_build(const struct bpull_disk_options *options, const char *image,
		 struct path_policy *policy, struct err *err);
void policy_free(struct path_policy *policy);
/* What the options say of opening a chain; the policy stays the caller's. Whether it is written to,
 * and who is told of files, is the caller's to add. */
struct chain_open options_chain(const struct bpull_disk_options *options, const char *image,
				const struct path_policy *policy);
/* chain_open(), with what the options say of single backing files, which is told back as `used`. */
int told_open_chain(struct layer_set *layers, const struct bpull_disk_options *options,
		    struct chain_open *how, struct chain **out, struct err *err);
/* Are they all files with one of our formats? */
bool told_are_known(const struct bpull_disk_options *options);
/* Checks a size-prefixed option struct and copies what the caller's version has of it.
 * False: it is not one of ours. */
bool options_import(void *dst, size_t dst_len, const void *src);
/* May a result be stored in the caller's struct, which begins with its size? Not below what the first
 * version of the struct had. */
bool result_fits(const void *out, size_t first_len);
/* Stores it, and nothing beyond the size that the struct says, which stays. It fits. */
void result_export(void *out, const void *src, size_t src_len);
/* first_len of a struct, by the last field that its first version had. */
#define RESULT_FIRST_LEN(type, last) (offsetof(type, last) + sizeof(((type *)NULL)->last))

/* A raw image by itself, open for the guest. */
static inline bool disk_is_raw(const struct bpull_disk *disk)
{
	return disk_overlay(disk)->ops->format == IMAGE_RAW && !disk->flatten;
}

/* measure.c */
/* Space for compressed clusters is taken in pieces, of which the last is not used up: so many bytes more
 * may be needed than without compression. */
#define COMPRESSION_SPARE_LEN (1 * MiB)
/* Refuses a pull whose image, or data file, is a block device too small for what it may need, and for
 * spare_len bytes more. Blocking, read-only. 0, -ENOSPC with a sentence, or -errno. */
int measure_device(struct bpull_disk *disk, uint64_t spare_len, struct err *err);
/* Refuses a pull whose reading would end at damaged tables of a lower layer, before anything is
 * changed. Damage that only decoding finds is for the job to meet. Blocking, read-only. 0, -EUCLEAN
 * with a sentence, or -errno. */
int measure_damage(struct bpull_disk *disk, struct err *err);
/* Refuses, once a disk, a chain that a few bytes make so long that mapping it takes hours. Blocks. */
int measure_sharing(struct bpull_disk *disk, struct err *err);

/* inspect.c */
/* An extent as the public interface has it. */
struct bpull_extent extent_export(const struct chain *chain, const struct extent *e);
/* Makes *last longer by *next, which follows it, where they are alike. */
bool extent_merge(struct bpull_extent *last, const struct bpull_extent *next);

/* A chain at rest, without an engine. */
struct look {
	struct table_cache *cache;
	struct layer_set *layers;
	struct chain *chain;
};
enum look_at {
	LOOK_AT_HEADERS, /* what can't be read is opened, too; data files are not */
	LOOK_AT_CHAIN,   /* as for reading */
	LOOK_FOR_REPAIR, /* as for writing */
};

/* The options are complete. 0 or -errno with a sentence. */
int look_open(struct look *look, const char *path, const struct bpull_disk_options *options,
	      enum look_at at, struct err *err);
void look_close(struct look *look);

/* cursor.c */
/* Begins a walk over what is owed: JOB_COPYING copies, JOB_PROVING only looks. */
void cursor_start(struct bpull_disk *disk);
/* A job that was stopped goes on: so does a cursor that failed. */
void cursor_go_on(struct bpull_disk *disk);
/* The walk is to look at [lo, hi) again. */
void cursor_put_back(struct bpull_disk *disk, uint64_t lo, uint64_t hi);
/* Looks again, if it may go on: a run ended, the job changed. */
void cursor_kick(struct bpull_disk *disk);
/* A run that began at start_ns is over: while a guest is at work the next one waits a while. */
void cursor_rest(struct bpull_disk *disk, uint64_t start_ns);
/* Ends the rest, if its time has come. */
void cursor_wake_rested(struct bpull_disk *disk, uint64_t now_ns);
/* Guest byte below which everything is done. */
uint64_t cursor_position(const struct bpull_disk *disk);
/* writeback.c: so much of the overlay's data was written by the job. May begin to write it back. */
void writeback_note(struct bpull_disk *disk, uint64_t host_off, uint64_t len);
/* What a run, or a piece of a cluster, may be under the rates that are set. Bytes, up to RUN_MAX_LEN. */
uint64_t cursor_piece_len(const struct bpull_disk *disk);
/* Is a guest at work, or was it a moment ago? */
bool engine_guest_is_active(const struct bpull_engine *engine);
/* Is a guest at work, and the job to let it go first? */
bool cursor_gives_way(const struct bpull_disk *disk);
/* Has it walked to the end, and has every run ended? */
bool cursor_is_done(const struct bpull_disk *disk);

/* create.c */
/* Makes an empty file an image of this format. 0 or -errno. */
int create_image_in(struct file *file, const struct bpull_create_options *o, uint64_t guest_len,
		    struct err *err);

/* disk.c */
/* Tells the backend of a file that was opened for the disk. */
void disk_file_opened(struct bpull_disk *disk, struct file *file);
/* The header on disk names the new base, or none: so does the chain from now on. Closes what the overlay does
 * not read any more. */
void disk_link_changed(struct bpull_disk *disk);

/* Does the overlay keep its data in a file of its own? */
static inline bool disk_has_data_file(const struct bpull_disk *disk)
{
	return disk_overlay(disk)->data != disk_overlay(disk)->file;
}

/* Data was written to the overlay: not durable before the next barrier. */
static inline void disk_wrote_data(struct bpull_disk *disk)
{
	if (disk_has_data_file(disk))
		disk->data_undurable = true;
	else
		disk->undurable = true;
}
/* How many of the len bytes at host_off are to be written. A data file need not be longer than the
 * guest's disk (a device can't be), but where it is, the rest of the last cluster is cleared. */
uint64_t disk_write_len(const struct bpull_disk *disk, uint64_t host_off, uint64_t len);

/* guest.c: the disk's requests as the others see them. */
int guest_take_events(struct bpull_engine *engine, struct bpull_event *out, int max);
void guest_forget_events(struct bpull_disk *disk);
/* Neither a request nor a copy that follows one is in flight. */
bool guest_is_idle(const struct bpull_disk *disk);
/* Layers were hidden: requests from now on don't use them. */
void guest_note_hidden(struct bpull_disk *disk);
/* They are to be closed: until guest_end_drop() no copy that follows a read begins. Idempotent. */
void guest_begin_drop(struct bpull_disk *disk);
/* Has every request ended that may use them? */
bool guest_may_drop(const struct bpull_disk *disk);
void guest_end_drop(struct bpull_disk *disk);
/* Space was let go that requests in flight may still read. */
void guest_begin_drain(struct bpull_disk *disk);
/* After every round: commits that are due, space that nobody needs any more. */
void guest_run(struct bpull_disk *disk, uint64_t now_ns);
/* When guest_run() has something to do by itself; UINT64_MAX for never. */
uint64_t guest_deadline_ns(const struct bpull_disk *disk);

/* op_populate.c */
/* What of [guest_off, guest_off + max_len), unallocated in the overlay, one clone can serve: e->len bytes
 * from e->host_off of layer e->depth; 0: none, it is to be copied. 0, TABLE_NEED or -errno. */
int populate_find_clone(struct bpull_disk *disk, uint64_t guest_off, uint64_t max_len,
			struct extent *e, struct table_need *need);
/* Begins to clone it. -ENOMEM. */
int populate_start_clone(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* Gives a run of clusters entries that read zeros; at most PUBLISH_MAX_GRANULES. -ENOMEM. */
int populate_start_zero(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* Begins copying a run from guest_off on; at most len bytes, overlay cluster aligned. Takes over
 * the buffer. -ENOMEM. */
int populate_start(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, void *buf);
/* Lets runs go that the limits allow by now; returns when the next may, UINT64_MAX for none. */
uint64_t populate_unthrottle(struct bpull_disk *disk, uint64_t now_ns);
/* Cancels the runs that wait for tokens: they have done nothing yet. */
void populate_cancel_throttled(struct bpull_disk *disk);
/* Begins copying what the guest has read of [guest_off, end), as far as buffers are free. */
void populate_start_on_read(struct bpull_disk *disk, uint64_t guest_off, uint64_t end);
/* Runs that wait for tokens with their clusters locked go on at once, where a guest or a pause waits for
 * those. */
void populate_hurry(struct bpull_disk *disk);
/* Guest offset of a run in flight. */
uint64_t populate_guest_off(const struct populate *run);

/* job_message.c */
struct shown {
	char name[512];
};
/* A file's name as it may be printed. */
const char *file_show(const struct file *file, struct shown *shown);

/* job.c */
/* Starts the job (the disk is prepared), or concludes it where there is nothing to pull. */
void job_begin(struct bpull_disk *disk, const struct bpull_job_options *options);
void job_run(struct bpull_disk *disk, uint64_t now_ns);
/* Everything that replaces the link is durable. May it go, now? Asked at the point of no return: the job
 * neither failed, nor was aborted or stopped, and the backing files are what they were. */
bool job_may_drop_link(struct bpull_disk *disk);
/* A job has ended, or did not begin: the next one has a target of its own. */
void job_forget_target(struct bpull_disk *disk);
/* When job_run() has something to do by itself; UINT64_MAX for never. */
uint64_t job_deadline_ns(struct bpull_disk *disk, uint64_t now_ns);
void job_fail(struct bpull_disk *disk, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same, from an operation in error: names the file, the offset and the direction. */
void job_fail_op(struct bpull_disk *disk, const struct op *op);
/* What failed, in a sentence of at most cap bytes that ends with what_now. */
void job_describe_failure(const struct bpull_disk *disk, const struct op *op, const char *what_now,
			  char *out, size_t cap);
/* For a job that ends with tables for which there was no space, in memory: replaces what it said. */
void job_say_uncommitted(struct bpull_disk *disk);
/* job_api.c. To which layer a job with these options pulls (all: n_layers), and what the image will call it
 * (malloc'd; NULL: nothing). 0, or -errno with a sentence. Blocking. */
int job_find_base(const struct chain *chain, const struct bpull_job_options *options,
		  unsigned *pull_to, char **base_name, struct err *err);
void job_init_control(struct bpull_disk *disk);
void job_free_control(struct bpull_disk *disk);

#endif
