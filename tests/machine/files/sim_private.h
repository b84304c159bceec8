/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The inside of the simulator, shared by its parts: sim.c (machine, faults, clock), sim_file.c
 * (files), sim_opener.c (opener, blocking calls), sim_dir.c (directories), sim_io.c (the backend),
 * sim_due.c (when a request ends), sim_later.c (what others end beside it), sim_past.c (reads past
 * the page cache) and sim_cut.c (what a power cut leaves).
 */
#ifndef BLOCKPULL_SIM_PRIVATE_H
#define BLOCKPULL_SIM_PRIVATE_H

#include "io/base.h"
#include "io/file/lock.h"
#include "io/file/opener.h"
#include "tests/machine/files/sim.h"
#include "tests/machine/files/sim_store.h"

/* A write or truncation that is not known to be durable. */
struct sim_write {
	struct sim_write *next;
	bool is_truncate; /* to off */
	bool is_punch;    /* [off, off + len) is a hole; it has no bytes */
	bool doomed;      /* it failed, or a sync that covered it did: no later sync counts */
	bool durable;     /* survives every cut; kept only because an older doomed one is */
	uint64_t seq;     /* order of submission */
	uint64_t done;    /* order of completion; 0: in flight */
	uint64_t off, len;
	uint64_t moved; /* bytes of it that readers see: attempts that were short */
	uint8_t bytes[];
};

/* A name that a file had: NULL where it had none yet, or none any more. */
struct sim_old_name {
	struct sim_old_name *next;
	char *name;
	bool doomed; /* the sync that should have made that change durable failed */
};

struct sim_file {
	struct sim_file *next;
	char *name; /* absolute, plain */
	uint64_t ino;
	bool is_removed;
	/* What a power cut may call it instead, the durable name first. */
	struct sim_old_name *old_names;
	unsigned n_open[FILE_LOCK_OVERLAY + 1]; /* handles, by lock */
	uint64_t limit;                         /* 0: none */
	uint64_t lie_off;                       /* all from here on is called a hole */
	bool refuses_clones;
	int64_t mtime_ns;
	struct sim_store live;                 /* what readers see */
	struct sim_store durable;              /* what is sure to survive */
	struct sim_write *log, **log_end;      /* completed, in that order */
	struct sim_write *flying, *flying_end; /* submitted, in that order */
};

struct sim_handle {
	struct file file; /* first */
	struct sim *sim;
	struct sim_file *data;
	enum file_lock lock;
	bool is_turned; /* and that was not told yet */
};

struct sim_flight {
	struct io_req *req;
	uint64_t due_ns;
	uint64_t stamp;   /* of a sync: writes with a lower `done` are covered */
	bool started;     /* counted, and past the fault check */
	int stuck;        /* -errno of each attempt; 0: none */
	bool arrives;     /* what it writes is there, whatever it returns */
	uint64_t max_len; /* of the next attempt, bytes; 0: any */
	struct sim_write *write;
};

struct sim_later {
	uint64_t due_ns;
	void (*run)(void *arg);
	void *arg;
};

struct sim {
	struct io io; /* first */
	struct file_opener opener;
	bool io_open;
	int wake_fd;
	struct sim_knobs knobs;
	uint64_t rng;
	uint64_t now_ns;
	/* When the pipe to what is far away has carried all that was asked for. */
	uint64_t far_free_ns;
	uint64_t far_bytes;
	uint64_t n_past_cache;
	/* What the device (sim_knobs.device_rate) has to write, when it begins, and until when it
	 * writes. */
	uint64_t dirty_len, write_back_ns, busy_ns;
	uint64_t event; /* numbers submissions and completions */
	uint64_t trace;
	struct sim_file *files;
	uint64_t n_files;

	uint64_t n_ops[SIM_N_OPS];
	uint64_t n_all_ops;
	uint64_t stop_at;                        /* 0: never */
	void (*look)(void *arg, enum sim_op op); /* or NULL */
	void *look_arg;
	struct sim_fault faults[SIM_MAX_FAULTS];
	unsigned n_faults;
	uint64_t n_faults_hit;
	const struct sim_fault *hit; /* by the operation begun last, or NULL */

	struct sim_flight *flights; /* kicked and not reaped */
	size_t n_flights, flights_cap;
	struct sim_flight *waiting; /* submitted and not kicked */
	size_t n_waiting, waiting_cap;
	struct sim_later *later;
	size_t n_later, later_cap;
};

/* Of reads past the page cache. */
#define SIM_PAST_ALIGN 4096

/* sim_past.c: 0 or -errno of an attempt. */
int sim_past_begin(struct sim *sim, const struct io_req *req);

/* sim.c */
void *sim_need(void *p); /* aborts on NULL */
uint64_t sim_rand(struct sim *sim);
uint64_t sim_below(struct sim *sim, uint64_t n); /* 0 to n - 1 */
bool sim_chance(struct sim *sim, unsigned permille);
uint64_t sim_mix(uint64_t a, uint64_t b);
/* Time passes in this machine. */
void sim_pass(struct sim *sim, uint64_t ns);
/* Years after any boot, so that no timer of the kernel's, set by it, ever rings. */
#define SIM_CLOCK_BEGIN_NS (UINT64_C(1) << 60)
/* Counts an operation; 0, an injected -errno, or SIM_STOPPED. */
int sim_op_begin(struct sim *sim, enum sim_op op, const struct sim_file *file);
void sim_op_trace(struct sim *sim, enum sim_op op, uint64_t off, uint64_t len, int64_t result);

/* sim_file.c */
struct sim_file *sim_file_find(const struct sim *sim, const char *name);
struct sim_file *sim_file_add(struct sim *sim, const char *name);
void sim_file_free(struct sim_file *file);
void sim_opener_init(struct sim *sim);
/* An open file, as create() makes it. */
struct file *sim_handle_create(struct sim *sim, const char *name);
/* A write, truncation or punch as it is at its end. */
void sim_log_apply(struct sim_store *store, const struct sim_write *write);
/* The log: a write flies, lands (failed: doomed), and a sync decides about what had landed. */
struct sim_write *sim_log_fly(struct sim *sim, struct sim_file *file, uint64_t len, uint64_t off);
void sim_log_land(struct sim *sim, struct sim_file *file, struct sim_write *write, bool failed);
void sim_log_sync(struct sim_file *file, uint64_t stamp, bool failed);
/* A failed write leaves old and new sectors side by side. */
void sim_tear(struct sim_store *store, const struct sim_write *write, uint64_t *rng);

/* sim_dir.c */
int sim_dir_open(struct file_opener *opener, const char *path, struct dir **out, struct err *err);
/* The file has been given another name, or lost it (NULL), by a change that its directory's next
 * sync makes durable. */
void sim_name_change(struct sim_file *file, const char *name);
void sim_names_clear(struct sim_file *file);
/* What a power cut leaves of its names: one of those since the last sync. NULL: none. */
const char *sim_name_left(struct sim *to, const struct sim_file *file, const struct sim_cut *how);
/* A power cut may leave it under some name. */
bool sim_name_may_stay(const struct sim_file *file);

/* sim_later.c */
/* When the next of them is due: UINT64_MAX where there is none. */
uint64_t sim_later_next_ns(const struct sim *sim);
/* Some of what is due. */
void sim_later_run(struct sim *sim);

/* sim_due.c */
struct sim_file *sim_req_data(const struct io_req *req);
enum sim_op sim_req_op(const struct io_req *req);
/* A request that was submitted now ends then; and what is left of one that moved a part. */
uint64_t sim_due(struct sim *sim, const struct io_req *req);
uint64_t sim_due_soon(struct sim *sim, const struct io_req *req);

/* sim_short.c */
/* A page takes such a write at once, or not at all, as a sector does when the power goes. */
bool sim_is_one_sector(const struct io_req *req);
/* How much of the rest the next attempt moves, bytes. */
uint64_t sim_next_len(struct sim *sim, struct sim_flight *flight);

/* sim_io.c */
void sim_io_init(struct sim *sim);

#endif
