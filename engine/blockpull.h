/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libblockpull: stream a disk image's backing chain into the image.
 *
 * An engine owns a ring, its worker threads and a memory budget; any number of disks (an overlay
 * and its backing chain) share it. A disk runs at most one job. There is no global state, no signal
 * handler and no output: every result is a return value or an event.
 *
 * THREADS. An engine belongs to one thread, which makes all calls on it and on its disks; another
 * may take it over when the first makes no more calls, and does not exit while anything is in
 * flight. The exceptions may be called from any thread while the engine, or the disk, is open:
 * bpull_engine_set_speed(), bpull_job_get_info(), bpull_job_set_speed(), bpull_job_set_rates(),
 * bpull_job_pause(), bpull_job_resume(), bpull_job_abort(), bpull_job_finalize(),
 * bpull_disk_set_copy_on_read(), bpull_source_read_done() and bpull_source_extents_done(). An
 * engine opened with BPULL_ENGINE_THREAD has a thread of its own instead, and every function may be
 * called from any thread but that a disk or engine is closed once, by the last to use it.
 *
 * FORK. An engine, its disks and a struct bpull_info belong to the process that opened them. A
 * child of fork() may exec, exit, or call bpull_disk_close(), bpull_engine_close(),
 * bpull_info_close() and bpull_virt_close(), which close the child's descriptors and do nothing
 * that the parent could see: no request ends, nothing is written, no lock is given back, and memory
 * stays until the child ends. It calls nothing else (bpull_engine_process(), _poll() and _wait()
 * are -EINVAL there). What the parent closes is unlocked at once, whatever children have inherited.
 * All descriptors are closed by exec.
 *
 * RUNNING IT, in one of three ways. From the program's own loop: poll bpull_engine_fd() for reading
 * and call bpull_engine_process(), which never waits for I/O (with EPOLLET: until it returns less
 * than there is room for; bpull_engine_poll() spares a program that looks often some system calls).
 * With bpull_engine_wait(), which does. Or by the engine's thread, with the blocking calls
 * (bpull_pread(), ...) beside the others.
 *
 * BLOCKING. These calls wait for files, and some walk tables, which takes seconds where those map
 * terabytes: bpull_disk_open(), bpull_flatten_open(), bpull_disk_close(), bpull_disk_inactivate(),
 * bpull_disk_activate(), bpull_disk_try_activate(), bpull_disk_find(), bpull_disk_map(),
 * bpull_disk_snapshot(), bpull_job_check(), bpull_job_start(), bpull_engine_close(), and the calls
 * under "Images at rest". Those that open files, and bpull_disk_activate(), also wait up to a
 * second for a lock that another process holds. Where the engine has a thread of its own they hold
 * up their caller, and calls that open, start, map or close the same disk; guests and jobs of all
 * other disks go on. Without one the owner waits, and with it the engine. bpull_job_start() and
 * bpull_job_check() of a disk whose job runs answer -EBUSY at once. What a job waits for at its end
 * (files that are closed, a new file's name) workers wait for, and no call but bpull_job_wait() and
 * bpull_disk_close() of that disk.
 *
 * ERRORS. A call returns 0 or a negative errno value. Where it has a struct bpull_error parameter
 * (NULL is allowed) it fills that with a sentence that names the file, the offset and what to do;
 * after success its code is 0 and its message empty. Texts may change; do not parse them. A pointer
 * that is NULL where none is allowed is -EINVAL; a function that returns no error returns NULL or 0
 * then, and a guest request without a disk is no request. What a failed call was to fill stays as
 * it was. Some codes mean more than errno says: -EUCLEAN the image is damaged; -ENOTSUP it has a
 * feature that is not supported, which the sentence names; -EBUSY a lock is held, or the thing is
 * in use; -EPERM a policy refuses it; -ESTALE a backing file was changed while a job read it;
 * -EBADMSG what was written reads back as something else, or a hole is none.
 *
 * OPTION STRUCTS begin with their own size, only ever grow at the end, and may be all zero behind
 * it: zero is the default of every field, and NULL options are all defaults. Unknown flag bits are
 * refused with -EINVAL.
 *
 * RESULT STRUCTS that the caller provides begin with their size as well, which the caller sets and
 * the library never changes. They grow at the end: a program older than the library gets what its
 * struct has room for, one that is newer gets zeros in what the library does not know. Nothing is
 * written beyond the size. -EINVAL: it is smaller than the struct's first version, or larger than
 * 4096. Fixed for good, without a size, are struct bpull_error, and what comes in arrays (struct
 * bpull_event, struct bpull_extent): what could be added to those is the bytes called reserved,
 * which are zero.
 *
 * Rates are bytes per second everywhere, 0 meaning unlimited; sizes and offsets are bytes. A
 * timeout_ms is in milliseconds, -1 meaning without end. Job types and statuses have libvirt's
 * numbers. */
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

/* The version of the library that runs, as "0.1.0". Static. */
BPULL_API const char *bpull_version(void);

/* What would let a refused call pass, if the user knows better: for programs that have an option
 * for it. More values may come. */
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
	BPULL_REMEDY_CLOSE_DISK = 11, /* another disk of this process has the file: close that */
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

/* The name of a format: "raw", "qcow2" or "qed"; "unknown" for any other number. Static. */
BPULL_API const char *bpull_format_name(enum bpull_format format);
/* The format that has this name; BPULL_FORMAT_UNKNOWN where none has. */
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
	BPULL_ENGINE_THREAD = 1 << 0, /* the engine runs by itself, in a thread of its own;
					 bpull_engine_process() and bpull_engine_wait() only hand
					 out events. That thread, as all of the library's, blocks
					 every signal but SIGBUS and SIGSEGV, which its own faults
					 raise (a buffer that was unmapped) */
};

struct bpull_engine_options {
	size_t size; /* sizeof(struct bpull_engine_options) */
	enum bpull_io io;
	uint64_t memory; /* budget for buffers and cached tables, bytes; 0: 48 MiB; at least 8 MiB.
			   Jobs that read the same images keep up to a third of it more,
			   and a 256th for each */
	/* The limit that all jobs share, bytes/s; 0: unlimited. Each job counts what it copies
	 * against it, also what another job has read for it: N overlays of one base count N times
	 * what is read from that base. */
	uint64_t bandwidth;
	uint64_t burst; /* bytes that may follow an idle time at once; 0: bandwidth / 10 */
	uint32_t flags; /* enum bpull_engine_flags */
	/* The limit that all jobs share on reads and writes of data, requests/s; 0: unlimited.
	 * bpull_job_options.iops says what counts. */
	uint64_t iops;
	/* Asks for `bytes` (1 MiB at most) of a budget that the program shares with others, beside
	 * the limits above. It takes them, and returns in how many ns they may be used; 0: at once.
	 * The engine calls it on the thread that runs it, for what a run will copy as bandwidth
	 * counts that, and next when those bytes may be used. It must neither wait nor call the
	 * library. NULL: there is no such budget. */
	uint64_t (*budget)(void *budget_opaque, uint64_t bytes);
	void *budget_opaque; /* -EINVAL without budget */
};

/* Opens an engine: a ring or threads for I/O, memory, and what all its jobs share. Its owner closes
 * it with bpull_engine_close(). Errors: -ENOTSUP io_uring was asked for by name and this system
 * refuses it, or its threads; -EAGAIN the limit on processes (RLIMIT_NPROC, pids.max) leaves no
 * room for one thread; -ENOMEM out of memory; -EINVAL unknown options, or memory below 8 MiB. */
BPULL_API int bpull_engine_open(const struct bpull_engine_options *options,
				struct bpull_engine **engine, struct bpull_error *error);
/* Closes an engine, and first every disk that is open on it, as bpull_disk_close() does. NULL is
 * allowed. */
BPULL_API void bpull_engine_close(struct bpull_engine *engine);
/* The name of the backend in use: "uring" or "threads". Static. */
BPULL_API const char *bpull_engine_io_name(const struct bpull_engine *engine);
/* Changes the shared limit on bytes: the engine takes it up in its next round. Any thread. */
BPULL_API void bpull_engine_set_speed(struct bpull_engine *engine, uint64_t bandwidth,
				      uint64_t burst);

/* More types may come: skip those you do not know. */
enum bpull_event_type {
	BPULL_EVENT_JOB = 1, /* the job has a new `status` */
	/* An error stopped the job, as its on_error asks, and it is paused: `error` and `message`
	 * say why, bpull_job_get_info() says where. */
	BPULL_EVENT_JOB_STOPPED = 2,
	BPULL_EVENT_IO = 3, /* a guest request is over */
	/* The job left out a range that it could not read (BPULL_ON_ERROR_IGNORE): `error` and
	 * `message` say why. A job sends at most 256 of these; the message of its end counts
	 * all. */
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
	void *user_data; /* that of bpull_disk_options; of BPULL_EVENT_IO the request's */
	enum bpull_job_status status; /* of BPULL_EVENT_JOB */
	int error; /* 0 or -errno: why the job FAILED or stopped; the request's result */
	/* A sentence on `error`, or "". A job that did not fail has one only where the image is
	 * marked (BPULL_JOB_ACCEPT_MIXED), or where the old image of a commit could not be emptied;
	 * of BPULL_EVENT_IO it is always "". Valid from when the event is taken until the disk's
	 * next job starts or the disk is closed. */
	const char *message;
	int count; /* of bpull_block_status(): how many extents were filled; else 0 */
	enum bpull_remedy remedy; /* of BPULL_EVENT_JOB: what would let the job pass */
	uint32_t reserved[4];     /* zero */
};

/* The descriptor that becomes readable when bpull_engine_process() has work: for poll() or epoll in
 * the program's own loop. It stays the engine's: never read or close it. It may be readable without
 * work. Any number of calls return the same one. */
BPULL_API int bpull_engine_fd(const struct bpull_engine *engine);
/* Runs what can run now, without waiting for I/O, and stores up to max events. More may be left:
 * then the descriptor stays readable. Where the engine has a thread of its own, only takes events.
 * -EINVAL: max is below 0, or another process opened the engine and forked this one. Returns how
 * many events were stored, or -EINVAL. */
BPULL_API int bpull_engine_process(struct bpull_engine *engine, struct bpull_event *events,
				   int max);
/* As bpull_engine_process(), for a program that looks for work again and again before it sleeps. It
 * spares the system calls that make the descriptor readable: that one may stay silent whatever
 * there is to do, until the program calls bpull_engine_fd() again, which it does before each sleep.
 * -EINVAL: max is below 0, or another process opened the engine and forked this one. Returns how
 * many events were stored, or -EINVAL. */
BPULL_API int bpull_engine_poll(struct bpull_engine *engine, struct bpull_event *events, int max);
/* As bpull_engine_process(), but waits until there is at least one event or timeout_ms have passed.
 * Where max is 0 it waits for one, and takes none. A signal that the program catches ends the wait
 * early, with 0. */
BPULL_API int bpull_engine_wait(struct bpull_engine *engine, struct bpull_event *events, int max,
				int timeout_ms);

/* ---- Disks ----------------------------------------------------------------- */

/* Flags that do not go together, or not with a call, are -EINVAL with a sentence, before anything
 * is opened. */
enum bpull_disk_flags {
	BPULL_DISK_READ_ONLY = 1 << 0,    /* no job; the image is not changed */
	BPULL_DISK_FORCE_SHARE = 1 << 1,  /* with READ_ONLY: takes no locks. What another process
					    writes meanwhile may be seen half */
	BPULL_DISK_NO_BACKING = 1 << 2,   /* with READ_ONLY: opens the image alone. Ranges that it
					    does not hold are reported as unallocated, and read as
					    zeros; what the options say of backing files does not
					    count, but for backing_formats. Only for
					    bpull_disk_open(), bpull_info_open() */
	BPULL_DISK_READ_HOLES = 1 << 3,   /* trusts no file system's word on holes of raw files */
	BPULL_DISK_GUEST_IO = 1 << 4,     /* guest requests will come. Without READ_ONLY the image
					    is made ready for writing at once, as a job's start does
					    it: audited, and mended where it needs that; a raw image
					    must have its format named then. Only for
					    bpull_disk_open() */
	BPULL_DISK_COPY_ON_READ = 1 << 5, /* with GUEST_IO, without READ_ONLY: copies what the guest
					     reads from the chain into the image */
	/* Without READ_ONLY: uses the image's file, and its data file, past the page cache
	 * (O_DIRECT); -ENOTSUP where the file system can't. Without this flag, what is copied goes
	 * through the page cache and does not stay there, which is faster nearly everywhere. */
	BPULL_DISK_DIRECT = 1 << 6,
	/* Without READ_HOLES: trusts any file system's word on holes. With neither flag, the word
	 * of those that are known to tell the truth is taken: ext2/3/4, XFS, btrfs, tmpfs, and
	 * overlayfs on the first three. Others (FUSE, virtiofs, NFS, 9p, CIFS, ZFS) were seen to
	 * call data a hole, so their files are read. With this flag, what such a file system calls
	 * a hole is zeros to everything but a job with BPULL_JOB_VERIFY, which reads it. */
	BPULL_DISK_TRUST_HOLES = 1 << 7,
	/* Without FORCE_SHARE: another process still has the image and will give it away, as in a
	 * migration. The disk opens as bpull_disk_inactivate() leaves it: no lock is taken and
	 * nothing is written before bpull_disk_activate(), which reads everything anew. What
	 * describes the disk until then comes from headers that may change. A header that is met
	 * half written is -EUCLEAN, and opening can be tried again. Only for bpull_disk_open() */
	BPULL_DISK_INACTIVE = 1 << 8,
};

/* Which backing files may be opened, at every level of the chain. */
enum bpull_backing_rule {
	BPULL_BACKING_DIRS = 0, /* plain files in the directory of the image itself and below it
				   (none, where the image is a block device or lies in "/"), and
				   what allowed_dirs names; symlinks are resolved first */
	BPULL_BACKING_ANY = 1,  /* allowed_dirs has nothing to add */
	BPULL_BACKING_NONE = 2, /* -EINVAL with allowed_dirs */
};

/* What happens where an image records no format for its backing file and the program names none. */
enum bpull_backing_trust {
	/* Below qcow2 the file is refused, -ENOTSUP. Below QED, which can record raw only and whose
	 * specification says to probe, it is used as what it looks like, if it names no further
	 * file. If it names one (a backing or data file), a guest may have written that name into
	 * its raw disk: -EPERM. */
	BPULL_TRUST_ALONE = 0,
	/* The file is probed, below qcow2 too, and what it names is followed, at every level and
	 * under the same backing_rule. A program that can
	 * write to one of these files chooses, within that rule, what is read. */
	BPULL_TRUST_ALL = 1,
};

/* The program's word on what one backing file is. */
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
	/* A second open file description, for QEMU's locks, of the file that was asked for just
	 * before; one that can be read. The program may refuse it (any -errno): then the locks are
	 * on the first one. If this process is killed, they live on there for as long as another
	 * process has a copy of that descriptor, and for the moment in which the kernel ends the
	 * ring. Engines with io_uring do not ask for it where the file is used past the page
	 * cache. */
	BPULL_OPEN_LOCK = 3,
};

enum bpull_open_what {
	BPULL_OPEN_IMAGE = 1, /* the image, or a backing file */
	BPULL_OPEN_DATA = 2,  /* an image's external data file */
};

struct bpull_open_request {
	size_t size; /* as the library has it; it only grows */
	/* Of the image: as the call has it. Of a file below: what the image above records, with
	 * that image's directory in front where it is relative. An image may have made it up: it
	 * holds any bytes but control characters and NUL. */
	const char *name;
	const char *recorded; /* as the image above records it; NULL for the image itself */
	enum bpull_open_need need;
	enum bpull_open_what what;
};

/* ---- Bases that are no files ----------------------------------------------- */

/* One question that the library asks a source. It is the library's, and valid until the source ends
 * it. */
struct bpull_source_ask;

/* What waits for the answer: a source that has lost what it reads from may let a job wait longer
 * than a guest. */
enum bpull_source_asker {
	BPULL_SOURCE_JOB = 0,
	BPULL_SOURCE_GUEST = 1,
	BPULL_SOURCE_CALL = 2, /* a call that opens, maps or describes */
};

/* A range of a source. It begins where the one before it ends. */
struct bpull_source_extent {
	uint64_t length; /* bytes */
	/* 1: every byte reads as zero (a job with BPULL_JOB_VERIFY reads them all the same); 0: it
	 * is data, or that is not known. */
	uint32_t is_zero;
	uint32_t reserved; /* zero */
};

/* What a source does. The library closes each source that it is given once, also where it refuses
 * the source or what came with it. It calls these on the engine's thread and on those that open and
 * map disks, on several at once. They must not wait, and call the library only to end a question.
 * The source ends each question once, on any thread, which may be inside the call that asks it. */
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
	/* The last call: ends what is still asked (-ECANCELED), and frees the source. What closes a
	 * disk first waits for the answers that its job and its guest have asked for: a source that
	 * can't give one has to end the question with an error by itself. On any thread; may wait,
	 * also for threads that are in calls of the library's about other disks. NULL: there is
	 * nothing to do. */
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
	/* A name that two sources share if they are the same thing. Disks of one engine whose
	 * chains lead to one identity, and expect the same of its bytes, read it together; a chain
	 * that leads there twice is a loop. Copied. NULL: the source is like no other. */
	const char *identity;
	/* What its bytes must be: 16 bytes, XXH3-128, for each chunk of chunk_size bytes (the last
	 * chunk is what is left), in canonical form, as `blockpull hash --chunk` and xxh128sum
	 * print it. Copied. The library then reads whole chunks, and a read of other bytes fails
	 * with -EBADMSG. NULL: nothing is expected. */
	const uint8_t *chunk_digests;
	uint64_t n_chunks;    /* of the whole source: no more, no less */
	uint32_t chunk_size;  /* a power of two from 4 KiB to 4 MiB */
	uint32_t reserved32;  /* zero */
	uint64_t reserved[4]; /* zero */
};

/* Ends a read that a source was asked for (struct bpull_source_ops), with 0 when all of its bytes
 * are in the buffer, or with -errno when they can't be read.
 *
 * Two codes mean more. With -EHOSTUNREACH, what the source reads from is away: a job pauses (it
 * sends BPULL_EVENT_JOB_STOPPED with this error, whatever its on_error is), asks again each second,
 * and goes on by itself (BPULL_EVENT_JOB_RESUMED); a guest's request fails with -EIO. With -ESTALE,
 * it is back and is another thing: the job ends as FAILED, and a guest's request fails with -EIO.
 * Any thread. */
BPULL_API void bpull_source_read_done(struct bpull_source_ask *ask, int rc);
/* Answers a source's question for extents (struct bpull_source_ops): n of them, which begin at the
 * offset that was asked for. What lies behind the last one is taken as not known, and where rc is
 * -errno the whole range is. But -EHOSTUNREACH and -ESTALE mean what they mean to
 * bpull_source_read_done(), and with -ECANCELED what needed the answer fails. The library leaves
 * out extents of no length, and what lies behind the range that was asked for. Any thread. */
BPULL_API void bpull_source_extents_done(struct bpull_source_ask *ask, int rc,
					 const struct bpull_source_extent *extents, size_t n);

/* What bpull_disk_options.find_base finds for a name: a source, or another file. */
struct bpull_base {
	size_t size;                /* as the library has it; it only grows */
	struct bpull_source source; /* where its ops are NULL, there is no source */
	/* The file to open instead of the name, from malloc(): the library frees it. NULL: the name
	 * is opened. Not with a source. */
	char *path;
	/* 1: the user named the path, and backing_rule is not asked. */
	uint8_t path_is_allowed;
	uint8_t reserved[7]; /* zero */
	/* The format that the name itself tells, as a name with json: does; UNKNOWN: it tells none.
	 * -EINVAL where the image above records another one. */
	enum bpull_format format;
};

struct bpull_disk_options {
	size_t size;                      /* sizeof(struct bpull_disk_options) */
	uint32_t flags;                   /* enum bpull_disk_flags */
	enum bpull_format format;         /* UNKNOWN: probed */
	enum bpull_format backing_format; /* for images that record none; UNKNOWN: backing_trust */
	enum bpull_backing_rule backing_rule;
	/* n_allowed_dirs names, which are copied: of directories (which allow all below them, and
	 * the block devices that links in them lead to, where only root or this user can have made
	 * those links), of single files, and of block devices, which nothing else allows. One that
	 * does not exist allows nothing and is no error: bpull_disk_warning() tells of it, and so
	 * does the error of a backing file that is not allowed. */
	const char *const *allowed_dirs;
	size_t n_allowed_dirs;
	void *user_data; /* returned in the disk's events */
	/* The library calls this once, with user_data, on the caller's thread, when all files are
	 * open. Of a disk that guests may write to the image's tables were read and mended then,
	 * too; of all others only headers were read. Here a process may give up the rights that it
	 * needed to open them; what it opens later (another disk, a job's base) still needs those.
	 * Must not call the library. NULL: nothing is called. */
	void (*opened)(void *user_data);
	enum bpull_backing_trust backing_trust; /* TRUST_ALL: not with a backing_format */
	/* The formats of n_backing_formats single files. They come before backing_format and
	 * backing_trust; an image that records another format for such a file is an error. The
	 * array is the program's: the library reads it, and sets `used`, only while it opens the
	 * image. */
	struct bpull_backing_format *backing_formats;
	size_t n_backing_formats;
	/* The directory from which a relative name behind "file:", where an image records one,
	 * leads: an absolute name. Only read while the image is opened. NULL: the directory that
	 * the process runs in at that time. */
	const char *relative_dir;
	/* Opens the files instead of the library, which then opens, resolves and looks up no name
	 * at all: for processes without a file system. The library calls it with open_opaque for
	 * each file of the chain when it comes to it, on the caller's thread, only inside the call
	 * that opens the image; it must not call the library. It returns a descriptor, which is the
	 * library's from then on, also where the call fails, or -errno, which refuses the file.
	 * Each descriptor has an open file description of its own, that is, it is from open() and
	 * not from dup(), because the library sets its locks and flags (O_DIRECT, O_NONBLOCK,
	 * FD_CLOEXEC). Only of a file that the library has open already may it be a copy (dup()):
	 * that one's flags and locks stay as its first use has set them. The library checks what
	 * comes: a regular file or a block device, open for what is needed (-EACCES), in the chain
	 * once (-ELOOP). The callback is the policy: backing_rule and allowed_dirs do not count.
	 * A file that is only read is watched by its times alone, so that a touch counts as a
	 * change. A job's `base` must be one of the chain's names, because no file is opened for
	 * it. In bpull_flatten_open() it opens the source only. NULL: names are opened. */
	int (*open_file)(void *open_opaque, const struct bpull_open_request *request);
	void *open_opaque; /* -EINVAL without open_file */
	/* Finds what a name leads to. The library calls it first for each backing file, with the
	 * name that the image above records (request->name is that, too; need is READ, what is
	 * IMAGE), and with READ_ONLY for the image itself (recorded is NULL). Names of a network
	 * come here as well; without this callback they are refused. It returns 0 when *base says
	 * what the name leads to; 1 when it knows nothing of the name, which is then opened as a
	 * file (and refused where it is a network's); or -errno to refuse it, with *error filled.
	 * The format of a source must be known: recorded, told by the program or in base->format;
	 * it is never probed. An image that is read from a source may name a file of this machine
	 * only where this answers for that name. Called on the caller's thread, only inside the
	 * call that opens the image; must not call the library. Not with open_file. NULL: no name
	 * is looked up so. */
	int (*find_base)(void *find_opaque, const struct bpull_open_request *request,
			 struct bpull_base *base, struct bpull_error *error);
	void *find_opaque; /* -EINVAL without find_base */
};

/* Opens an image and its chain, and takes QEMU's locks on them (unless INACTIVE): the image is
 * opened for writing unless READ_ONLY. Nothing is written before a job needs it, but for what
 * GUEST_IO mends at once. The path is used as given: relative backing names are looked for beside
 * it. Blocking (see the top). Errors: those told apart above; -ELOOP a file is in the chain twice,
 * or more than 256 images lie below the first; -EINVAL unknown options or options that do not go
 * together, a file of backing_formats that the chain does not have or has twice, or one that is
 * said to have two formats; a raw image for a guest that writes, without a format. */
BPULL_API int bpull_disk_open(struct bpull_engine *engine, const char *path,
			      const struct bpull_disk_options *options, struct bpull_disk **disk,
			      struct bpull_error *error);
/* Closes a disk and its chain. A job that runs is aborted first, as bpull_job_abort() does; the
 * call waits until what it copied is committed. No event of the disk comes after this. NULL is
 * allowed. */
BPULL_API void bpull_disk_close(struct bpull_disk *disk);
/* Gives the image away for a while: to the process that a virtual machine migrates to, or to a
 * tool. Waits for the guest's requests, makes everything durable, and gives back the locks, but for
 * files that another disk of the engine has open, too. The files stay open; nothing is read or
 * written until bpull_disk_activate(). Meanwhile the guest's requests, bpull_disk_map() and the
 * start of a job fail with -EPERM, and calls that describe the disk tell of it as it was. A disk
 * that is inactive already is left so, and the call returns 0. After an error the disk is active as
 * before. Blocking (see the top). Errors: -EBUSY a job runs, or another thread changes this; -EIO /
 * -ENOSPC or another code of the file: what was written could not be made durable; -EINVAL the disk
 * is that of bpull_flatten_open(). */
BPULL_API int bpull_disk_inactivate(struct bpull_disk *disk, struct bpull_error *error);
/* Takes the image back: takes the locks again, and reads the image and its chain anew, because
 * another program may have changed them, the disk's size too. Where the link is gone, or leads to a
 * lower file of the chain, the files between are closed. A disk that is active already is left so,
 * and the call returns 0. After an error the disk is inactive as before. Blocking (see the top).
 * Errors: those of bpull_disk_open(); -EBUSY another program has kept a file locked for a second,
 * or another thread changes this; -ESTALE the chain is another one now: close the disk and open
 * it. */
BPULL_API int bpull_disk_activate(struct bpull_disk *disk, struct bpull_error *error);
/* As bpull_disk_activate(), but asks for each lock once only and sleeps for none: for a program
 * that tries again at times of its own. It waits for files all the same. Errors: those of
 * bpull_disk_activate(); -EBUSY another program has a file locked now, or another thread changes
 * this. */
BPULL_API int bpull_disk_try_activate(struct bpull_disk *disk, struct bpull_error *error);
/* The virtual size of the guest's disk, in bytes. */
BPULL_API uint64_t bpull_disk_size(const struct bpull_disk *disk);
/* How many images the chain has, the top one included. Those that a job is to drop are counted
 * until their link is gone. */
BPULL_API unsigned bpull_disk_depth(const struct bpull_disk *disk);
/* Makes the guest's disk len bytes long while it is used. The disk must be open with GUEST_IO. What
 * is wrong with that the call says at once: it returns -errno, and no event comes. Else it returns
 * 0, and one event (BPULL_EVENT_IO) comes, with the error 0 when the new size is durable and the
 * guest may use it, or -errno. After such an error the disk has the old size, and so has the image,
 * but for -EIO, after which the file may have either. The new end reads as zeros, whatever a
 * backing file holds there. The guest's writes wait until this is over. After a crash the image has
 * the old size or the new one, and all that was flushed. Owner thread. Does not wait.
 * Errors: -ENOTSUP the disk would get shorter; or it is an image that QEMU does not resize either
 * (with bitmaps; of version 2 with snapshots, or over a longer backing file), one whose data file
 * is marked to be the disk by itself, or a raw disk on a device; -EBUSY a job runs on the disk, or
 * it is being resized; -EFBIG the format can't hold that much; -ENOSPC the data file's device is
 * too small; -EPERM the disk is inactive; -EROFS the disk was opened read-only; -EIO an earlier
 * write to the image failed: close it and open it again; -EINVAL the size is no multiple of 512, or
 * the disk was opened without GUEST_IO; -ENOMEM out of memory. */
BPULL_API int bpull_disk_resize(struct bpull_disk *disk, uint64_t len, void *user_data,
				struct bpull_error *error);
struct bpull_create_options;
/* Opens a disk that copies what an image reads, with its chain, into a new file that stands alone.
 * One bpull_job_start() makes that file, with all that a job has but a base; COMPLETED means that
 * it is durable under out_path. Before that, after a failure and without a job, no such file is
 * there, and nothing is left when the disk is closed. A crash may leave a file called
 * .NAME.blockpull-XXXXXXXX beside it.
 *
 * The source is opened as with READ_ONLY and never changed. Its flags are READ_ONLY, FORCE_SHARE,
 * READ_HOLES and TRUST_HOLES only: a file that is still being made serves no guest. out_options
 * give the new file's format (UNKNOWN: the source's) and what goes with that, but no backing file
 * and no size.
 *
 * The new file gets the source's mode bits (of 0777), but not its owner, group, access list,
 * extended attributes, snapshots and bitmaps; before it is done only its owner can open it. The
 * call tries at once whether the file can be given its name. For a sandbox: after `opened`, a job's
 * end calls renameat2, linkat, unlinkat, mknodat (a regular file), renameat, fchmod, fsync and
 * syncfs. Blocking (see the top). Errors: those of bpull_disk_open() and bpull_create(); -EINVAL
 * another flag, such as GUEST_IO or COPY_ON_READ. */
BPULL_API int bpull_flatten_open(struct bpull_engine *engine, const char *source_path,
				 const struct bpull_disk_options *source_options,
				 const char *out_path,
				 const struct bpull_create_options *out_options,
				 struct bpull_disk **disk, struct bpull_error *error);
/* Finds the place of a file in the chain, in the way in which bpull_job_options.base is found: by
 * device and inode, or else by the recorded name. Blocking (see the top). -EINVAL: the file is not
 * in the chain, or is the top image. */
BPULL_API int bpull_disk_find(struct bpull_disk *disk, const char *path, uint32_t *depth,
			      struct bpull_error *error);
/* Copies the name by which an image of the chain was opened into path, with its NUL, as far as size
 * allows. A snapshot and a commit of the image itself give the chain another top image, and the
 * others another depth. Owner thread. Does not wait. Returns the length of the name without its
 * NUL, also where path had no room for it. -EINVAL: the chain has no such image, or the disk is
 * that of bpull_flatten_open(). */
BPULL_API int bpull_disk_layer_path(struct bpull_disk *disk, uint32_t depth, char *path,
				    size_t size);
/* One sentence on something that the user should know (a file system without locks, a name of
 * allowed_dirs that does not exist), or NULL. Valid until the disk is closed. */
BPULL_API const char *bpull_disk_warning(const struct bpull_disk *disk);
/* One sentence on why the disk is slower than it could be, or NULL: a raw file's holes are read,
 * because its file system is not known to tell the truth about them (BPULL_DISK_TRUST_HOLES is for
 * users who know better). Valid until the disk is closed. */
BPULL_API const char *bpull_disk_hint(const struct bpull_disk *disk);
/* A clause, without the image's name, on what the start of the last job had to mend in the image
 * first (leaks of a killed job, a mark that it was not closed), or NULL. Valid until the next start
 * or the disk is closed. Owner thread. */
BPULL_API const char *bpull_disk_note(const struct bpull_disk *disk);

/* ---- Jobs ------------------------------------------------------------------ */

/* Numbers of libvirt's virDomainBlockJobType. */
enum bpull_job_type {
	BPULL_JOB_TYPE_UNKNOWN = 0,
	BPULL_JOB_TYPE_PULL = 1,
	BPULL_JOB_TYPE_COMMIT = 3,        /* writes backing files into one of them */
	BPULL_JOB_TYPE_ACTIVE_COMMIT = 4, /* writes the image too; in bpull_job_info only */
};

/* Where a job stands. 0 only means that there is no job: never a state of one, and never "done". */
enum bpull_job_state {
	BPULL_JOB_NONE = 0, /* no job was started on this disk */
	BPULL_JOB_RUNNING = 1,
	BPULL_JOB_PAUSED = 2,
	BPULL_JOB_WAITING = 3,   /* it has sent READY and waits for bpull_job_finalize() */
	BPULL_JOB_STOPPING = 4,  /* it commits what it copied, or drops the link */
	BPULL_JOB_CONCLUDED = 5, /* it is over; its result stays readable until the next start */
};

/* What a job does when one of its own reads or writes fails. Errors of guest requests go to the
 * guest only. */
enum bpull_on_error {
	BPULL_ON_ERROR_REPORT = 0, /* it ends as FAILED */
	BPULL_ON_ERROR_STOP = 1, /* it pauses and keeps its place; bpull_job_resume() tries again */
	BPULL_ON_ERROR_ENOSPC =
		2, /* for want of space (-ENOSPC, -EDQUOT) as STOP; else as REPORT */
	/* It leaves out a range whose data it can't read, sends BPULL_EVENT_JOB_IGNORED, goes on,
	 * keeps the link, and ends as FAILED with the first such error. Other errors are as with
	 * REPORT. One of them is that a table of the image or a backing file can't be read, because
	 * then nothing tells where data lies. */
	BPULL_ON_ERROR_IGNORE = 3,
};

enum bpull_job_flags {
	BPULL_JOB_MANUAL_FINALIZE = 1 << 0, /* stop at READY and keep the link until told */
	BPULL_JOB_START_PAUSED = 1 << 1,
	BPULL_JOB_VERIFY =
		1 << 2, /* before it drops the link, it reads back from the device what it
				      copied, and compares that with what it read. Where they
				      differ it fails with -EBADMSG and keeps the link. It does not
				      compare what the guest has written since. A commit compares
				      what base reads with what it read above base, zeros too; it
				      writes and compares again what a guest has written since.
				      Before it copies, it reads a block in each MiB (of files
				      above 8 GiB: in each 8192nd part) of the holes that it will
				      leave out: one that is not zeros is -EBADMSG, too */
	/* Go on although the image is marked: an earlier job saw a backing file change
	 * (-ESTALE), so that what it copied may be of another state than the chain is now.
	 * The mark goes when the image has no link any more. */
	BPULL_JOB_ACCEPT_MIXED = 1 << 3,
	/* For a commit of the image itself: leaves the image as it is, and it must not be used
	 * any more. What the guest has written before the job was over is in both images, later
	 * writes are in base alone. So a program that is killed around the job's end can't tell
	 * which of the two has the last ones. The guest's requests wait then until the files that
	 * are not needed any more are closed.
	 * Without this flag the commit empties the image, so that it reads all from its backing
	 * file: from then on both read the same, unless the event's message says otherwise. */
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
	/* Blocks are shared where the file system can do that (XFS, btrfs), and copied elsewhere;
	 * a job that compresses or verifies copies all, because it looks at the bytes. */
	BPULL_COPY_AUTO = 0,
	/* The job fails (-ENOTSUP) where whole clusters can't be shared. Ends that are no whole
	 * blocks are copied all the same. */
	BPULL_COPY_CLONE = 1,
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
	/* The limit of this job alone, bytes/s; 0: unlimited. It counts what the chain holds and
	 * the job copies, whether the job reads that itself or another job has read it
	 * (source_bytes + shared_bytes). What the job reads and finds to be zeros counts; what is
	 * known to be zeros does not. */
	uint64_t bandwidth;
	uint64_t burst;   /* bytes that may follow an idle time at once; 0: bandwidth / 10 */
	const char *base; /* a file of the chain, which becomes the image's backing file: the job
			       pulls what is above it. NULL: the job pulls the whole chain, and the
			       image has no backing file then. Found by device and inode, or else by
			       the recorded name */
	/* qcow2 only. Where the image has another type, the job changes that first, if no cluster
	 * is compressed yet and the header has room for it: else -ENOTSUP. Clusters that do not
	 * shrink by a sector are stored plain. Limits count guest bytes. */
	uint32_t compression;       /* enum bpull_compression */
	uint32_t compression_level; /* zlib 1-9, zstd 1-19; 0: the type's default (6, 3) */
	uint32_t on_error;          /* enum bpull_on_error */
	/* In how many percent of the time (1-100) the job may keep a run in flight while guest
	 * requests come in on its engine; 100: it never gives way to guests; 0: 25, or less (with
	 * rests of up to 16 ms for 256 KiB of a run) where the guest would lose more than one
	 * request in 32 by it. */
	uint32_t guest_share;
	uint32_t copy; /* enum bpull_copy */
	/* With base: the name that the image will record for it. It must lead to that file from
	 * the image's directory, else -EINVAL; -EINVAL, too, where base is the backing file already
	 * and recorded by another name. NULL: the library makes a name from the directories. */
	const char *base_name;
	/* The limit of this job alone on its reads of backing files and its writes into the image,
	 * requests/s; 0: unlimited. A request is as long as what it moves lies together (1 MiB at
	 * most). Tables, flushes, and blocks that are shared instead of copied do not count. */
	uint64_t iops;
	/* Which ranges the job copies before all else, in this order: a hint, which changes nothing
	 * of how the job ends and when it drops the link. Each range is widened to whole clusters
	 * and cut at the disk's end; a part that came before already is passed over. At most
	 * BPULL_FIRST_MAX, else -EINVAL. bpull_job_start() copies the array. NULL where n_first
	 * is 0. */
	const struct bpull_range *first;
	size_t n_first;
	/* The job's deadline: how long after its start it is to be done, ns; 0: none. When it is
	 * late it raises its own limit, beyond bandwidth, too; without a bandwidth it goes as
	 * slowly as the deadline allows. bpull_job_start() then counts what there is to copy, which
	 * walks tables. Time in which the job is paused or reads back (VERIFY) counts, and can't be
	 * foreseen. */
	uint64_t within_ns;
	/* The rate below which the job gives way to no guest, bytes/s; 0: none. It comes before a
	 * bandwidth that is less. */
	uint64_t min_rate;
	/* What 99 of 100 reads and writes of the disk's guest are to take at most, ns; 0: no
	 * matter. The job's limit then follows what they do take, instead of guest_share. It is
	 * never more than a deadline and a bandwidth make it, and never less than min_rate. -EINVAL
	 * where the disk was opened without GUEST_IO. */
	uint64_t guest_p99_ns;
	/* A backing file of the chain: the job is one between that file and base. PULL: that file
	 * gets what lies between the two, and its link then leads to base, or goes; the image
	 * itself reads the same all the time, and the disk may be open read-only. NULL: the image.
	 * Found as base is. */
	const char *top;
	/* enum bpull_job_type: PULL, or UNKNOWN, which means the same; or COMMIT.
	 *
	 * A commit writes what the files from top down to the one above base hold into base, which
	 * grows if it is shorter (base NULL: the file right below top). Then the link of the image
	 * above top leads to base. With top NULL it commits the image itself, while its guest
	 * writes. When all is copied it sends READY, if it is to wait for bpull_job_finalize(); at
	 * its end the guest's requests wait for a moment, and base becomes the disk's image. A
	 * guest that writes faster than the job copies is slowed towards the end, to half of the
	 * job's speed.
	 *
	 * What base reads changes from the start on. What the image and the files above top read
	 * does not. The files between top and base, and top, must not be used any more.
	 *
	 * -ENOTSUP: a file that is committed has internal snapshots, or the job has compression,
	 * COPY_CLONE or ON_ERROR_IGNORE. -EBUSY: another program or disk has base open. -EINVAL:
	 * base is longer than the image. */
	uint32_t type;
};

struct bpull_job_info {
	size_t size; /* sizeof(struct bpull_job_info) */
	enum bpull_job_type type;
	enum bpull_job_state state;
	enum bpull_job_status status; /* where state is CONCLUDED */
	int error;                    /* 0 or -errno, where status is FAILED */
	uint64_t bandwidth;           /* the job's own limit, bytes/s; 0: unlimited */
	/* How many guest bytes the job has walked, and how many there are. cur never falls, and end
	 * is 1 at least; cur == end does not mean that the job is done. */
	uint64_t cur, end;
	uint64_t copied_bytes;  /* guest data written into the image */
	uint64_t cloned_bytes;  /* shared by the file system instead of copied; not limited */
	uint64_t zero_bytes;    /* read, found to be zeros, and left out */
	uint64_t skipped_bytes; /* held by no image, or known to be zeros: not read */
	uint64_t present_bytes; /* already in the image */
	uint64_t elapsed_ns;    /* since the start; stands still once the job is concluded */
	uint64_t n_commits;     /* how often it has made durable what it copied */
	/* While an error has stopped the job (state is PAUSED then): why, where, and whether it
	 * was reading. */
	int stop_error;       /* -errno; 0: no error has stopped it */
	uint64_t stop_offset; /* byte of the file, or of the guest's disk */
	uint8_t stop_was_read;
	uint64_t verified_bytes; /* of copied_bytes, read back and found right */
	/* Where status is FAILED: 1 where a request or an operation of the job failed, 0 where a
	 * rule of the job ended it (a base that changed, a comparison); and 1 where it was
	 * reading. */
	uint8_t error_was_io, error_was_read;
	uint64_t iops;       /* the job's own limit, requests/s; 0: unlimited */
	uint64_t n_requests; /* how many requests it has made, as iops counts them */
	/* The limit that holds now, bytes/s: bandwidth, or what the job has made of it for
	 * within_ns, min_rate or guest_p99_ns; 0: unlimited. */
	uint64_t limit;
	uint64_t min_rate;    /* as it was asked for last, bytes/s; 0: it was not */
	uint64_t within_ns;   /* as it was asked for last; 0: the job has no deadline */
	uint64_t deadline_ns; /* what elapsed_ns is at the deadline; 0: the job has none */
	uint64_t needed_rate; /* what the deadline asks for now, bytes/s; 0: nothing, or over */
	/* 1: the job can't meet the deadline or min_rate. It goes as fast as files, guests and
	 * other limits allow. */
	uint8_t is_late;
	/* About how long the copying will still take, at the speed of the last seconds, ns; 0: not
	 * known, as while the job is paused or does something else. */
	uint64_t left_ns;
	uint64_t guest_p99_ns; /* as it was asked for last; 0: it was not */
	/* What 99 of 100 of the guest's reads and writes took at most in the last seconds, ns; 0:
	 * not known. */
	uint64_t guest_p99_now_ns;
	/* Bytes of the guest's disk that the job read from the chain, and those that other jobs of
	 * the engine, which read the same images at the same time, have read for it. Limits on
	 * bytes count the sum of both; the source is asked for the first, of all jobs. */
	uint64_t source_bytes, shared_bytes;
	/* Of source_bytes, what came from a file's device past the page cache. A job reads so where
	 * it is the first to read a file that is not cached; this stands still while it reads
	 * through the cache. */
	uint64_t past_cache_bytes;
};

/* Which fields of struct bpull_job_rates count. */
enum bpull_job_rate {
	BPULL_JOB_RATE_IOPS = 1 << 0,
	BPULL_JOB_RATE_WITHIN = 1 << 1, /* counted from this call on. Where the job began without
					   a deadline it estimates what is left to copy */
	BPULL_JOB_RATE_MIN = 1 << 2,
	BPULL_JOB_RATE_GUEST_P99 = 1 << 3,
};

/* What bpull_job_set_rates() changes of a job. The fields mean what they mean in struct
 * bpull_job_options. */
struct bpull_job_rates {
	size_t size;    /* sizeof(struct bpull_job_rates) */
	uint32_t which; /* enum bpull_job_rate: the fields that are set; the others stay */
	uint64_t iops;
	uint64_t within_ns;
	uint64_t min_rate;
	uint64_t guest_p99_ns;
};

/* Starts a job on a disk: by default one that pulls the whole chain into the image. The call audits
 * the image, mends it where it needs that, and maps what the job will read. The job itself begins
 * in the next bpull_engine_process(), and ends with an event (BPULL_EVENT_JOB); also on a disk
 * without a backing file, where there is nothing to do. Blocking (see the top).
 * Errors: -EINVAL unknown options, options that do not go together, or a base or top that is not in
 * the chain; -EBUSY a job runs already, or the disk is being resized; -EPERM the image is marked
 * (see BPULL_JOB_ACCEPT_MIXED), or the disk is inactive; -ESTALE with that flag, where this disk
 * itself saw the change: close it and open it again; -EROFS the disk was opened read-only; -ENOTSUP
 * / -EUCLEAN the image can't be changed safely, and nothing was written; -ENOSPC another
 * compression type than the image's is asked for, and tables of an earlier job still wait for room;
 * -EIO an earlier write to the image failed: close it and open it again. */
BPULL_API int bpull_job_start(struct bpull_disk *disk, const struct bpull_job_options *options,
			      struct bpull_error *error);
/* Says whether bpull_job_start() would refuse a job with these options: returns 0, or the error
 * with its sentence. It changes nothing. It finds all that a start refuses before it writes, but
 * for what only an audit of all of the image's tables, or opening a file for writing, would show.
 * For a pull the disk may be open read-only. Blocking (see the top). Owner thread. Errors: those of
 * bpull_job_start(); -EACCES the disk is open read-only, and this user could not open it for
 * writing. */
BPULL_API int bpull_job_check(struct bpull_disk *disk, const struct bpull_job_options *options,
			      struct bpull_error *error);
/* Tells how far a disk's job is, or how its last one ended. Any thread. Returns 1 where a job was
 * started on this disk, 0 where none was (then all of *info is zero but end, which is 1), or
 * -EINVAL. -EINVAL: the struct's size. */
BPULL_API int bpull_job_get_info(struct bpull_disk *disk, struct bpull_job_info *info);
/* Lists the files that the disk's chain has lost by its last job, if that ended as COMPLETED: the
 * i-th of them, by the name by which it was opened, upper ones first; NULL: there are no more. No
 * link of this chain names such a file any more, and it is closed, so that it may be removed where
 * no other image names it. The first one after a commit of the image itself is that image. Valid
 * until the next start or the disk is closed. Owner thread. */
BPULL_API const char *bpull_job_dropped(const struct bpull_disk *disk, uint32_t i);
/* Changes the job's own limit on bytes, at once. -ENOENT: no job runs. Any thread. */
BPULL_API int bpull_job_set_speed(struct bpull_disk *disk, uint64_t bandwidth, uint64_t burst);
/* Changes those of the job's other limits that rates->which names, at once. Any thread. Errors:
 * -ENOENT no job runs; -EINVAL rates->which names an unknown limit, the struct's size is wrong, or
 * guest_p99_ns is not 0 and the disk was opened without GUEST_IO. */
BPULL_API int bpull_job_set_rates(struct bpull_disk *disk, const struct bpull_job_rates *rates);
/* Pauses the job of a disk: it asks for no more, and what is in flight finishes and is committed.
 * Copying, proving and verifying then stand still (BPULL_JOB_PAUSED); a commit, the wait for
 * bpull_job_finalize() and the drop of the link go on. A job that an error stopped is paused
 * already. To pause a paused job is no error. -ENOENT: no job runs. Any thread. */
BPULL_API int bpull_job_pause(struct bpull_disk *disk);
/* Lets a paused job go on; where an error stopped it, it tries again what failed. To resume a job
 * that runs is no error. -ENOENT: no job runs. Any thread. */
BPULL_API int bpull_job_resume(struct bpull_disk *disk);
/* Asks the job of a disk to stop, and does not wait for that. The job commits what it copied, keeps
 * the link and ends as CANCELED; or as FAILED, where it fails first; or as COMPLETED, where the
 * header without the link is being written already. To abort it again is no error. -ENOENT: no job
 * runs. Any thread. */
BPULL_API int bpull_job_abort(struct bpull_disk *disk);
/* Lets a job that waits at READY drop the link, also one that is paused; its COMPLETED event
 * follows. A paused commit of the image itself has to be resumed first, if its guest has written
 * since. Any thread. Errors: -EAGAIN the job is not READY; -ENOENT no job runs. */
BPULL_API int bpull_job_finalize(struct bpull_disk *disk);

/* ---- Guest I/O --------------------------------------------------------------
 *
 * For disks opened with BPULL_DISK_GUEST_IO, while a job runs or not. Offsets and lengths are bytes
 * of the guest's disk, of any alignment. Submitting returns nothing: each request ends in one event
 * (BPULL_EVENT_IO) with its user_data and 0 or -errno. Owner thread.
 *
 * Errors: -EINVAL the range is not inside the disk, a flag is unknown, the vector is too long, or
 * the disk was opened without GUEST_IO; -EROFS the disk was opened read-only; -EPERM it is
 * inactive; -ENOSPC / -EDQUOT there is no room (a flush may end so, too, and may be repeated when
 * there is room again); -EFBIG the image's file can't grow any more, by its format, the file system
 * or a limit of the process: treat it like want of room; -EUCLEAN the image is damaged; -ENOMEM out
 * of memory; -EFAULT a buffer can't be used; -EIO the device failed, or an earlier write to the
 * image's tables did, after which nothing more is written.
 *
 * LIMITS. A vector has 0 to 1024 entries (else -EINVAL), each of any length and alignment, 0 too;
 * all together they reach at most to the disk's end (else -EINVAL). A request of no bytes is one
 * like others: its result is 0 where its offset is at most the disk's size, else -EINVAL; such a
 * write with FUA makes durable what was over before. The library copies the iovec array; the
 * buffers are the caller's and stay in place until the event. Any number of requests may be in
 * flight: what has no room in the engine's memory waits for its turn as a descriptor (about 1 KiB
 * and the vector). Requests in flight are in no order; of two that overlap either may win.
 *
 * Buffers must be memory that can be written (for writes: read) until the event. Where one can't,
 * what the kernel copies ends with -EFAULT; but the processor stores zeros and decoded data, and
 * faults. The library does not look before each request: that would cost a system call, and another
 * thread could unmap the buffer in between. */

enum bpull_io_flags {
	BPULL_IO_FUA = 1 << 0,   /* what is written is durable when the event comes, with the tables
				  that lead to it */
	BPULL_IO_UNMAP = 1 << 1, /* for writing zeros: the space may be given back */
};

BPULL_API void bpull_read(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			  uint64_t guest_off, void *user_data);
BPULL_API void bpull_write(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			   uint64_t guest_off, uint32_t flags, void *user_data);
/* Writes zeros: the range reads as zeros afterwards, whatever the format. */
BPULL_API void bpull_write_zeroes(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
				  uint32_t flags, void *user_data);
/* Tells that the range's content is not needed any more, so that its space may be given back. It
 * then reads as zeros or as before, never as what a backing file holds below it. Only whole
 * clusters are discarded; the rest, and all of it where the format can't record that (qcow2 version
 * 2, QED), stays as it is. */
BPULL_API void bpull_discard(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
			     void *user_data);
/* Makes durable what those requests have written that were over when this one was submitted. */
BPULL_API void bpull_flush(struct bpull_disk *disk, void *user_data);
struct bpull_extent;
/* Tells what the range consists of, in at most max extents: the event's `count` says how many were
 * filled. What is in flight may be told of or not. */
BPULL_API void bpull_block_status(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
				  struct bpull_extent *extents, int max, void *user_data);
/* Waits until all requests are over that were submitted before this call. Their events are not lost
 * but wait to be taken; the buffers may be reused at once. It does not wait for what other threads
 * submit meanwhile, nor for copies that follow reads, and makes nothing durable: that is
 * bpull_flush(). Errors: -ETIMEDOUT the time was over first; -EINVAL the disk was opened without
 * GUEST_IO. */
BPULL_API int bpull_disk_drain(struct bpull_disk *disk, int timeout_ms);
/* Switches copy-on-read on or off (BPULL_DISK_COPY_ON_READ) for requests that come from now on. Any
 * thread. Errors: -EROFS the disk was opened read-only; -EINVAL the disk was opened without
 * GUEST_IO. */
BPULL_API int bpull_disk_set_copy_on_read(struct bpull_disk *disk, int on);

/* Cell 0 of a histogram counts what took less than 1024 ns, cell i what took at least 512 << i and
 * less than 1024 << i ns, the last one all that took longer. */
#define BPULL_STATS_CELLS 32

/* What was asked of a disk by requests of one kind. This struct never grows. */
struct bpull_io_stats {
	uint64_t requests; /* how many ended well */
	uint64_t bytes;    /* how many bytes those asked for; 0 for flushes */
	/* How long those took together, from their submission to their end, ns. Of reads that are
	 * over when they are submitted (the page cache has them) every eighth is timed, for itself
	 * and seven more. */
	uint64_t total_ns;
	uint64_t errors; /* how many failed */
	/* How many were refused when they were submitted: outside the disk, with unknown flags, or
	 * to write to a disk that is read-only. */
	uint64_t refused;
	uint64_t latency[32]; /* BPULL_STATS_CELLS of them: how many of `requests` took so long */
};

/* What guest requests have asked of a disk since it was opened, the calls that wait included;
 * bpull_block_status() does not count. */
struct bpull_disk_stats {
	size_t size; /* sizeof(struct bpull_disk_stats) */
	struct bpull_io_stats read, write, flush, discard, write_zeroes;
	uint64_t write_end; /* guest offset behind the highest byte ever written, zeros too */
};

/* Tells how many requests of each kind the disk's guest has made, of how many bytes, and how long
 * they took. A request counts when its event can be taken; what is in flight does not yet. Owner
 * thread. Does not wait. -EINVAL: the struct's size. */
BPULL_API int bpull_disk_get_stats(struct bpull_disk *disk, struct bpull_disk_stats *stats);

/* The same, but waits for the result and returns it; no event comes. For engines with
 * BPULL_ENGINE_THREAD. Errors: those of requests; -EINVAL the engine has no thread of its own. */
BPULL_API int bpull_pread(struct bpull_disk *disk, void *buf, size_t len, uint64_t guest_off);
BPULL_API int bpull_pwrite(struct bpull_disk *disk, const void *buf, size_t len, uint64_t guest_off,
			   uint32_t flags);
/* The vector's limits are those above, and it is not used after the call. */
BPULL_API int bpull_preadv(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			   uint64_t guest_off);
BPULL_API int bpull_pwritev(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			    uint64_t guest_off, uint32_t flags);
BPULL_API int bpull_pwrite_zeroes(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
				  uint32_t flags);
BPULL_API int bpull_pdiscard(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
BPULL_API int bpull_pflush(struct bpull_disk *disk);
/* Returns how many extents were filled, or -errno. */
BPULL_API int bpull_pblock_status(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
				  struct bpull_extent *extents, int max);
/* The new size is durable when this returns 0. Errors: those of bpull_disk_resize(); -EINVAL the
 * engine has no thread of its own. */
BPULL_API int bpull_presize(struct bpull_disk *disk, uint64_t len, struct bpull_error *error);
/* Waits until the disk's job is concluded; where there is none, does not wait. A job that is READY,
 * or paused, also by an error, does not conclude before another thread finalizes, resumes or aborts
 * it: without a time-out the call waits for that. The job's event comes all the same, and tells how
 * it ended. Errors: -ETIMEDOUT the time was over first; -EINVAL the engine has no thread of its own
 * (BPULL_ENGINE_THREAD). */
BPULL_API int bpull_job_wait(struct bpull_disk *disk, int timeout_ms);

/* ---- Images at rest -------------------------------------------------------- */

/* What a range of the guest's disk is. The fields mean what `qemu-img map --output=json` means by
 * them. */
struct bpull_extent {
	uint64_t start, length; /* guest bytes */
	uint32_t depth;         /* which image of the chain answers: 0 is the top one */
	uint8_t present;        /* 1: some image of the chain holds it; 0: it only reads as zeros */
	uint8_t zero;           /* 1: it reads as zeros */
	uint8_t data;           /* 1: that image holds bytes for it */
	uint8_t compressed;     /* 1: that image holds it compressed */
	uint8_t has_offset;     /* 1: offset says where it lies */
	uint8_t reserved[7];    /* zero */
	uint64_t offset;        /* byte in that image's file, where has_offset is 1 */
};

/* Maps up to max extents of the guest's disk from `start` on; neighbours of one kind are one
 * extent. Blocking (see the top). Returns how many it filled; 0: the disk ends at or before
 * `start`. Errors: -EPERM the disk is inactive; -EUCLEAN a table is damaged;
 * -EIO or another code of a file: a table can't be read; -EINVAL max is not at least 1. */
BPULL_API int bpull_disk_map(struct bpull_disk *disk, uint64_t start, struct bpull_extent *extents,
			     int max, struct bpull_error *error);

/* How the format of a backing file is known. */
enum bpull_format_from {
	BPULL_FORMAT_NOT_KNOWN = 0, /* no backing file; or no record of it, and it was not opened */
	BPULL_FORMAT_RECORDED = 1,  /* the image above it records it */
	BPULL_FORMAT_PROBED = 2,    /* the file looks so; or, below QED, opening it will tell */
	BPULL_FORMAT_TOLD = 3,      /* the options it was opened with say so */
};

/* One image of a chain. The strings are the description's, valid until bpull_info_close(). They
 * come from the image and may hold any byte but NUL: escape them before you print them. */
struct bpull_layer_info {
	size_t size;      /* sizeof(struct bpull_layer_info) */
	const char *path; /* the name by which it was opened */
	enum bpull_format format;
	uint64_t virtual_size;      /* of the guest's disk, bytes */
	uint64_t file_size;         /* length of the file, bytes */
	uint64_t disk_size;         /* bytes that it takes on its file system */
	uint32_t cluster_size;      /* bytes */
	const char *backing_name;   /* as recorded, or NULL */
	const char *backing_format; /* as recorded, or NULL */
	uint32_t version;           /* qcow2: 2 or 3; else 0 */
	uint32_t refcount_bits;     /* qcow2; else 0 */
	uint32_t table_size;        /* QED: clusters of a table; else 0 */
	uint32_t n_snapshots;       /* qcow2: internal snapshots */
	const char *compression;    /* qcow2: "zlib" or "zstd"; else NULL */
	const char *encryption;     /* "aes" or "luks"; NULL: none */
	uint8_t dirty;              /* 1: marked as not closed (qcow2 dirty bit, QED NEED_CHECK) */
	uint8_t corrupt;            /* 1: marked as corrupt */
	uint8_t lazy_refcounts;     /* 1: qcow2 with lazy refcounts */
	uint8_t extended_l2;        /* 1: qcow2 with subclusters */
	uint8_t has_data_file;      /* 1: its data lies in a file of its own */
	uint8_t has_bitmaps;        /* 1: qcow2 with persistent bitmaps */
	const char *unreadable;     /* why it can't be read, or NULL */
	const char *unwritable;     /* why a pull into it would be refused, or NULL */
	const char *data_file;      /* the external data file, as recorded, or NULL; not opened */
	uint8_t data_file_raw;      /* 1: the data file is marked to be the disk by itself */
	/* 1: it is marked, because what was copied into it may be of another state of its backing
	 * files than they are in now. A job needs BPULL_JOB_ACCEPT_MIXED. */
	uint8_t mixed;
	enum bpull_format_from backing_format_from; /* how its backing file's format is known */
	enum bpull_format backing_opened_as; /* UNKNOWN: no backing file, or it was not opened */
	enum bpull_remedy unwritable_remedy; /* what would let a pull into it pass */
};

/* Describes an image and, unless flags has BPULL_DISK_NO_BACKING, its chain, also where their
 * features are not supported. It opens them as bpull_disk_open() does with READ_ONLY. Flags are
 * READ_ONLY, FORCE_SHARE, NO_BACKING, READ_HOLES and TRUST_HOLES only. Blocking (see the top).
 * Errors: those of bpull_disk_open(). */
struct bpull_info;
BPULL_API int bpull_info_open(const char *path, const struct bpull_disk_options *options,
			      struct bpull_info **info, struct bpull_error *error);
BPULL_API unsigned bpull_info_depth(const struct bpull_info *info);
/* Fills *layer with the description of one image. -EINVAL: there is no such image, or the struct's
 * size. */
BPULL_API int bpull_info_layer(const struct bpull_info *info, unsigned i,
			       struct bpull_layer_info *layer);
BPULL_API void bpull_info_close(struct bpull_info *info); /* NULL is allowed */

enum bpull_repair {
	BPULL_REPAIR_NONE = 0,  /* changes nothing */
	BPULL_REPAIR_LEAKS = 1, /* frees leaked clusters, where the image has no worse damage */
	BPULL_REPAIR_ALL = 2,   /* mends refcounts and flags, too, and takes the marks dirty and
				   corrupt away */
};

struct bpull_check_options {
	size_t size;              /* sizeof(struct bpull_check_options) */
	uint32_t flags;           /* BPULL_DISK_FORCE_SHARE */
	enum bpull_format format; /* UNKNOWN: probed */
	/* The library calls it for each finding, max_reports times at most. NULL: nothing is
	 * called. Must not call the library; `text` is valid during the call only. */
	void (*report)(void *opaque, int is_leak, const char *text);
	void *opaque;         /* passed to report() and opened() */
	uint64_t max_reports; /* 0: 100 */
	enum bpull_repair repair;
	void (*opened)(void *opaque); /* as bpull_disk_options.opened, with opaque */
};

/* With a repair, the numbers are of what is there afterwards. */
struct bpull_check_result {
	size_t size; /* sizeof(struct bpull_check_result) */
	enum bpull_format format;
	uint64_t n_corruptions;  /* broken entries, refcounts that are too low, overlaps */
	uint64_t n_leaks;        /* clusters that nothing refers to: space is lost, no data */
	uint64_t n_check_errors; /* what could not be read, so that the check is not whole */
	/* Clusters of the guest's disk: with data, compressed, of zeros, and all. */
	uint64_t n_allocated_clusters, n_compressed_clusters, n_zero_clusters, n_total_clusters;
	uint64_t image_end_offset; /* the byte of the file behind the last one that is in use */
	uint64_t n_corruptions_fixed, n_leaks_fixed; /* what a repair has mended */
	uint8_t marks_cleared; /* 1: a repair took away the mark dirty, corrupt or NEED_CHECK */
	char unrepaired[384];  /* why a repair left something, or "" */
	uint8_t mixed;         /* as bpull_layer_info has it: no damage, and not repaired */
};

/* Checks the metadata of one image, not of its backing files, in bounded memory. It returns 0 when
 * the check ran to its end, whatever it found: *result says that.
 *
 * With a repair it opens the image for writing, under QEMU's locks, and mends it in place. It never
 * changes what refers to what, so that the guest's disk reads the same before, afterwards and after
 * a power cut at any moment. What it can't mend so it leaves, and says so in `unrepaired`. An error
 * of a repair loses nothing. Blocking (see the top). Errors: those of bpull_disk_open(); -ENOTSUP
 * the format has nothing to check, or the image has a feature that is not supported; -EBUSY another
 * program has the image open; -EIO or another code of the file: reading or writing failed; -EINVAL
 * unknown options. */
BPULL_API int bpull_check(const char *path, const struct bpull_check_options *options,
			  struct bpull_check_result *result, struct bpull_error *error);

struct bpull_measure {
	size_t size;         /* sizeof(struct bpull_measure) */
	uint64_t guest_size; /* virtual size of the guest's disk, bytes */
	uint64_t file_size;  /* of the image's file, or of the block device, now */
	/* How far into its file, or device, the image reaches after a pull at most, bytes. Copied
	 * bytes that are zeros take no space, but only reading them tells how many there are. */
	uint64_t needed_size;
	uint64_t growth;     /* how much the file grows at most, bytes; a device never does */
	uint64_t missing;    /* by how many bytes a device is too small; 0: it suffices */
	uint64_t copy_bytes; /* guest data to be read and copied at most, bytes */
	uint8_t is_device;   /* 1: a block device, which cannot grow */
	uint8_t has_backing; /* 0: there is nothing to pull */
	/* 1: the image's data lies in a file of its own (on a device). The guest's bytes are in
	 * there, tables and refcounts in the image's file. */
	uint8_t has_data_file, data_is_device;
	/* The same numbers of that file; without one 0. */
	uint64_t data_file_size, data_needed_size, data_growth, data_missing;
};

/* Computes how much space a pull of the whole chain into the image needs, with what a pull mends
 * first (leaks, an image that was not closed). It opens the image as bpull_disk_open() does with
 * READ_ONLY, and changes nothing. Flags are READ_ONLY, FORCE_SHARE, READ_HOLES, TRUST_HOLES, and
 * DIRECT where the pull is to have that. A device that is too small is no error: *result tells of
 * it. Blocking (see the top). Errors: those of bpull_disk_open(), and those with which
 * bpull_job_start() refuses a job before the first write; -EFBIG the format can't hold the
 * result. */
BPULL_API int bpull_image_measure(const char *path, const struct bpull_disk_options *options,
				  struct bpull_measure *result, struct bpull_error *error);
/* As bpull_image_measure(), for the pull that these job options start. Of them top, base,
 * compression and the flag ACCEPT_MIXED matter here. With a top the numbers are those of that file.
 * Errors: those of bpull_image_measure(); -EINVAL unknown options, or a top or base that is not in
 * the chain; -ENOTSUP the job is a commit. */
BPULL_API int bpull_measure_job(const char *path, const struct bpull_disk_options *options,
				const struct bpull_job_options *job, struct bpull_measure *result,
				struct bpull_error *error);

struct bpull_create_options {
	size_t size;              /* sizeof(struct bpull_create_options) */
	enum bpull_format format; /* QCOW2 or QED */
	uint64_t virtual_size;    /* of the guest's disk, bytes; 0: that of the backing file, which
				   * must be there then (but see empty) */
	const char *backing_name; /* recorded as given; relative to the new image; NULL: none */
	enum bpull_format backing_format; /* required with backing_name; without it -EINVAL */
	uint32_t cluster_size;            /* bytes, a power of two; 0: 65536 */
	uint32_t version;                 /* qcow2: 2 or 3; 0: 3 */
	uint32_t refcount_bits;           /* qcow2: 1..64; 0: 16 */
	uint32_t table_size;              /* qed: 2..16; 0: 4 */
	uint8_t lazy_refcounts;           /* qcow2: 1 with lazy refcounts */
	uint8_t zstd;                     /* qcow2: 1 for compression type zstd instead of zlib */
	uint8_t empty; /* 1: a virtual_size of 0 means a disk of no bytes; with another size
			* -EINVAL */
	/* The library calls it with user_data when it has looked at the backing file, just before
	 * it makes the new file. From here to its return the call waits for no file but the new
	 * one, and what ends the process may leave a file under a temporary name. Must not call the
	 * library. NULL: nothing is called. For bpull_flatten_open() it is NULL. */
	void (*creating)(void *user_data);
	void *user_data; /* passed to creating() */
	/* As in bpull_disk_options: a backing_name for which it answers is recorded as it stands.
	 * For bpull_flatten_open() it is NULL. */
	int (*find_base)(void *find_opaque, const struct bpull_open_request *request,
			 struct bpull_base *base, struct bpull_error *error);
	void *find_opaque; /* -EINVAL without find_base */
};

/* Makes a new image. The file gets its name when it is durable, and never takes the place of
 * another. Blocking (see the top). Errors: -EEXIST a file has that name; -EINVAL unknown options,
 * options that do not go together or with the format, or a size that the format can't have; those
 * of bpull_disk_open() for the backing file; -ENOENT / -EACCES / -ENOSPC or another code of the
 * file system: the file can't be made. */
BPULL_API int bpull_create(const char *path, const struct bpull_create_options *options,
			   struct bpull_error *error);

/* ---- Snapshots -------------------------------------------------------------- */

enum bpull_snapshot_flags {
	/* The image `path` exists already: without data, as long as the disk, with a link to the
	 * image that it is to lie on. Of `create` only the format may be given. */
	BPULL_SNAPSHOT_EXISTING = 1 << 0,
};

struct bpull_snapshot {
	size_t size; /* sizeof(struct bpull_snapshot) */
	struct bpull_disk *disk;
	/* The new overlay. A name that is in use is refused (-EEXIST), but with EXISTING. */
	const char *path;
	/* What the overlay is to be; NULL: qcow2 with clusters of 64 KiB. Its format UNKNOWN means
	 * qcow2, or with EXISTING what the file looks like. Its backing_name is what the overlay
	 * records as the name of the image below it, and must lead there from the overlay's
	 * directory; NULL: that image's own name where both lie in one directory, else its absolute
	 * path with links resolved. Its backing_format and virtual_size are 0, or what they would
	 * be anyway (else -EINVAL), and its empty and find_base are 0. */
	const struct bpull_create_options *create;
	uint32_t flags; /* enum bpull_snapshot_flags */
	/* With EXISTING, for a disk whose files the program opened, which needs it: opens files as
	 * bpull_disk_options.open_file does. The library asks first for the new overlay (path), and
	 * then, for reading, for the name that the overlay records: any descriptor of the file that
	 * it is to lie on shows that this is the one. Called with open_opaque on the caller's
	 * thread, only inside the call; must not call the library. NULL: names are opened. */
	int (*open_file)(void *open_opaque, const struct bpull_open_request *request);
	void *open_opaque; /* -EINVAL without open_file */
};

/* Puts a new overlay on top of the chain of each disk: all of the disks get theirs, or none. Where
 * a disk is named more than once, each of its overlays lies on the one before, and the last one
 * becomes the top. The image so far holds the disk as it is at that moment, and is only read from
 * now on, as a backing file is (other programs may read it, too); so are overlays on which others
 * lie.
 *
 * The moment lies between two requests of all the guests. Requests that were submitted before are
 * over on the old image; those that come meanwhile wait, and go on with the new one. Before the
 * first write to a new image all of them are durable, name and all, and so is all that was written
 * before. A new image gets the mode of the image below it.
 *
 * The disk stays what it was to the program: its flags hold for the new image, and its size is the
 * same (of a raw disk: rounded up to 512 bytes). Names that were allowed and formats that were told
 * when it was opened count no more. While this call runs, no job starts on the disk.
 *
 * The call waits for requests in flight; in an engine without a thread it runs the engine's rounds.
 * After an error all is as before, and what was made is removed again. Blocking (see the top).
 * Owner thread. Errors: -EINVAL unknown options, disks of different engines, or a disk that is
 * read-only or bpull_flatten_open()'s; -EPERM a disk is inactive; -EBUSY a job runs on a disk, or
 * its size has changed meanwhile; -EIO an earlier write to the image failed: close it and open it
 * again; -EEXIST a file has the new name; -ENOENT or another code of the file system: the new image
 * can't be made or opened; -ENOSPC there is no room for it, or for what has to be durable; -ELOOP
 * the chain is too long; -ENOTSUP the program opened the disk's files, and does not hand over the
 * new overlay in the same way; -ESTALE a disk's image was moved or removed. */
BPULL_API int bpull_disk_snapshot(const struct bpull_snapshot *snapshots, unsigned n,
				  struct bpull_error *error);

#ifdef __cplusplus
}
#endif

#endif
