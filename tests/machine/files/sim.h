/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A machine that never was: files in memory, an I/O backend that completes in
 * an order drawn from a seed, with short transfers, injected errors and power
 * cuts. The same seed and the same calls give the same trace, so every failure
 * can be replayed.
 *
 * What survives a power cut (docs/architecture.md): a sync that succeeded makes
 * durable every write that had completed (was reaped) when the sync was
 * submitted. Any other write may be absent, present, or torn between sectors of
 * 512 bytes. Writes that a failed sync should have covered stay uncertain for
 * ever, as they do on Linux, and so does a failed write. What is done to names
 * through struct dir (created, renamed, removed) is durable when the directory is
 * synced; before, a file may be found under any name that it had since, or none.
 * All other names are durable at once.
 *
 * A request that was submitted but never kicked never happens; io_fd() is
 * readable as long as something is in flight, and io_reap() may return nothing.
 */
#ifndef BLOCKPULL_SIM_H
#define BLOCKPULL_SIM_H

#include "io/file.h"
#include "io/io.h"

struct sim;

struct sim *sim_new(uint64_t seed);
/* The backend must be closed and all files too. NULL is allowed. */
void sim_free(struct sim *sim);

/* The backend; the caller ends it with io_close() and may then ask for it again. */
struct io *sim_io(struct sim *sim);
/* Names are looked up in the simulator alone; a relative one as if in "/". */
struct file_opener *sim_opener(struct sim *sim);

/* How the machine behaves; change it at any time. */
struct sim_knobs {
	unsigned short_permille;  /* attempts that move only a part */
	unsigned retry_permille;  /* attempts that answer EINTR or EAGAIN first */
	unsigned unsure_permille; /* looks at a file that answer FILE_UNSURE */
	uint64_t max_delay_ns;    /* of a completion, on the virtual clock */
	/* Requests of these kinds (a bit 1 << SIM_READ and so on), of this file (NULL: of any), are
	 * held back by chance: for so long, or (0) most likely until all the others are over. */
	unsigned hold_ops, hold_permille;
	uint64_t hold_ns;
	const char *hold_name; /* the caller's */
	/* Instead: of files whose names begin so; or NULL. The caller's. */
	const char *hold_prefix;
	/* A source far away: each request to read a file that is not open for writing takes so
	 * long, and its bytes come through one pipe of this width, bytes/s. 0: at once. */
	uint64_t far_latency_ns, far_rate;
	/* A device below all files, bytes/s; 0: none. What is written lies in memory at first, and
	 * goes there all together each so many ns; a read meanwhile waits up to so long. */
	uint64_t device_rate, write_back_ns, stall_ns;
	uint32_t io_align; /* > 1: the alignment of direct I/O */
	/* Files that are only read can be read past the page cache. Of these reads so many are
	 * refused: for good (EINVAL), or once (EIO). */
	bool past_cache;
	unsigned past_refused_permille, past_fails_permille;
	bool may_clone, clones; /* files may be able to share blocks, and are */
	bool no_holes;          /* files do not tell where their holes are */
	/* The file system is none of those known to tell the truth about holes. */
	bool holes_unknown;
	bool no_discard; /* nor have a way to give space back */
	unsigned discard_fails_permille;
};
struct sim_knobs *sim_knobs(struct sim *sim);

/* Files. Contents given here are durable. */
void sim_file_put(struct sim *sim, const char *name, const void *bytes, uint64_t len);
/* Puts an empty file of this length, all hole. */
void sim_file_put_hole(struct sim *sim, const char *name, uint64_t len);
/* Writes into a file without the log: durable at once. For building images. */
void sim_file_poke(struct sim *sim, const char *name, const void *bytes, size_t len, uint64_t off);
/* Writes past this length fail with -ENOSPC; 0: no bound. */
void sim_file_limit(struct sim *sim, const char *name, uint64_t max_len);
/* Its file system calls everything from this byte on a hole, whatever is there; UINT64_MAX: no
 * more. */
void sim_file_lie(struct sim *sim, const char *name, uint64_t lie_off);
/* No blocks of it can be shared, whatever sim_knobs.clones says: it lies on another file system. */
void sim_file_refuse_clones(struct sim *sim, const char *name);
int sim_file_from_host(struct sim *sim, const char *name, const char *path);
int sim_file_to_host(struct sim *sim, const char *name, const char *path); /* holes kept */
/* What other programs do to a file while it is open: bytes are written, the file ends at len, its
 * name is gone (a handle that is open reads it still). Durable at once; its time moves on. */
void sim_file_overwrite(struct sim *sim, const char *name, const void *bytes, size_t len,
			uint64_t off);
void sim_file_cut(struct sim *sim, const char *name, uint64_t len);
void sim_file_remove(struct sim *sim, const char *name);
/* What was there under the new name is gone. */
void sim_file_rename(struct sim *sim, const char *from, const char *to);
/* It was opened and is not closed. */
bool sim_file_is_open(const struct sim *sim, const char *name);
/* A write to some of these bytes is on its way. */
bool sim_file_is_written(const struct sim *sim, const char *name, uint64_t off, uint64_t len);
bool sim_file_exists(const struct sim *sim, const char *name);
/* As a reader sees it now. */
uint64_t sim_file_len(const struct sim *sim, const char *name);
void sim_file_peek(const struct sim *sim, const char *name, void *buf, size_t len, uint64_t off);

/* What is counted and can fail; blocking calls count as well. */
enum sim_op {
	SIM_READ,
	SIM_WRITE,
	SIM_SYNC,
	SIM_TRUNCATE,
	SIM_WRITEBACK,
	SIM_WORK,
	SIM_OPEN,    /* and create */
	SIM_DISCARD, /* one that fails leaves the range as it is: it was a hint */
	/* Of directories; one that fails changes nothing. */
	SIM_DIR_OPEN,
	SIM_CREATE,
	SIM_RENAME,
	SIM_REMOVE,
	SIM_DIR_SYNC,
	SIM_N_OPS,
};

struct sim_fault {
	enum sim_op op;
	uint64_t nth;  /* 1: the next one from now */
	int error;     /* -errno; for SIM_WORK the work is not run */
	bool forever;  /* that one and all after it, else once */
	bool persists; /* a request met fails so at each attempt, not only at its first */
	/* The bytes of a write met are there all the same: a server that fails behind them. */
	bool arrives;
	/* Not 0, with error 0: no failure, but a request's first attempt moves so much at most,
	 * bytes. */
	uint64_t max_len;
	const char *name; /* only on this file; NULL: on any. Stays the caller's, until sim_free */
};
#define SIM_MAX_FAULTS 8
void sim_fail(struct sim *sim, const struct sim_fault *fault);
void sim_clear_faults(struct sim *sim);
uint64_t sim_n_faults_hit(const struct sim *sim);

uint64_t sim_n_ops(const struct sim *sim, enum sim_op op);
/* Requests that were submitted and are not counted yet: they are when they begin. */
uint64_t sim_n_begun_later(const struct sim *sim, enum sim_op op);
uint64_t sim_n_all_ops(const struct sim *sim);

/* Called before each operation that is counted, which has not happened yet: looks at cuts, and
 * changes nothing. NULL: no more. */
void sim_watch(struct sim *sim, void (*look)(void *arg, enum sim_op op), void *arg);

/* From the k-th operation on (1: the first ever) nothing reaches the files and everything fails
 * with this code, which nothing else gives: the machine is off, unwind and look at sim_cut(). */
#define SIM_STOPPED (-ESHUTDOWN)
void sim_stop_at(struct sim *sim, uint64_t k);
bool sim_is_stopped(const struct sim *sim);

/* The virtual clock. It moves on with every operation. */
uint64_t sim_now_ns(const struct sim *sim);
void sim_advance(struct sim *sim, uint64_t ns);
/* The sum of the time that has passed in all of this process's machines, for a clock of the
 * engine's. */
uint64_t sim_clock_ns(void);
/* It begins again: while no engine is open. */
void sim_clock_reset(void);

/* What others do by the machine's clock: run(arg) is called once, from inside io_reap(), when it is
 * due_ns or later. Until then io_fd() is readable. */
void sim_later(struct sim *sim, uint64_t due_ns, void (*run)(void *arg), void *arg);
/* Takes back one with this arg; false: there is none. */
bool sim_later_drop(struct sim *sim, const void *arg);

/* Attempts to read past the page cache that brought something. */
uint64_t sim_n_past_cache(const struct sim *sim);
/* Bytes that came from far away (sim_knobs.far_rate). */
uint64_t sim_far_bytes(const struct sim *sim);

/* A hash over every operation and result so far. */
uint64_t sim_trace(const struct sim *sim);

enum sim_cut_mode {
	SIM_CUT_ALL_LOST, /* only what was durable */
	SIM_CUT_ALL_KEPT,
	SIM_CUT_RANDOM,     /* each absent, present or torn, by seed */
	SIM_CUT_ONLY_FIRST, /* of the writes still uncertain, in order of completion, those in */
	SIM_CUT_ONLY_LAST,  /* flight last */
	SIM_CUT_PREFIX,     /* the first n */
	SIM_CUT_ONLY,       /* number n alone, from 0 */
	SIM_CUT_ALL_BUT,    /* all but number n */
	SIM_CUT_MASK,       /* number i where bit i of mask is set; those past 63 are lost */
	SIM_CUT_NONE,       /* no cut: what readers see now, as when only a process died */
	SIM_CUT_CHOSEN,     /* those for which keep() says so: data lost, tables kept */
};

struct sim_cut {
	enum sim_cut_mode mode;
	uint64_t seed; /* of RANDOM and of tearing */
	/* Which name a file has of those that are uncertain: the one before all, the last, or any
	 * by seed. AS_MODE: the first for ALL_LOST, any for RANDOM, the last for all others. */
	enum {
		SIM_NAMES_AS_MODE,
		SIM_NAMES_OLD,
		SIM_NAMES_NEW,
		SIM_NAMES_RANDOM,
	} names;
	/* The last write kept is torn at random; not in RANDOM, which tears anyway. */
	bool tear_last;
	size_t n;
	uint64_t mask;
	/* len 0: a truncation to off. */
	bool (*keep)(void *arg, const char *name, uint64_t off, uint64_t len);
	void *arg;
};

/* Writes a power cut now could lose, those in flight included. */
size_t sim_n_uncertain(const struct sim *sim);
/* A new machine (own seed: how->seed) holding what survived. The old one runs on. */
struct sim *sim_cut(const struct sim *sim, const struct sim_cut *how);

#endif
