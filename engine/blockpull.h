/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libblockpull: stream a disk image's backing chain into the image.
 *
 * An engine owns a ring, its worker threads and a memory budget; any number of
 * disks (an overlay and its backing chain) share it. A disk runs at most one
 * job. There is no global state, no signal handler and no output: every result
 * is a return value or an event.
 *
 * THREADS. An engine belongs to one thread, which makes all calls on it and on
 * its disks; another may take it over when the first makes no more calls, and does
 * not exit while anything is in flight. The exceptions may be called from any thread
 * while the engine, or the disk, is open: bpull_engine_set_speed(),
 * bpull_job_get_info(), bpull_job_set_speed(), bpull_job_set_rates(),
 * bpull_job_pause(), bpull_job_resume(), bpull_job_abort(), bpull_job_finalize() and
 * bpull_disk_set_copy_on_read(). An engine opened with BPULL_ENGINE_THREAD has
 * a thread of its own instead, and every function may be called from any
 * thread but that a disk or engine is closed once, by the last to use it.
 *
 * FORK. An engine, its disks and a struct bpull_info belong to the process that
 * opened them. A child of fork() may exec, exit, or call bpull_disk_close(),
 * bpull_engine_close(), bpull_info_close() and bpull_virt_close(), which close
 * the child's descriptors and do nothing that the parent could see: no request
 * ends, nothing is written, no lock is given back, and memory stays until the
 * child ends. It calls nothing else (bpull_engine_process(), _poll() and _wait()
 * are -EINVAL there). What the parent closes is unlocked at once, whatever children
 * have inherited. All descriptors are closed by exec.
 *
 * RUNNING IT, in one of three ways. From the program's own loop: poll
 * bpull_engine_fd() for reading and call bpull_engine_process(), which never
 * waits for I/O (with EPOLLET: until it returns less than there is room for;
 * bpull_engine_poll() spares a program that looks often some system calls). With
 * bpull_engine_wait(), which does. Or by the engine's
 * thread, with the blocking calls (bpull_pread(), ...) beside the others.
 *
 * BLOCKING. These wait for files, for a second for a lock that another process holds, and walk
 * tables (seconds, where those map terabytes): bpull_disk_open(), bpull_flatten_open(),
 * bpull_disk_close(), bpull_disk_inactivate(), bpull_disk_activate() (bpull_disk_try_activate()
 * waits for no lock), bpull_disk_find(), bpull_disk_map(), bpull_disk_snapshot(),
 * bpull_job_check(), bpull_job_start(), bpull_engine_close(), and the calls under "Images at
 * rest". Where the engine has a thread of its own they hold up their caller, and calls that open,
 * start, map or close the same disk; guests and jobs of all other disks go on. Without one the
 * owner waits, and with it the engine. bpull_job_start() and bpull_job_check() of a disk whose
 * job runs answer -EBUSY at once. What a job waits for at its end (files that are closed, a new
 * file's name) workers wait for, and no call but bpull_job_wait() and bpull_disk_close() of that
 * disk.
 *
 * ERRORS are 0 or a negative errno value, and where there is a struct bpull_error parameter (NULL
 * is allowed) a sentence that names the file, the offset and what to do; after success its code is
 * 0 and its message empty. A pointer that is NULL where none is allowed is -EINVAL, and where a
 * function returns no error, NULL or 0; a guest request without a disk is no request. What a failed
 * call was to fill stays as it was. Told apart: -EUCLEAN damaged image, -ENOTSUP a feature not
 * supported (named), -EBUSY locked or in use, -EPERM refused by policy, -ESTALE a backing file was
 * changed while a job read it, -ENOSPC and -EDQUOT no space, -EBADMSG what was written reads back
 * otherwise, -ENOENT, -EACCES, -EROFS, -EINVAL. Texts may change; do not parse them.
 *
 * OPTION STRUCTS begin with their own size, only ever grow at the end, and may
 * be all zero behind it: zero is the default of every field. Unknown flag bits
 * are refused with -EINVAL.
 *
 * RESULT STRUCTS that the caller provides begin with their size as well, which
 * the caller sets and the library never changes. They grow at the end: a program
 * older than the library gets what its struct has room for, one that is newer gets
 * zeros in what the library does not know. Nothing is written beyond the size.
 * -EINVAL: it is smaller than the struct's first version, or larger than 4096.
 * Fixed for good, without a size, are struct bpull_error, and what comes in arrays
 * (struct bpull_event, struct bpull_extent): what could be added to those is the
 * bytes called reserved, which are zero.
 *
 * Rates are bytes per second everywhere, 0 meaning unlimited; sizes and offsets
 * are bytes. Job types and statuses have libvirt's numbers.
 */
#ifndef BLOCKPULL_H
#define BLOCKPULL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BPULL_API __attribute__((visibility("default")))
#else
#define BPULL_API
#endif

#define BPULL_VERSION_MAJOR 0
#define BPULL_VERSION_MINOR 1
#define BPULL_VERSION_PATCH 0

/* "0.1.0", of the library that runs. Static. */
BPULL_API const char *bpull_version(void);

/* What would let a refused call pass, if the user knows better: for programs that have a switch for
 * it. More may come. */
enum bpull_remedy {
	BPULL_REMEDY_NONE = 0,
	BPULL_REMEDY_ALLOW_BACKING = 1, /* remedy_name in allowed_dirs, or BPULL_BACKING_ANY */
	BPULL_REMEDY_FORCE_SHARE = 2,   /* BPULL_DISK_FORCE_SHARE, only to look at it */
	BPULL_REMEDY_READ_HOLES = 3,    /* BPULL_DISK_READ_HOLES */
	BPULL_REMEDY_ACCEPT_MIXED = 4,  /* BPULL_JOB_ACCEPT_MIXED */
	BPULL_REMEDY_REPAIR = 5,        /* bpull_check() with BPULL_REPAIR_ALL, of a copy */
	BPULL_REMEDY_CUT_TAIL = 6,      /* the file cut off at bpull_check()'s image_end_offset */
	BPULL_REMEDY_BACKING_FORMAT =
		7, /* backing_format in bpull_disk_options, or backing_formats with
					    remedy_name, where that is not empty */
	BPULL_REMEDY_COMPRESSION = 8, /* compression of the type that remedy_name has */
	BPULL_REMEDY_LIST_CHAIN = 9,  /* bpull_info_open() lists the files there are */
	BPULL_REMEDY_TRUST_BACKING =
		10, /* backing_formats with remedy_name, which is FILE=FORMAT as the file
					    looks, or with raw; or BPULL_TRUST_ALL */
};

struct bpull_error {
	int code;           /* 0 or a negative errno value */
	char message[1024]; /* one sentence, safe to print: names are escaped */
	enum bpull_remedy remedy;
	char remedy_name[256]; /* ALLOW_BACKING: a directory, file or device; COMPRESSION:
				  "zlib" or "zstd"; safe to print */
};

enum bpull_format {
	BPULL_FORMAT_UNKNOWN = 0,
	BPULL_FORMAT_RAW = 1,
	BPULL_FORMAT_QCOW2 = 2,
	BPULL_FORMAT_QED = 3,
};

/* "raw", "qcow2", "qed"; "unknown" for the rest. Static. */
BPULL_API const char *bpull_format_name(enum bpull_format format);
/* The reverse; BPULL_FORMAT_UNKNOWN for a name that is none. */
BPULL_API enum bpull_format bpull_format_by_name(const char *name);

/* ---- Engine ---------------------------------------------------------------- */

struct bpull_engine;
struct bpull_disk;

enum bpull_io {
	BPULL_IO_AUTO = 0, /* io_uring where the kernel allows it, else threads */
	BPULL_IO_URING = 1,
	BPULL_IO_THREADS = 2,
};

enum bpull_engine_flags {
	BPULL_ENGINE_THREAD = 1 << 0, /* the engine runs by itself, in a thread that blocks all
					 signals but SIGBUS and SIGSEGV, its own faults (a buffer
					 that went away); so do all threads of the library.
					 process() and wait() only hand out events */
};

struct bpull_engine_options {
	size_t size; /* sizeof(struct bpull_engine_options) */
	enum bpull_io io;
	uint64_t memory; /* budget for buffers and cached tables, bytes; 0: 48 MiB; at least 8 MiB.
			   Jobs that read the same images keep up to a third of it more,
			   and a 256th for each */
	/* Shared by all jobs, bytes/s; 0: unlimited. Each job takes from it what it copies, also
	 * what it had of another job: N overlays of one base take N times what is read of that. */
	uint64_t bandwidth;
	uint64_t burst; /* bytes that may follow an idle time at once; 0: bandwidth / 10 */
	uint32_t flags; /* enum bpull_engine_flags */
	/* Shared by all jobs: reads and writes of data a second; 0: unlimited. As
	 * bpull_job_options.iops counts them. */
	uint64_t iops;
	/* A budget of bytes that the program shares with others, beside the limits above: takes so
	 * many from it (1 MiB at most), and returns in how many ns they may be used; 0: at once.
	 * It is called for what a run will copy, as bandwidth counts it, on the thread that runs
	 * the engine, and the next time when those may be used. Must neither wait nor call us.
	 * NULL: there is none. */
	uint64_t (*budget)(void *budget_opaque, uint64_t bytes);
	void *budget_opaque; /* -EINVAL without budget */
};

/* Opens an engine (NULL options: all defaults). Free with bpull_engine_close(). Errors: -ENOTSUP
 * io_uring was asked for by name and is refused here, or its threads are; -EAGAIN the limit on
 * processes (RLIMIT_NPROC, pids.max) leaves no room for one thread, -ENOMEM, -EINVAL. */
BPULL_API int bpull_engine_open(const struct bpull_engine_options *options,
				struct bpull_engine **engine, struct bpull_error *error);
/* Closes it and every disk left open (as bpull_disk_close() does). NULL is allowed. */
BPULL_API void bpull_engine_close(struct bpull_engine *engine);
/* "uring" or "threads": the backend in use. Static. */
BPULL_API const char *bpull_engine_io_name(const struct bpull_engine *engine);
/* Changes the shared limit: the engine takes it up in its next round. Any thread, while the engine
 * is open. */
BPULL_API void bpull_engine_set_speed(struct bpull_engine *engine, uint64_t bandwidth,
				      uint64_t burst);

/* More types may come: skip those you do not know. */
enum bpull_event_type {
	BPULL_EVENT_JOB = 1, /* `status` changed */
	/* An error stopped the job (bpull_on_error): `error`, `message`, and
	 * bpull_job_get_info() says where; it is paused. */
	BPULL_EVENT_JOB_STOPPED = 2,
	BPULL_EVENT_IO = 3, /* a guest request is over */
	/* A range could not be read and was left out (BPULL_ON_ERROR_IGNORE): `error`,
	 * `message`. At most 256 a job: the later ones are counted by its end only. */
	BPULL_EVENT_JOB_IGNORED = 4,
	/* The job goes on by itself: what it reads from is back (bpull_source_read_done()). */
	BPULL_EVENT_JOB_RESUMED = 5,
};

/* Numbers of libvirt's virConnectDomainEventBlockJobStatus. */
enum bpull_job_status {
	BPULL_JOB_COMPLETED = 0, /* the link is gone and that is durable */
	BPULL_JOB_FAILED = 1,    /* the link is kept; what was copied is kept */
	BPULL_JOB_CANCELED = 2,  /* aborted; the link is kept; what was copied is kept */
	BPULL_JOB_READY = 3,     /* all copied; waits for bpull_job_finalize() */
};

struct bpull_event {
	enum bpull_event_type type;
	struct bpull_disk *disk;
	void *user_data; /* bpull_disk_options.user_data; IO: the request's */
	enum bpull_job_status status;
	int error; /* 0 or -errno: why it FAILED or stopped; the request's result */
	/* The sentence, or "" (a job that did not fail has one only of the mark,
	 * BPULL_JOB_ACCEPT_MIXED); valid from when the event is taken until the disk's next job
	 * starts or it is closed; IO: always "". */
	const char *message;
	int count;                /* bpull_block_status(): extents filled; else 0 */
	enum bpull_remedy remedy; /* JOB: of `error` */
	uint32_t reserved[4];     /* zero */
};

/* A descriptor that becomes readable when bpull_engine_process() has work. It stays the engine's:
 * poll it, never read it. Spurious wake-ups are legal. */
BPULL_API int bpull_engine_fd(const struct bpull_engine *engine);
/* Runs what can run now, without waiting for I/O, and stores up to max events.
 * Returns how many, or -EINVAL. More may be left: then the fd stays readable. */
BPULL_API int bpull_engine_process(struct bpull_engine *engine, struct bpull_event *events,
				   int max);
/* As bpull_engine_process(), for a program that looks for work again and again before it sleeps:
 * the descriptor may stay silent whatever there is to do, until the program calls
 * bpull_engine_fd() again, which it does before each sleep. That spares the system calls by which
 * the descriptor is told. Returns how many events were stored, or -EINVAL. */
BPULL_API int bpull_engine_poll(struct bpull_engine *engine, struct bpull_event *events, int max);
/* As bpull_engine_process(), but waits until there is at least one event or timeout_ms have passed
 * (-1: for ever). A signal the program catches ends the wait early with 0. */
BPULL_API int bpull_engine_wait(struct bpull_engine *engine, struct bpull_event *events, int max,
				int timeout_ms);

/* ---- Disks ----------------------------------------------------------------- */

/* Which of them go together, and with which call, is one table in api/options/open_flags.c: what
 * does not is -EINVAL, with a sentence, before anything is opened. */
enum bpull_disk_flags {
	BPULL_DISK_READ_ONLY = 1 << 0,    /* no job; the image is not changed */
	BPULL_DISK_FORCE_SHARE = 1 << 1,  /* with READ_ONLY: take no locks; what another process
					    writes meanwhile may be seen half */
	BPULL_DISK_NO_BACKING = 1 << 2,   /* with READ_ONLY: the image alone; ranges it does not
					    hold are reported as unallocated, and read as zeros.
					    Only bpull_disk_open(), bpull_info_open() */
	BPULL_DISK_READ_HOLES = 1 << 3,   /* trust no file system's word on holes of raw files */
	BPULL_DISK_GUEST_IO = 1 << 4,     /* guest requests will come. Without READ_ONLY the image
					    is made ready to be written at once, as a job's start
					    does it: audited, and mended where it needs it. Only
					    bpull_disk_open() */
	BPULL_DISK_COPY_ON_READ = 1 << 5, /* with GUEST_IO, without READ_ONLY: what the guest reads
					     from the chain is copied into the image */
	/* Without READ_ONLY: the image's file, and its data file, past the page cache
	 * (O_DIRECT). -ENOTSUP where that can't be. Left out, what is copied goes through the
	 * page cache and does not stay there, which is faster nearly everywhere. */
	BPULL_DISK_DIRECT = 1 << 6,
	/* Without READ_HOLES: trust any file system's word on holes. With neither, that of file
	 * systems known to tell the truth is taken: ext2/3/4, XFS, btrfs, tmpfs, and overlayfs on
	 * the first three. Others (FUSE, virtiofs, NFS, 9p, CIFS, ZFS) were seen to call data a
	 * hole, and their files are read. What such a one calls a hole is zeros then to everything
	 * but a job with BPULL_JOB_VERIFY, which reads it. */
	BPULL_DISK_TRUST_HOLES = 1 << 7,
	/* Without FORCE_SHARE: another process has the image still, and will give it away, as in
	 * a migration. The disk opens as bpull_disk_inactivate() leaves it: no lock is taken and
	 * nothing written before bpull_disk_activate(), which reads all anew. What describes the
	 * disk until then is read from headers that may change; one that is met half written is
	 * -EUCLEAN, and opening can be tried again. Only bpull_disk_open() */
	BPULL_DISK_INACTIVE = 1 << 8,
};

/* Which backing files may be opened, at every level of the chain. */
enum bpull_backing_rule {
	BPULL_BACKING_DIRS = 0, /* plain files in the directory of the image itself and below it
				   (none, where the image is a block device or lies in "/"), and
				   what allowed_dirs names; symlinks are resolved first */
	BPULL_BACKING_ANY = 1,
	BPULL_BACKING_NONE = 2,
};

/* What is done where an image records no format for its backing file and the program names none. */
enum bpull_backing_trust {
	/* qcow2: refused, -ENOTSUP. QED, which can record raw only and whose specification says to
	 * probe: the file is used as what it looks like, if it names no further file. If it names
	 * one (a backing or data file), a guest may have written that into its raw disk: -EPERM. */
	BPULL_TRUST_ALONE = 0,
	/* Probed, below qcow2 too, and what the files name is followed, at every level and under
	 * the same backing_rule. A program that can write to one of them chooses, within that rule,
	 * what is read. */
	BPULL_TRUST_ALL = 1,
};

/* What one backing file is, by the program's word. */
struct bpull_backing_format {
	const char *file; /* as the image above it records it, or any name that leads to it: as the
			     chain opens it, or from the directory the process runs in */
	enum bpull_format format; /* RAW, QCOW2 or QED */
	uint8_t optional;         /* no error where the chain has no such file */
	uint8_t used;             /* set to 1 when a chain is opened that has it; never to 0 */
	uint8_t reserved[2];      /* 0 */
};

/* What a file is asked for, by bpull_disk_options.open_file. */
enum bpull_open_need {
	BPULL_OPEN_READ = 1,  /* a descriptor that can be read */
	BPULL_OPEN_WRITE = 2, /* one that can be read and written, without O_APPEND */
	/* Of the file asked for just before, a second open file description that can be read, for
	 * QEMU's locks. It need not be had (any -errno): the locks are then on the first, and of a
	 * killed process they outlive it while another process has a copy of that, and by the
	 * moment that the kernel takes to end its ring. Not asked for by engines with io_uring
	 * where the file is used past the page cache. */
	BPULL_OPEN_LOCK = 3,
};

enum bpull_open_what {
	BPULL_OPEN_IMAGE = 1, /* the image, or a backing file */
	BPULL_OPEN_DATA = 2,  /* an image's external data file */
};

struct bpull_open_request {
	size_t size; /* as the library has it; it only grows */
	/* The image's as the call has it, and below it what the image above records, with that
	 * one's directory in front where it is relative. An image may have made it up: any bytes
	 * but control characters and NUL. */
	const char *name;
	const char *recorded; /* as the image above records it; NULL for the image itself */
	enum bpull_open_need need;
	enum bpull_open_what what;
};

/* ---- Bases that are no files ----------------------------------------------- */

/* One question that a source was asked: the library's, and valid until the source ends it. */
struct bpull_source_ask;

/* What waits for the answer: a source that has lost what it reads from may let a job wait longer
 * than a guest. */
enum bpull_source_asker {
	BPULL_SOURCE_JOB = 0,
	BPULL_SOURCE_GUEST = 1,
	BPULL_SOURCE_CALL = 2, /* a call that opens, maps or describes */
};

/* A range of a source, as it lies behind the one before it. */
struct bpull_source_extent {
	uint64_t length; /* bytes */
	/* 1: every byte reads as zero (a job with BPULL_JOB_VERIFY reads them all the same); 0: it
	 * is data, or that is not known. */
	uint32_t is_zero;
	uint32_t reserved; /* zero */
};

/* What a source does. One that was given to the library is closed once, also where the library
 * refuses it, or what came with it. It is called on the engine's thread and on those that open and
 * map disks, on several at once, and must not wait there, nor call the library but to end a
 * question. Each question is ended once, on any thread, inside the call that asks it too. */
struct bpull_source_ops {
	size_t size; /* sizeof(struct bpull_source_ops) */
	/* Reads len bytes at `offset` into buf: offset is a multiple of block_size, len too unless
	 * it ends at the source's end, len is at most max_size, and all of it lies inside the
	 * source. Ended by bpull_source_read_done(). */
	void (*read)(void *source, void *buf, size_t len, uint64_t offset,
		     enum bpull_source_asker asker, struct bpull_source_ask *ask);
	/* Says what [offset, offset + len) is, of which len is at most 1 GiB. Ended by
	 * bpull_source_extents_done(). NULL: not known, all of it is read. */
	void (*extents)(void *source, uint64_t offset, uint64_t len, enum bpull_source_asker asker,
			struct bpull_source_ask *ask);
	/* The last call: ends what is still asked (-ECANCELED), and frees the source. On any
	 * thread; may wait, also for threads that are in calls of the library's about other disks.
	 * NULL: there is nothing to do. */
	void (*close)(void *source);
	/* In a child of fork() that calls bpull_engine_close(), instead of close(), which is the
	 * parent's: closes the descriptors that the child has of the source, and does nothing that
	 * the parent could see. The source's threads are not there, its locks may be held for ever,
	 * and what they protect may be half changed: it takes none, ends no question and frees
	 * nothing. NULL: there is nothing to do. */
	void (*leave)(void *source);
};

struct bpull_source {
	size_t size;                        /* sizeof(struct bpull_source) */
	const struct bpull_source_ops *ops; /* stays valid until close() has returned */
	void *source;                       /* handed to ops */
	uint64_t length;                    /* bytes; it does not change */
	uint32_t block_size;                /* a power of two, at most 64 KiB; 0: 1, any range */
	uint32_t max_size; /* of one read, bytes: a power of two, 64 KiB at least; 0: 1 MiB */
	/* The same for what is the same: disks of one engine whose chains lead to one identity, and
	 * expect the same of its bytes, read it by one layer, and a chain that leads there twice is
	 * a loop. Copied. NULL: it is like no other. */
	const char *identity;
	/* What its bytes must be: 16 bytes, XXH3-128, for each chunk of chunk_size bytes, the last
	 * one of what is left, in canonical form (as `blockpull hash --chunk` and xxh128sum print
	 * it); copied. It is read in whole chunks then, and a read of other bytes fails with
	 * -EBADMSG. NULL: nothing is expected. */
	const uint8_t *chunk_digests;
	uint64_t n_chunks;    /* of the whole source: no more, no less */
	uint32_t chunk_size;  /* a power of two from 4 KiB to 4 MiB */
	uint32_t reserved32;  /* zero */
	uint64_t reserved[4]; /* zero */
};

/* Ends a read. rc: 0, all of its bytes are in the buffer; or -errno, of which these mean more than
 * "it can't be read": -EHOSTUNREACH what it reads from is away: a job pauses (a
 * BPULL_EVENT_JOB_STOPPED with this error, whatever its on_error is), asks again each second, and
 * goes on by itself (BPULL_EVENT_JOB_RESUMED); a guest's request fails with -EIO. -ESTALE it is
 * back and is another one: the job FAILED. Any thread. */
BPULL_API void bpull_source_read_done(struct bpull_source_ask *ask, int rc);
/* Ends a question for extents: n of them, from the offset that was asked on; they are not used
 * after the call. What lies behind their sum is not known, nor is anything where rc is -errno.
 * Extents of no length, and what lies behind the range that was asked, are left out. Any thread. */
BPULL_API void bpull_source_extents_done(struct bpull_source_ask *ask, int rc,
					 const struct bpull_source_extent *extents, size_t n);

/* What a name leads to, by bpull_disk_options.find_base: a source, or another file. */
struct bpull_base {
	size_t size;                /* as the library has it; it only grows */
	struct bpull_source source; /* its ops are NULL: none */
	/* A file that is opened instead of the name; freed by free(). NULL: the name is. Not
	 * with a source. */
	char *path;
	/* The path was named by the user: backing_rule is not asked. */
	uint8_t path_is_allowed;
	uint8_t reserved[7]; /* zero */
	/* What the name itself says that it is (json: does); UNKNOWN: nothing. -EINVAL where the
	 * image above records another one. */
	enum bpull_format format;
};

struct bpull_disk_options {
	size_t size;                      /* sizeof(struct bpull_disk_options) */
	uint32_t flags;                   /* enum bpull_disk_flags */
	enum bpull_format format;         /* UNKNOWN: probed */
	enum bpull_format backing_format; /* for images that record none; UNKNOWN: backing_trust */
	enum bpull_backing_rule backing_rule;
	/* n_allowed_dirs names of directories (all below them, and the block devices that links
	 * in them lead to, where only root or we can have made those links), of single files,
	 * and of block devices, which are never allowed but so; copied. One that does not exist
	 * allows nothing and is no error: bpull_disk_warning() tells of it, and so does the
	 * error of a backing file that is not allowed. */
	const char *const *allowed_dirs;
	size_t n_allowed_dirs;
	void *user_data; /* returned in the disk's events */
	/* Called with user_data once, when all files are open and only their headers were read:
	 * here a process may give up what it needed to open them. Whatever is opened after it
	 * (another disk, a job's base) needs that still. On the caller's thread; must not call us.
	 * NULL: none. */
	void (*opened)(void *user_data);
	enum bpull_backing_trust backing_trust; /* TRUST_ALL: not with a backing_format */
	/* n_backing_formats of single files. They come before backing_format and backing_trust; a
	 * record that says another format than they do is an error. The program's, and read and
	 * written to (`used`) only while the image is opened. */
	struct bpull_backing_format *backing_formats;
	size_t n_backing_formats;
	/* The directory that a relative name behind "file:", which an image records, leads from: an
	 * absolute name. Only read while the image is opened. NULL: the one the process runs in
	 * then. */
	const char *relative_dir;
	/* Opens the files instead of the library, which then opens, resolves and looks up no name
	 * at all: for processes without a file system. Called with open_opaque for each file of the
	 * chain when it is come to, on the caller's thread, only inside the call that opens the
	 * image; must not call us. It answers with a descriptor, which is the library's from then
	 * on, also where the call fails, or with -errno: that file is refused. Each answer is an
	 * open file description of its own, that is from open(), not from dup(): its locks and
	 * flags (O_DIRECT, O_NONBLOCK, FD_CLOEXEC) are the library's to set. Only of a file that
	 * the library has open may it be a copy (dup()), which has the same flags and locks: they
	 * stay as its first use has set them. What comes is checked: a regular file or a block
	 * device, open for what is needed (-EACCES), in the chain once (-ELOOP). The callback is
	 * the policy: backing_rule and allowed_dirs go without it. A file that is only read is
	 * watched by its time alone: a touch counts as a change. A job's `base` is one of the
	 * chain's names then, and no file is opened for it. Of a flatten it opens the source only.
	 * NULL: names are opened. */
	int (*open_file)(void *open_opaque, const struct bpull_open_request *request);
	void *open_opaque; /* -EINVAL without open_file */
	/* Asked first for each backing file, as the image above records it (request->name is the
	 * recorded name, too; need is READ, what IMAGE), network names included, which are refused
	 * without this; and with READ_ONLY for the image itself (recorded is NULL). 0: *base says
	 * what it leads to. 1: nothing is known of the name, it is opened as ever (and refused
	 * where it is a network's). -errno: refused, *error says why. Of a source the format must
	 * be known: recorded, told or base->format; it is never probed. An image that is read from
	 * a source may name no file of this machine, unless this answers for the name. On the
	 * caller's thread, only inside the call that opens the image; must not call us. Not with
	 * open_file. NULL: none. */
	int (*find_base)(void *find_opaque, const struct bpull_open_request *request,
			 struct bpull_base *base, struct bpull_error *error);
	void *find_opaque; /* -EINVAL without find_base */
};

/* Opens an image and its chain and takes QEMU's locks on them (unless INACTIVE): the image for
 * writing unless READ_ONLY. Nothing is written before a job starts. The path is used as given:
 * relative backing names are looked for beside it. Blocking (see the top). NULL options: all
 * defaults.
 * Errors: all those told apart above, and -ELOOP. -EINVAL too: a file of backing_formats that the
 * chain does not have, or has two of, and one that is said to be two things. */
BPULL_API int bpull_disk_open(struct bpull_engine *engine, const char *path,
			      const struct bpull_disk_options *options, struct bpull_disk **disk,
			      struct bpull_error *error);
/* Closes it. A running job is aborted first: what was copied is committed (this waits for it);
 * its event is not delivered. NULL is allowed. */
BPULL_API void bpull_disk_close(struct bpull_disk *disk);
/* Gives the image away for a while: to the process that a virtual machine migrates to, or to a
 * tool. Waits for the guest's requests, makes everything durable, and gives back the locks of
 * all files but those that another disk of the engine has open, too. The files stay open;
 * nothing is read or written until bpull_disk_activate(). Meanwhile the guest's requests end
 * with -EPERM, so do bpull_disk_map() and the start of a job, and what describes the disk tells
 * of it as it was. Of an inactive disk 0 at once. Blocking (see the top). Errors, after which
 * the disk is active as before: -EBUSY a job runs, or another thread changes this; -EIO, -ENOSPC
 * and the like: what was written could not be made durable; -EINVAL a flatten's disk. */
BPULL_API int bpull_disk_inactivate(struct bpull_disk *disk, struct bpull_error *error);
/* Takes the locks again, and reads the image and its chain anew: another program may have changed
 * them, the disk's size too. Where the link is gone, or leads to a lower file of the chain, the
 * files between are closed. Of an active disk 0 at once. Blocking. Errors, after which the disk is
 * inactive as before: -EBUSY another program has a file locked (asked again for a second), or
 * another thread changes this; -ESTALE the chain is another now, and the disk must be closed and
 * opened; and those of bpull_disk_open(). */
BPULL_API int bpull_disk_activate(struct bpull_disk *disk, struct bpull_error *error);
/* The same, but asks for a lock once: for a program that must not sleep, and tries again at its own
 * times. It reads files as bpull_disk_activate() does. */
BPULL_API int bpull_disk_try_activate(struct bpull_disk *disk, struct bpull_error *error);
/* Virtual size of the guest's disk, bytes. */
BPULL_API uint64_t bpull_disk_size(const struct bpull_disk *disk);
/* Images in the chain, the top one included: also those that a job is to drop, until their link
 * is gone. */
BPULL_API unsigned bpull_disk_depth(const struct bpull_disk *disk);
/* Makes the guest's disk len bytes long (a multiple of 512) while it is used. What is wrong with
 * that is told at once: -errno, and no event. Else 0, and one event (BPULL_EVENT_IO): 0 when the
 * new size is durable and the guest may use it, or -errno. Then the disk has the old size, and so
 * has the image, but after -EIO, where either may be on disk. The new end reads zeros, whatever a
 * backing file holds there. The guest's writes wait until it is over. After a crash the image
 * has the old size or the new one, and what was flushed. Opened with GUEST_IO.
 * Errors: -ENOTSUP it would be shorter; an image that QEMU does not resize either (bitmaps; version
 * 2 with snapshots, or below a longer backing file), one whose data file is marked to be the disk
 * by itself, a raw disk on a device; -EBUSY a job runs on the disk, or it is being resized; -EFBIG
 * more than the format can hold; -ENOSPC a data file's device is too small; -EPERM the disk is
 * inactive; -EROFS, -EIO, -EINVAL.
 * Owner thread; does not wait. */
BPULL_API int bpull_disk_resize(struct bpull_disk *disk, uint64_t len, void *user_data,
				struct bpull_error *error);
struct bpull_create_options;
/* A disk that copies what an image reads, with its chain, into a new file. The source is opened as
 * with READ_ONLY and never changed; its flags are READ_ONLY, FORCE_SHARE, READ_HOLES and
 * TRUST_HOLES only: a file that is still being made serves no guest (GUEST_IO and COPY_ON_READ are
 * -EINVAL). `out` says what is made (format UNKNOWN: the source's; no backing file, no size). One
 * bpull_job_start() does it, with all that a job has but a base; COMPLETED means that the file is
 * durable under out_path. Until then, after a failure and without a job it is not there, and
 * nothing is left when the disk is closed; a crash may leave a file called .NAME.blockpull-XXXXXXXX
 * beside it. The new file gets the source's mode bits (of 0777), not its owner, group, access list,
 * extended attributes, snapshots and bitmaps; before it is done it is its owner's alone. That it
 * can be given its name is tried at once. After `opened` a job's end calls renameat2, linkat,
 * unlinkat, mknodat (a regular file), renameat, fchmod, fsync and syncfs. NULL options: all
 * defaults. Blocking. Errors: as bpull_disk_open() and bpull_create(). */
BPULL_API int bpull_flatten_open(struct bpull_engine *engine, const char *source_path,
				 const struct bpull_disk_options *source_options,
				 const char *out_path,
				 const struct bpull_create_options *out_options,
				 struct bpull_disk **disk, struct bpull_error *error);
/* Which image of the chain a file is: *depth 1 is the backing file of the top one. As
 * bpull_job_options.base is found. -EINVAL: it is none of them, or the top one. */
BPULL_API int bpull_disk_find(struct bpull_disk *disk, const char *path, uint32_t *depth,
			      struct bpull_error *error);
/* The name by which the depth-th image of the chain was opened, 0 the top one, which is another
 * after a snapshot and after a commit of the image: copied to path with its NUL, as far as size
 * goes. Its length without the NUL, also where that had no room. -EINVAL: there is no such image;
 * a flatten's disk. Owner thread; does not wait. */
BPULL_API int bpull_disk_layer_path(struct bpull_disk *disk, uint32_t depth, char *path,
				    size_t size);
/* One sentence on something the user should know (a file system without locks, a name of
 * allowed_dirs that does not exist), or NULL. Valid until the disk is closed. */
BPULL_API const char *bpull_disk_warning(const struct bpull_disk *disk);
/* One sentence on why the disk is slower than it could be (a raw file's holes are read, because its
 * file system is not known to tell the truth about them; BPULL_DISK_TRUST_HOLES if you know
 * better), or NULL. Valid until the disk is closed. */
BPULL_API const char *bpull_disk_hint(const struct bpull_disk *disk);
/* What starting the last job had to mend in the image first (leaks of a killed one, a mark that it
 * was not closed), a clause without the image's name; or NULL. Valid until the next start or the
 * disk is closed. Owner thread. */
BPULL_API const char *bpull_disk_note(const struct bpull_disk *disk);

/* ---- Jobs ------------------------------------------------------------------ */

/* Numbers of libvirt's virDomainBlockJobType. */
enum bpull_job_type {
	BPULL_JOB_TYPE_UNKNOWN = 0,
	BPULL_JOB_TYPE_PULL = 1,
	BPULL_JOB_TYPE_COMMIT = 3,        /* of backing files into one of them */
	BPULL_JOB_TYPE_ACTIVE_COMMIT = 4, /* of the image too; in bpull_job_info only */
};

/* Never 0 for a state in which the job exists and never for "done". */
enum bpull_job_state {
	BPULL_JOB_NONE = 0, /* no job was started on this disk */
	BPULL_JOB_RUNNING = 1,
	BPULL_JOB_PAUSED = 2,
	BPULL_JOB_WAITING = 3,   /* READY was sent: bpull_job_finalize() is awaited */
	BPULL_JOB_STOPPING = 4,  /* committing what was copied, or the end */
	BPULL_JOB_CONCLUDED = 5, /* its result stays readable until the next start */
};

/* What an I/O error of the job's own does to it. Errors of guest requests are the guest's. */
enum bpull_on_error {
	BPULL_ON_ERROR_REPORT = 0, /* it FAILED */
	BPULL_ON_ERROR_STOP = 1, /* it pauses and keeps its place; bpull_job_resume() tries again */
	BPULL_ON_ERROR_ENOSPC = 2, /* the same for want of space only (-ENOSPC, -EDQUOT); else as
				      REPORT */
	/* A range of which the data can't be read is left out and told by an event; the job
	 * goes on, keeps the link, and FAILED is its end, with the first such error. Other
	 * errors are as with REPORT, among them that of a file's table (where its data lies), of
	 * the image and of its backing files: what it leads to is not known. */
	BPULL_ON_ERROR_IGNORE = 3,
};

enum bpull_job_flags {
	BPULL_JOB_MANUAL_FINALIZE = 1 << 0, /* stop at READY and keep the link until told */
	BPULL_JOB_START_PAUSED = 1 << 1,
	BPULL_JOB_VERIFY =
		1 << 2, /* before the link is dropped, reads back from the device what was
				      copied and compares it with what was read. -EBADMSG: it
				      differs, and the link is kept. What the guest has written
				      since is its own, and not compared. A commit compares what
				      base reads with what was read above it, zeros too, and what
				      a guest has written since is written and compared again.
				      Before it copies, a
				      block in each MiB (of files above 8 GiB: in each 8192nd part)
				      of the holes that it will leave out is read, and must be
				      zeros: else -EBADMSG, too */
	/* The image is marked: an earlier job saw a backing file change (-ESTALE), so
	 * that what it copied may be of another state than the chain. Go on all the
	 * same; the mark goes when the image has no link any more. */
	BPULL_JOB_ACCEPT_MIXED = 1 << 3,
	/* Of a commit of the image itself: the image is left as it is, and must not be used any
	 * more. Without this it is emptied: it reads all from its backing file then. */
	BPULL_JOB_KEEP = 1 << 4,
};

/* How copied clusters are written. */
enum bpull_compression {
	BPULL_COMPRESSION_NONE = 0, /* plain */
	BPULL_COMPRESSION_OWN = 1,  /* compressed, of the type the image has */
	BPULL_COMPRESSION_ZLIB = 2,
	BPULL_COMPRESSION_ZSTD = 3,
};

/* How data gets into the image. */
enum bpull_copy {
	BPULL_COPY_AUTO =
		0, /* blocks are shared where the file system can (XFS, btrfs), else copied. Not in
				 jobs that compress or verify: those look at the bytes */
	BPULL_COPY_CLONE =
		1, /* the job fails (-ENOTSUP) where whole clusters can't be shared; ends that
				 are no whole blocks are copied still */
	BPULL_COPY_READ = 2, /* always copied */
};

/* Bytes of the guest's disk. */
struct bpull_range {
	uint64_t offset, length;
};

/* Ranges that a job takes at most to be copied first. */
#define BPULL_FIRST_MAX 65536

struct bpull_job_options {
	size_t size;    /* sizeof(struct bpull_job_options) */
	uint32_t flags; /* enum bpull_job_flags */
	/* Of this job alone, bytes/s; 0: unlimited. It is for what the chain holds and the job
	 * copies, whether it reads that or has it of another job (source_bytes + shared_bytes);
	 * what is read and found zero is in it, what is known to be zero is not. */
	uint64_t bandwidth;
	uint64_t burst;   /* 0: bandwidth / 10 */
	const char *base; /* a file of the chain: what is above it is pulled, and it becomes the
			       image's backing file; NULL: the whole chain is pulled, and it has
			       none. Found by device and inode, or else by the recorded name */
	/* qcow2 only. A type that is not the image's becomes it (before anything is copied), where
	 * no cluster is compressed yet and the header has room for it: else -ENOTSUP. Clusters
	 * that don't shrink by a sector are stored plain. Bandwidth counts guest bytes. */
	uint32_t compression;       /* enum bpull_compression */
	uint32_t compression_level; /* zlib 1-9, zstd 1-19; 0: the type's default (6, 3) */
	uint32_t on_error;          /* enum bpull_on_error */
	/* Percent of the time (1-100) for which the job may keep a run in flight while guest
	 * requests come in on its engine; 100: it never gives way; 0: 25. */
	uint32_t guest_share;
	uint32_t copy; /* enum bpull_copy */
	/* With base: the name that the image will have for it, instead of one made from the
	 * directories. It must lead to that file from the image's directory, else -EINVAL; so it
	 * is, too, where base is the backing file already under another name. NULL: a name is
	 * made. */
	const char *base_name;
	/* Of this job alone: reads of backing files and writes into the image a second, each as
	 * long as what it moves lies together (1 MiB at most); 0: unlimited. Tables, flushes and
	 * blocks that are shared instead of copied are not counted. */
	uint64_t iops;
	/* What is copied before all else, in this order: a hint. Each range is widened to whole
	 * clusters and cut at the disk's end; a part that came before already is passed over. How
	 * the job ends, and when it drops the link, is as without it. At most BPULL_FIRST_MAX
	 * (else -EINVAL). Copied by bpull_job_start(). NULL where n_first is 0. */
	const struct bpull_range *first;
	size_t n_first;
	/* To be done in so long from its start, ns; 0: no matter. It raises its own limit when it
	 * is late, beyond bandwidth, too; without a bandwidth it goes as gently as that allows.
	 * What it has to copy is counted at the start then, which walks tables. Time in which it
	 * is paused or reads back (VERIFY) counts, and can't be foreseen. */
	uint64_t within_ns;
	/* Bytes/s: it gives way to guests only as long as it is as fast as that, and a bandwidth
	 * that is less does not hold. */
	uint64_t min_rate;
	/* 99 of 100 reads and writes of the disk's guest are to take less than this, ns; 0: no
	 * matter. In place of guest_share the job's limit follows what they take, before a
	 * deadline and a bandwidth, but it is never below min_rate. */
	uint64_t guest_p99_ns;
	/* A backing file of the chain: the job is one between it and base. PULL: it gets what lies
	 * between the two, and its link leads to base, or goes; the image itself reads the same all
	 * the time, and may be read-only. NULL: the image. Found as base is. */
	const char *top;
	/* enum bpull_job_type: UNKNOWN or PULL, COMMIT. COMMIT: what the files from top down to the
	 * one above base hold is written into base (NULL: the file right below top), which grows
	 * if it is shorter; then the link of the image above top leads to base. With top NULL the
	 * image itself is committed, while its guest writes: READY, if it is to wait for finalize,
	 * and when its guest's requests wait for a moment base becomes the disk's image. A guest
	 * that writes faster than the job copies is slowed before that, to half of it. What base
	 * reads changes from the start on. What the image reads does not, nor what a file above
	 * top does; those between top and base must not be used any more. -ENOTSUP: a file that is
	 * committed has internal snapshots; with compression, COPY_CLONE and
	 * ON_ERROR_IGNORE. -EBUSY: another program or disk has base. -EINVAL: base is longer than
	 * the image. */
	uint32_t type;
};

struct bpull_job_info {
	size_t size; /* sizeof(struct bpull_job_info) */
	enum bpull_job_type type;
	enum bpull_job_state state;
	enum bpull_job_status status; /* where state is CONCLUDED */
	int error;                    /* 0 or -errno, where status is FAILED */
	uint64_t bandwidth;           /* bytes/s, 0: unlimited */
	uint64_t cur, end;            /* guest bytes walked, of how many; cur never falls, end >= 1;
					 cur == end does not mean done */
	uint64_t copied_bytes;        /* guest data written into the image */
	uint64_t cloned_bytes;        /* shared by the file system instead of copied; not limited */
	uint64_t zero_bytes;          /* read, found zero, and left out */
	uint64_t skipped_bytes;       /* held by no layer, or known zero: not read */
	uint64_t present_bytes;       /* already in the image */
	uint64_t elapsed_ns;          /* since the start; stops when the job concludes */
	uint64_t n_commits;           /* group commits made durable */
	/* Why an error stopped it, while it is so: state is PAUSED then. */
	int stop_error;       /* -errno; 0: it did not */
	uint64_t stop_offset; /* byte of the file, or of the guest's disk */
	uint8_t stop_was_read;
	uint64_t verified_bytes; /* of copied_bytes, read back and found right */
	/* Where status is FAILED: a request or an operation of the job's failed, not a rule of the
	 * job's (a base that changed, a comparison); and whether that was reading. */
	uint8_t error_was_io, error_was_read;
	uint64_t iops;       /* requests/s; 0: unlimited */
	uint64_t n_requests; /* that it has made, as iops counts them */
	/* Bytes/s that it is limited to now: bandwidth, or what it has made of that for within_ns
	 * or min_rate; 0: unlimited. */
	uint64_t limit;
	uint64_t min_rate;
	uint64_t within_ns;   /* as it was asked for last; 0: it has no deadline */
	uint64_t deadline_ns; /* what elapsed_ns is to be then; 0: likewise */
	uint64_t needed_rate; /* bytes/s that the deadline asks for now; 0: none, or it is over */
	/* Nonzero: the deadline, or min_rate, can't be met: it is behind, and goes as fast as
	 * files, guests and other limits allow. */
	uint8_t is_late;
	/* About how long the copying will take yet, at its speed of the last seconds; 0: not known,
	 * as while it is paused or does anything else. */
	uint64_t left_ns;
	uint64_t guest_p99_ns;     /* as it was asked for; 0: it was not */
	uint64_t guest_p99_now_ns; /* what 99 of 100 took less than in the last seconds; 0: none */
	/* Bytes of the guest's disk that it read from the chain; and those that it had of other
	 * jobs of the engine, which read the same images at the same time. Their sum is what
	 * limits on bytes count; the first, of all jobs, is what the source is asked for. */
	uint64_t source_bytes, shared_bytes;
	/* Of source_bytes, what came from a file's device past the page cache: the way of a job
	 * that is the first to read a file that is not cached. It stands still while the job reads
	 * through the cache. */
	uint64_t past_cache_bytes;
};

/* Which fields of struct bpull_job_rates count. */
enum bpull_job_rate {
	BPULL_JOB_RATE_IOPS = 1 << 0,
	BPULL_JOB_RATE_WITHIN = 1 << 1, /* from now on; what is left is estimated where the
					   job began without it */
	BPULL_JOB_RATE_MIN = 1 << 2,
	BPULL_JOB_RATE_GUEST_P99 = 1 << 3,
};

/* What bpull_job_set_rates() changes of a job: fields as in struct bpull_job_options. */
struct bpull_job_rates {
	size_t size;    /* sizeof(struct bpull_job_rates) */
	uint32_t which; /* enum bpull_job_rate: the fields that are set; the others stay */
	uint64_t iops;
	uint64_t within_ns;
	uint64_t min_rate;
	uint64_t guest_p99_ns;
};

/* Starts pulling the chain into the image. NULL options: all defaults. A disk without backing is
 * complete at once and says so by its event. The job begins in the next process(). Blocking (see
 * the top): the image is audited, and mended where it needs it, and what it will read is mapped.
 * Errors: -EINVAL no such base, -EBUSY a job runs already, -EPERM the image is marked
 * (BPULL_JOB_ACCEPT_MIXED), -ESTALE with that flag: this disk saw the change, and must be closed
 * and opened again, -EROFS opened read-only, -ENOTSUP / -EUCLEAN the image can't be changed safely
 * (nothing was written), -ENOSPC or what else a commit met: another compression type than the
 * image's, while tables of an earlier job wait for room, -EINVAL. */
BPULL_API int bpull_job_start(struct bpull_disk *disk, const struct bpull_job_options *options,
			      struct bpull_error *error);
/* Refuses a job with these options as bpull_job_start() would. What that says before it writes
 * anything, this says, too, but for what only an audit of the image's tables as a whole, or
 * opening a file for writing, would show. For a pull the disk may be open read-only; -EACCES: this
 * user could not open it for writing. Nothing is changed, least of all a job that runs: while one
 * does, the answer is -EBUSY. Blocking, owner thread; other errors as bpull_job_start(). */
BPULL_API int bpull_job_check(struct bpull_disk *disk, const struct bpull_job_options *options,
			      struct bpull_error *error);
/* Fills *info. 1: a job was started on this disk; 0: none (all zero but end = 1). -EINVAL: its
 * size. Any thread. */
BPULL_API int bpull_job_get_info(struct bpull_disk *disk, struct bpull_job_info *info);
/* The i-th file, 0 the first, that the disk's chain has lost by its last job, which COMPLETED: the
 * name by which it was opened, the upper ones first; NULL: there is none. No link of this chain
 * names it any more and it is closed, so that it may be removed where no other image names it. The
 * first of a commit of the image itself is that image. Valid until the next start or the disk is
 * closed. Owner thread. */
BPULL_API const char *bpull_job_dropped(const struct bpull_disk *disk, uint32_t i);
/* Changes the job's own limit at once; burst 0: bandwidth / 10. -ENOENT: no job runs.
 * Any thread. */
BPULL_API int bpull_job_set_speed(struct bpull_disk *disk, uint64_t bandwidth, uint64_t burst);
/* Changes those of the job's other limits that rates->which names, at once. -ENOENT: no job runs;
 * -EINVAL: unknown ones. Any thread. */
BPULL_API int bpull_job_set_rates(struct bpull_disk *disk, const struct bpull_job_rates *rates);
/* Stops asking for more; what is in flight finishes and is committed. Copying, proving and
 * verifying stand still then (PAUSED); a commit, the wait for bpull_job_finalize() and the drop of
 * the link go on. A job that an error stopped is paused already. Idempotent. -ENOENT: no job runs.
 * Any thread. */
BPULL_API int bpull_job_pause(struct bpull_disk *disk);
/* It goes on, and tries again what stopped it, if that was an error. Idempotent. -ENOENT: no job
 * runs. Any thread. */
BPULL_API int bpull_job_resume(struct bpull_disk *disk);
/* Asks the job to stop. It commits what it copied, keeps the link and ends with a CANCELED event,
 * unless it fails first, or the header without the link is being written already: then it
 * completes. Idempotent. -ENOENT: no job runs. Any thread. */
BPULL_API int bpull_job_abort(struct bpull_disk *disk);
/* After READY: drops the link, also of a job that is paused; COMPLETED follows. -EAGAIN: it is not
 * READY. -ENOENT: no job runs. Any thread. */
BPULL_API int bpull_job_finalize(struct bpull_disk *disk);

/* ---- Guest I/O --------------------------------------------------------------
 *
 * For disks opened with BPULL_DISK_GUEST_IO, while a job runs or not. Offsets and lengths are bytes
 * of the guest's disk, any alignment. Submitting returns nothing: each request ends in one event
 * (BPULL_EVENT_IO) with its user_data and 0 or -errno: -EINVAL outside the disk, -EROFS, -ENOSPC or
 * -EDQUOT (a flush, too: with space again it may be repeated), -EFBIG the image's file can't grow
 * any more (its format, the file system, or a limit of the process: to be treated like -ENOSPC),
 * -EIO (also: an earlier write to the image's tables failed; nothing more is written), -ENOMEM,
 * -EUCLEAN.
 *
 * LIMITS. A vector has 0 to 1024 entries (-EINVAL), of any length and alignment each, also 0; all
 * together at most what the disk has behind the offset (-EINVAL). A request of no bytes is one like
 * others: 0 where its offset is at most the disk's size, else -EINVAL; a write with FUA makes
 * durable what was over before. The iovec array is copied; the buffers are the caller's and stay
 * put until the event. Any number may be in flight: what has no room in the engine's memory waits
 * for its turn as a descriptor (about 1 KiB and the vector). Requests in flight are in no order; of
 * two that overlap either may win. Owner thread.
 *
 * Buffers must be memory that can be written (read, for writes) until the event. Of one that can't,
 * what the kernel copies ends with -EFAULT, but zeros and decoded data are stored by the processor,
 * and it faults: to find out before each request would cost a system call, and another thread could
 * unmap the buffer in between. */

enum bpull_io_flags {
	BPULL_IO_FUA = 1 << 0, /* durable, with the tables that lead to it, when the event comes */
	BPULL_IO_UNMAP = 1 << 1, /* write-zeroes: the space may be given back */
};

BPULL_API void bpull_read(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			  uint64_t guest_off, void *user_data);
BPULL_API void bpull_write(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			   uint64_t guest_off, uint32_t flags, void *user_data);
/* The range reads as zeros afterwards, whatever the format. */
BPULL_API void bpull_write_zeroes(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
				  uint32_t flags, void *user_data);
/* A hint that the range's content is not needed. What is discarded reads as zeros or as before,
 * never as what a backing file holds below it. Whole clusters only; the rest, and all of it where
 * the format can't say so (qcow2 v2, QED), stays as it is. */
BPULL_API void bpull_discard(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
			     void *user_data);
/* Makes durable what every request that was over when this was submitted wrote. */
BPULL_API void bpull_flush(struct bpull_disk *disk, void *user_data);
struct bpull_extent;
/* What [guest_off, guest_off + len) is, at most max extents: the event's `count` says how many were
 * filled. What is in flight may or may not be told. */
BPULL_API void bpull_block_status(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
				  struct bpull_extent *extents, int max, void *user_data);
/* Waits until all requests are over that were submitted before the call: 0, or -ETIMEDOUT
 * (timeout_ms; -1: never). Their events are not lost but wait to be taken; buffers may be reused at
 * once. What other threads submit meanwhile is not waited for, nor are copies that follow reads.
 * Nothing becomes durable by it: that is bpull_flush(). -EINVAL: no GUEST_IO. Blocks; owner thread,
 * and with BPULL_ENGINE_THREAD any. */
BPULL_API int bpull_disk_drain(struct bpull_disk *disk, int timeout_ms);
/* Switches copy-on-read; requests in flight are not changed. -EROFS, -EINVAL (no GUEST_IO). Any
 * thread. */
BPULL_API int bpull_disk_set_copy_on_read(struct bpull_disk *disk, int on);

/* Cell 0 of a histogram counts what took less than 1024 ns, cell i what took at least 512 << i and
 * less than 1024 << i ns, the last one all that took longer. */
#define BPULL_STATS_CELLS 32

/* Requests of one kind. It never grows. */
struct bpull_io_stats {
	uint64_t requests; /* that ended well */
	uint64_t bytes;    /* of those, as asked for; flush: 0 */
	/* That those took, from their submission to their end. Of reads that are over when they are
	 * submitted (the page cache has them) every eighth is timed, for itself and seven more. */
	uint64_t total_ns;
	uint64_t errors; /* that failed */
	/* That were refused when they were submitted: outside the disk, unknown flags, a disk that
	 * is read-only. */
	uint64_t refused;
	uint64_t latency[32]; /* BPULL_STATS_CELLS: how many of `requests` took so long */
};

/* What was asked of a disk since it was opened, by all guest requests, the calls that wait
 * included; bpull_block_status() is not counted. */
struct bpull_disk_stats {
	size_t size; /* sizeof(struct bpull_disk_stats) */
	struct bpull_io_stats read, write, flush, discard, write_zeroes;
	uint64_t write_end; /* guest offset behind the last byte that was ever written, zeros too */
};

/* Fills *stats: 0, or -EINVAL (its size). What is in flight is not counted yet; a request is when
 * its event can be taken. Owner thread; does not wait. */
BPULL_API int bpull_disk_get_stats(struct bpull_disk *disk, struct bpull_disk_stats *stats);

/* The same, waiting for the result: 0 (bpull_pblock_status(): how many) or -errno. For engines with
 * BPULL_ENGINE_THREAD, from any thread but the engine's; -EINVAL with others. Their requests make
 * no events. */
BPULL_API int bpull_pread(struct bpull_disk *disk, void *buf, size_t len, uint64_t guest_off);
BPULL_API int bpull_pwrite(struct bpull_disk *disk, const void *buf, size_t len, uint64_t guest_off,
			   uint32_t flags);
/* With a vector, of which the limits are those above; it is not used after the call. */
BPULL_API int bpull_preadv(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			   uint64_t guest_off);
BPULL_API int bpull_pwritev(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			    uint64_t guest_off, uint32_t flags);
BPULL_API int bpull_pwrite_zeroes(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
				  uint32_t flags);
BPULL_API int bpull_pdiscard(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
BPULL_API int bpull_pflush(struct bpull_disk *disk);
BPULL_API int bpull_pblock_status(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
				  struct bpull_extent *extents, int max);
/* The same of bpull_disk_resize(): 0 when the new size is durable, or -errno with a sentence. */
BPULL_API int bpull_presize(struct bpull_disk *disk, uint64_t len, struct bpull_error *error);
/* Waits until the disk's job is concluded: 0, also where there is none; -ETIMEDOUT (timeout_ms; -1:
 * never). A job that is paused, by an error too, or READY does not conclude before another thread
 * resumes, finalizes or aborts it: with -1 that is waited for. Its event comes as ever. -EINVAL:
 * the engine has no BPULL_ENGINE_THREAD. */
BPULL_API int bpull_job_wait(struct bpull_disk *disk, int timeout_ms);

/* ---- Images at rest -------------------------------------------------------- */

/* What a range of the guest's disk is; fields as `qemu-img map --output=json` has them. */
struct bpull_extent {
	uint64_t start, length; /* guest bytes */
	uint32_t depth;         /* image of the chain that answers, 0 the top */
	uint8_t present;        /* some image of the chain holds it (else it only reads as zeros) */
	uint8_t zero;           /* reads as zeros */
	uint8_t data;           /* takes space in that image */
	uint8_t compressed;
	uint8_t has_offset;
	uint8_t reserved[7]; /* zero */
	uint64_t offset;     /* byte in that image's file, where has_offset */
};

/* Maps up to max extents from guest offset `start` on; neighbours alike are merged. Blocking.
 * Returns how many (0 at the end of the disk) or -errno. */
BPULL_API int bpull_disk_map(struct bpull_disk *disk, uint64_t start, struct bpull_extent *extents,
			     int max, struct bpull_error *error);

/* How it is known what a backing file is. */
enum bpull_format_from {
	BPULL_FORMAT_NOT_KNOWN = 0, /* no backing file; or no record of it, and it was not opened */
	BPULL_FORMAT_RECORDED = 1,  /* by the image above it */
	BPULL_FORMAT_PROBED = 2,    /* it looks so: opened, or below QED to be found when it is */
	BPULL_FORMAT_TOLD = 3,      /* by the options it was opened with */
};

/* One image of a chain. Strings are the disk's, valid until it is closed; they come from the image
 * and may hold any byte but NUL. */
struct bpull_layer_info {
	size_t size;      /* sizeof(struct bpull_layer_info) */
	const char *path; /* as opened */
	enum bpull_format format;
	uint64_t virtual_size;
	uint64_t file_size; /* bytes of the file */
	uint64_t disk_size; /* bytes it takes on its file system */
	uint32_t cluster_size;
	const char *backing_name;   /* as recorded, or NULL */
	const char *backing_format; /* as recorded, or NULL */
	uint32_t version;           /* qcow2: 2 or 3; else 0 */
	uint32_t refcount_bits;     /* qcow2 */
	uint32_t table_size;        /* qed: clusters a table */
	uint32_t n_snapshots;       /* qcow2 */
	const char *compression;    /* qcow2: "zlib" or "zstd", else NULL */
	const char *encryption;     /* "aes", "luks" or NULL */
	uint8_t dirty;              /* qcow2 dirty bit, QED NEED_CHECK */
	uint8_t corrupt;            /* marked so */
	uint8_t lazy_refcounts;
	uint8_t extended_l2;
	uint8_t has_data_file;
	uint8_t has_bitmaps;
	const char *unreadable; /* why it can't be read, or NULL */
	const char *unwritable; /* why a pull into it would be refused, or NULL */
	const char *data_file;  /* the external data file, as recorded, or NULL; not opened */
	uint8_t data_file_raw;  /* it is marked to be the guest's disk by itself */
	/* It is marked: what was copied into it may be of another state of its backing files
	 * than they are in; a job needs BPULL_JOB_ACCEPT_MIXED. */
	uint8_t mixed;
	enum bpull_format_from backing_format_from;
	enum bpull_format backing_opened_as; /* UNKNOWN: no backing file, or it was not opened */
	enum bpull_remedy unwritable_remedy;
};

/* Describes an image and, unless flags has BPULL_DISK_NO_BACKING, its chain, whether or not its
 * features are supported. Opened as bpull_disk_open() with READ_ONLY does; no other flags than
 * that, FORCE_SHARE, NO_BACKING, READ_HOLES and TRUST_HOLES. Free with
 * bpull_info_close(). Blocking. */
struct bpull_info;
BPULL_API int bpull_info_open(const char *path, const struct bpull_disk_options *options,
			      struct bpull_info **info, struct bpull_error *error);
BPULL_API unsigned bpull_info_depth(const struct bpull_info *info);
/* Fills *layer for image i < depth; 0 or -EINVAL (no such image; its size). */
BPULL_API int bpull_info_layer(const struct bpull_info *info, unsigned i,
			       struct bpull_layer_info *layer);
BPULL_API void bpull_info_close(struct bpull_info *info); /* NULL is allowed */

enum bpull_repair {
	BPULL_REPAIR_NONE = 0,  /* read-only */
	BPULL_REPAIR_LEAKS = 1, /* leaked clusters are freed, where nothing is worse */
	BPULL_REPAIR_ALL = 2,   /* refcounts and flags, too, and the marks dirty and corrupt go */
};

struct bpull_check_options {
	size_t size;              /* sizeof(struct bpull_check_options) */
	uint32_t flags;           /* BPULL_DISK_FORCE_SHARE */
	enum bpull_format format; /* UNKNOWN: probed */
	/* Called for each finding, up to max_reports (0: 100); NULL for none. */
	void (*report)(void *opaque, int is_leak, const char *text);
	void *opaque;
	uint64_t max_reports;
	enum bpull_repair repair;
	void (*opened)(void *opaque); /* as bpull_disk_options.opened, with opaque */
};

/* With a repair, the numbers are of what is there afterwards. */
struct bpull_check_result {
	size_t size; /* sizeof(struct bpull_check_result) */
	enum bpull_format format;
	uint64_t n_corruptions; /* broken entries, refcounts too low, overlaps */
	uint64_t n_leaks;       /* clusters that nothing refers to: space lost, no data */
	uint64_t n_check_errors;
	uint64_t n_allocated_clusters, n_compressed_clusters, n_zero_clusters, n_total_clusters;
	uint64_t image_end_offset;
	uint64_t n_corruptions_fixed, n_leaks_fixed;
	uint8_t marks_cleared; /* dirty, corrupt or in need of a check: not any more */
	char unrepaired[384];  /* why something was left, or "" */
	uint8_t mixed;         /* as bpull_layer_info has it; no damage, and not repaired */
};

/* Checks one image's metadata (not its backing files) in bounded memory. Blocking. 0 when the check
 * ran to its end, whatever it found. -ENOTSUP: the format has nothing to check.
 * With a repair the image is opened for writing, under QEMU's locks (-EBUSY), and mended in place:
 * what refers to what is never changed, so the guest's disk reads the same before, afterwards and
 * after a cut at any moment. What can't be mended so is left and told in `unrepaired`. Errors are
 * failures to read or write then, and lose nothing; -ENOTSUP: a feature that isn't understood. */
BPULL_API int bpull_check(const char *path, const struct bpull_check_options *options,
			  struct bpull_check_result *result, struct bpull_error *error);

struct bpull_measure {
	size_t size;         /* sizeof(struct bpull_measure) */
	uint64_t guest_size; /* virtual size of the guest's disk, bytes */
	uint64_t file_size;  /* of the image's file, or of the block device, now */
	/* Bytes of the file, or of the device, that the image reaches into after a pull, at most:
	 * how many of the copied bytes are zeros, which take no space, only reading them tells. */
	uint64_t needed_size;
	uint64_t growth;     /* how much the file grows at most; a device never does */
	uint64_t missing;    /* what a device is too small by, bytes; 0: it suffices */
	uint64_t copy_bytes; /* guest data to be read and copied, at most */
	uint8_t is_device;   /* a block device: cannot grow */
	uint8_t has_backing; /* else there is nothing to pull */
	/* The image's data lies in a file of its own: the same numbers of that one, else 0. The
	 * guest's bytes are in there, tables and refcounts in the image's file. */
	uint8_t has_data_file, data_is_device;
	uint64_t data_file_size, data_needed_size, data_growth, data_missing;
};

/* Computes how much space a pull of the whole chain into the image needs, what a pull mends first
 * (an image left dirty, leaks) included. options: flags FORCE_SHARE, READ_HOLES, TRUST_HOLES,
 * DIRECT (of the pull that is meant) and what says how the chain is opened; NULL: all defaults.
 * Blocking, read-only; opened as bpull_disk_open() with READ_ONLY does. Errors: as
 * bpull_disk_open(); what bpull_job_start() refuses before the first write is refused here with the
 * same error (-EPERM, -ENOTSUP, -EUCLEAN, -EROFS), but for a device that is too small, which
 * *result tells; -EFBIG the format can't hold it. */
BPULL_API int bpull_image_measure(const char *path, const struct bpull_disk_options *options,
				  struct bpull_measure *result, struct bpull_error *error);
/* The same for the job that these options start; of them top, base and compression matter here, and
 * NULL means a plain pull of the whole chain; of the flags, ACCEPT_MIXED. With a top the numbers
 * are of that file. -EINVAL too: unknown options, no such top or base. -ENOTSUP too: the job is a
 * commit. */
BPULL_API int bpull_measure_job(const char *path, const struct bpull_disk_options *options,
				const struct bpull_job_options *job, struct bpull_measure *result,
				struct bpull_error *error);

struct bpull_create_options {
	size_t size;              /* sizeof(struct bpull_create_options) */
	enum bpull_format format; /* QCOW2 or QED */
	uint64_t virtual_size;    /* bytes; 0: the backing file's, which must be there then (but
				   * see empty) */
	const char *backing_name; /* recorded as given; relative to the new image; NULL: none */
	enum bpull_format backing_format; /* required with backing_name */
	uint32_t cluster_size;            /* 0: 65536 */
	uint32_t version;                 /* qcow2: 2 or 3; 0: 3 */
	uint32_t refcount_bits;           /* qcow2: 1..64; 0: 16 */
	uint32_t table_size;              /* qed: 2..16; 0: 4 */
	uint8_t lazy_refcounts;           /* qcow2 */
	uint8_t zstd;                     /* qcow2: compression type zstd instead of zlib */
	uint8_t empty; /* a virtual_size of 0 is meant as it stands: a disk of no bytes; with
			* another size -EINVAL */
	/* Called with user_data once the backing file was looked at, just before the new file is
	 * made: from here to its return the call waits for no file but the new one, and what ends
	 * the process may leave a file under a temporary name. Must not call us.
	 * bpull_flatten_open(): NULL. */
	void (*creating)(void *user_data);
	void *user_data;
	/* As in bpull_disk_options: a backing_name for which it answers is recorded as it stands.
	 * bpull_flatten_open(): NULL. */
	int (*find_base)(void *find_opaque, const struct bpull_open_request *request,
			 struct bpull_base *base, struct bpull_error *error);
	void *find_opaque; /* -EINVAL without find_base */
};

/* Makes a new image (-EEXIST: never over an existing file), named when it is durable. Blocking. */
BPULL_API int bpull_create(const char *path, const struct bpull_create_options *options,
			   struct bpull_error *error);

/* ---- Snapshots -------------------------------------------------------------- */

enum bpull_snapshot_flags {
	/* `path` is an image already: without data, as long as the disk, and its link leads to the
	 * image that it is to lie on. Of `create` only the format may be given. */
	BPULL_SNAPSHOT_EXISTING = 1 << 0,
};

struct bpull_snapshot {
	size_t size; /* sizeof(struct bpull_snapshot) */
	struct bpull_disk *disk;
	/* The new overlay. A name that is in use is refused (-EEXIST), but with EXISTING. */
	const char *path;
	/* What it is to be; NULL: qcow2 with clusters of 64 KiB. format UNKNOWN: qcow2 (with
	 * EXISTING: what it looks like). backing_name: what it will record as the name of the image
	 * below it; it must lead there from its directory; NULL: that image's own name where both
	 * lie in one directory, else its absolute path with links resolved. backing_format and
	 * virtual_size: 0, or what they would be anyway (else -EINVAL). empty, find_base: 0. */
	const struct bpull_create_options *create;
	uint32_t flags; /* enum bpull_snapshot_flags */
	/* With EXISTING, and of a disk whose files the program opened, which needs it: opens as
	 * bpull_disk_options.open_file does, first the new overlay (path), then, to be read, the
	 * name that it records, which must be that of the image it is to lie on: that is shown
	 * by any descriptor of the same file. Called with open_opaque on the caller's thread, only
	 * inside the call; must not call us. NULL: names are opened. */
	int (*open_file)(void *open_opaque, const struct bpull_open_request *request);
	void *open_opaque; /* -EINVAL without open_file */
};

/* A new overlay becomes the top of each disk's chain. Where a disk is named more than once, each of
 * its overlays lies on the one before, and the last one becomes the top. The image so far is only
 * read from now on, as a backing file is (other programs may read it), as are overlays that others
 * lie on, and holds the disk as it is at that moment. All
 * of the disks get theirs, or none, between two requests of all their guests: requests that were
 * submitted before are over on the old image, those that come meanwhile wait, and go on with the
 * new one. The new images are durable, name and all, and so is all that was written before, ahead
 * of the first write to one of them; they get the mode of the image below.
 *
 * The disk stays what it was to the program: its flags hold for the new image, and its size is the
 * same (of a raw disk: rounded up to 512 bytes). Nothing else that was said when it was opened
 * (names allowed, formats) is asked again. While this call runs no job starts on the disk.
 *
 * 0, or -errno: all is as before, and what was made is removed again. -EINVAL the options; another
 * engine's disk; a disk that is read-only or a new file's; -EPERM it is inactive;
 * -EBUSY a job runs on it, or its size has changed meanwhile; -EIO it was given up; -EEXIST,
 * -ENOENT and others of the new file; -ENOSPC no room for it, or for what has to be durable; -ELOOP
 * the chain is too long; -ENOTSUP the program opened the disk's files, and the
 * new overlay is not handed over in the same way; -ESTALE its image was moved or removed.
 *
 * n 0: nothing is done. Blocks, and waits for requests in flight; in an engine without a thread it
 * runs the engine's rounds. Owner thread. */
BPULL_API int bpull_disk_snapshot(const struct bpull_snapshot *snapshots, unsigned n,
				  struct bpull_error *error);

#ifdef __cplusplus
}
#endif

#endif
