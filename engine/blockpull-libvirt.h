/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libvirt's block jobs, in libvirt's words and numbers, over libblockpull: for
 * programs written against virDomainBlockPull() and its family.
 *
 * Sources. The shape is the V2 proposal of July 2011 ("BlockPull, BlockJobAbort,
 * GetBlockJobInfo, BlockJobSetSpeed, an event"); numbers and semantics are those
 * of libvirt-domain.h today. Where the two differ today's is taken: the type
 * UNKNOWN is 0 (it was -1), and bandwidth is MiB/s (it was Mbps).
 *
 * A disk is named by the fully-qualified path of its image. A handle owns an
 * engine with a thread of its own and a dispatcher thread; every function may
 * be called from any thread. They return 0 (or as said), and -1 with *error filled
 * (NULL is allowed).
 */
#ifndef BLOCKPULL_LIBVIRT_H
#define BLOCKPULL_LIBVIRT_H

#include "blockpull.h"

#ifdef __cplusplus
extern "C" {
#endif

/* virDomainBlockJobType; the others never occur here. */
enum bpull_virt_block_job_type {
	BPULL_VIRT_BLOCK_JOB_TYPE_UNKNOWN = 0,
	BPULL_VIRT_BLOCK_JOB_TYPE_PULL = 1,
	BPULL_VIRT_BLOCK_JOB_TYPE_COMMIT = 3,        /* of backing files */
	BPULL_VIRT_BLOCK_JOB_TYPE_ACTIVE_COMMIT = 4, /* of the image itself */
};

/* virConnectDomainEventBlockJobStatus. */
enum bpull_virt_block_job_status {
	BPULL_VIRT_BLOCK_JOB_COMPLETED = 0,
	BPULL_VIRT_BLOCK_JOB_FAILED = 1,
	BPULL_VIRT_BLOCK_JOB_CANCELED = 2,
	BPULL_VIRT_BLOCK_JOB_READY = 3, /* only of a commit of the image itself */
};

/* virDomainBlockPullFlags: its bits are a subset of virDomainBlockRebase()'s, hence 64. */
enum bpull_virt_block_pull_flags {
	BPULL_VIRT_BLOCK_PULL_BANDWIDTH_BYTES = 1 << 6, /* bandwidth is bytes/s */
};

/* virDomainBlockRebaseFlags. Those that are for copies only are refused. */
enum bpull_virt_block_rebase_flags {
	BPULL_VIRT_BLOCK_REBASE_SHALLOW = 1 << 0,         /* refused */
	BPULL_VIRT_BLOCK_REBASE_REUSE_EXT = 1 << 1,       /* refused */
	BPULL_VIRT_BLOCK_REBASE_COPY_RAW = 1 << 2,        /* refused */
	BPULL_VIRT_BLOCK_REBASE_COPY = 1 << 3,            /* refused */
	BPULL_VIRT_BLOCK_REBASE_RELATIVE = 1 << 4,        /* the new link is a relative name */
	BPULL_VIRT_BLOCK_REBASE_COPY_DEV = 1 << 5,        /* refused */
	BPULL_VIRT_BLOCK_REBASE_BANDWIDTH_BYTES = 1 << 6, /* bandwidth is bytes/s */
};

/* virDomainBlockCommitFlags. */
enum bpull_virt_block_commit_flags {
	BPULL_VIRT_BLOCK_COMMIT_SHALLOW = 1 << 0,  /* into the file right below top */
	BPULL_VIRT_BLOCK_COMMIT_DELETE = 1 << 1,   /* refused: the program removes files itself */
	BPULL_VIRT_BLOCK_COMMIT_ACTIVE = 1 << 2,   /* the image itself is committed */
	BPULL_VIRT_BLOCK_COMMIT_RELATIVE = 1 << 3, /* the new link is a relative name */
	BPULL_VIRT_BLOCK_COMMIT_BANDWIDTH_BYTES = 1 << 4, /* bandwidth is bytes/s */
};

/* virDomainBlockJobInfoFlags. */
enum bpull_virt_block_job_info_flags {
	BPULL_VIRT_BLOCK_JOB_INFO_BANDWIDTH_BYTES = 1 << 0, /* tells bandwidth in bytes/s */
};

/* virDomainBlockJobAbortFlags. */
enum bpull_virt_block_job_abort_flags {
	BPULL_VIRT_BLOCK_JOB_ABORT_ASYNC = 1 << 0, /* does not wait for the job's end */
	BPULL_VIRT_BLOCK_JOB_ABORT_PIVOT = 1 << 1, /* completes a commit of the image itself */
};

/* virDomainBlockJobSetSpeedFlags. */
enum bpull_virt_block_job_set_speed_flags {
	BPULL_VIRT_BLOCK_JOB_SPEED_BANDWIDTH_BYTES = 1 << 0, /* bandwidth is bytes/s */
};

/* virDomainBlockJobInfo, which has no size and never grows. */
struct bpull_virt_block_job_info {
	int type;                /* enum bpull_virt_block_job_type */
	unsigned long bandwidth; /* MiB/s, rounded up, or bytes/s with the flag; 0: no limit */
	unsigned long long cur;  /* guest bytes that the job has walked. cur == end does not mean
				    that it is over: libvirt's does not either */
	unsigned long long end;  /* how many there are */
};

struct bpull_virt;

/* Opens a handle: an engine with a thread of its own, and a thread that calls the callbacks. Close
 * it with bpull_virt_close(). The strings and lists of the options must last as long as it. */
BPULL_API int bpull_virt_open(const struct bpull_engine_options *engine_options,
			      const struct bpull_disk_options *disk_options,
			      struct bpull_virt **virt, struct bpull_error *error);
/* Closes a handle: aborts the jobs that run, without callbacks for that, and closes the engine with
 * all disks that are open on it. NULL is allowed. */
BPULL_API void bpull_virt_close(struct bpull_virt *virt);
/* Tells the handle's engine, on which a program may open disks to attach. It has a thread of its
 * own (BPULL_ENGINE_THREAD). The handle's other thread takes all of its events, so that guests of
 * these disks use the calls that wait, such as bpull_pread(). */
BPULL_API struct bpull_engine *bpull_virt_engine(struct bpull_virt *virt);
/* Makes an open disk of the handle's engine known under a path: a job by that path is a job of this
 * disk. It stays the caller's, who calls bpull_virt_detach() before closing it. Errors: -EINVAL the
 * path is not absolute; -ENOENT or another code of the file system: it leads nowhere; -EBUSY
 * another disk is known under that path. */
BPULL_API int bpull_virt_attach(struct bpull_virt *virt, const char *path, struct bpull_disk *disk,
				struct bpull_error *error);
/* Forgets a disk that bpull_virt_attach() made known. A job of it goes on, but without callbacks,
 * and only the bpull_job_...() calls reach it. The call waits for calls by that path in other
 * threads (an abort that waits for the job is one), so that the disk may be closed next. A callback
 * may call it. -ENOENT: no disk is attached under that path. */
BPULL_API int bpull_virt_detach(struct bpull_virt *virt, const char *path,
				struct bpull_error *error);

/* Starts pulling the whole chain into the image, as virDomainBlockPull() does. An image that is not
 * attached is opened, and closed when the job is over. Errors: those of bpull_disk_open() and
 * bpull_job_start(); -EINVAL unknown flags, or a path that is not absolute; -ERANGE the bandwidth
 * in MiB/s is 2^63 bytes/s or more. */
BPULL_API int bpull_virt_block_pull(struct bpull_virt *virt, const char *path,
				    unsigned long bandwidth, unsigned int flags,
				    struct bpull_error *error);
/* Starts pulling what lies above `base`, a file of the chain, into the image, whose link leads to
 * base afterwards: as virDomainBlockRebase() does without COPY. With base NULL it does what
 * bpull_virt_block_pull() does. With RELATIVE, which needs a base, the image records the new link
 * by a relative name. Errors: those of bpull_virt_block_pull(); -ENOTSUP COPY, or RELATIVE where a
 * link above base is recorded by an absolute name; -EINVAL other flags of copies, or RELATIVE
 * without a base. */
BPULL_API int bpull_virt_block_rebase(struct bpull_virt *virt, const char *path, const char *base,
				      unsigned long bandwidth, unsigned int flags,
				      struct bpull_error *error);
/* Starts writing what the files from `top` down to the one above `base` hold into `base`, as
 * virDomainBlockCommit() does. With top NULL, which needs ACTIVE, it commits the image itself: the
 * job sends READY when all is there, and goes on with what the guest writes, until
 * bpull_virt_block_job_abort() ends it. With PIVOT the disk's image is `base` from then on, and the
 * old one is left as it is; without, the disk's image stays what it was. No other image may read
 * from base, or from a file between: only the program can know that. RELATIVE means what it means
 * to bpull_virt_block_rebase(). What top and base name is looked for in the chain that the disk has
 * now. Errors: those of bpull_virt_block_pull(); -EINVAL flags that do not go together, a base with
 * SHALLOW, a top or base that is not in the chain, or the image itself without ACTIVE; -ENOTSUP the
 * flag DELETE, or RELATIVE where a link above base is recorded by an absolute name. */
BPULL_API int bpull_virt_block_commit(struct bpull_virt *virt, const char *path, const char *base,
				      const char *top, unsigned long bandwidth, unsigned int flags,
				      struct bpull_error *error);
/* Tells how far the job of a disk is, as virDomainGetBlockJobInfo() does. Returns 1 with *info
 * filled, 0 where no job runs, or -1. Errors: -EINVAL unknown flags; -EOVERFLOW bytes/s were asked
 * for, and the limit is beyond an unsigned long of 32 bits. */
BPULL_API int bpull_virt_block_job_info(struct bpull_virt *virt, const char *path,
					struct bpull_virt_block_job_info *info, unsigned int flags,
					struct bpull_error *error);
/* Stops the job of a disk, as virDomainBlockJobAbort() does, and waits for that; with ASYNC it only
 * asks for it. A CANCELED event comes, unless the job completes first. A later pull goes on where
 * this one stopped. With PIVOT it completes a commit of the image itself: 0 means that base is the
 * disk's image now, or with ASYNC that this was asked for. Errors: -ENOENT no job runs; -EAGAIN
 * PIVOT, and the job is not READY; -EINVAL PIVOT of another job, or unknown flags; -ECANCELED /
 * -EIO or another code of the file: the job has ended without its pivot. */
BPULL_API int bpull_virt_block_job_abort(struct bpull_virt *virt, const char *path,
					 unsigned int flags, struct bpull_error *error);
/* Changes the limit of the job of a disk at once, as virDomainBlockJobSetSpeed() does. Errors:
 * -ENOENT no job runs; -EINVAL unknown flags; -ERANGE the bandwidth in MiB/s is 2^63 bytes/s or
 * more. */
BPULL_API int bpull_virt_block_job_set_speed(struct bpull_virt *virt, const char *path,
					     unsigned long bandwidth, unsigned int flags,
					     struct bpull_error *error);

/* virConnectDomainEventBlockJobCallback. `path` is the one by which the job was started, or the
 * disk attached; valid during the call. */
typedef void (*bpull_virt_block_job_callback)(struct bpull_virt *virt, const char *path, int type,
					      int status, void *opaque);
/* Has a function called for every event of the handle's jobs from now on. The handle's thread calls
 * it, with no lock held: it may call other functions of this header, but for bpull_virt_close() and
 * bpull_virt_event_deregister(). -ENOSPC: too many functions are registered. */
BPULL_API int bpull_virt_event_register(struct bpull_virt *virt,
					bpull_virt_block_job_callback callback, void *opaque,
					struct bpull_error *error);
/* Takes a registration back: when this returns, the function is called no more. -EINVAL: nothing is
 * registered under that id. */
BPULL_API int bpull_virt_event_deregister(struct bpull_virt *virt, int id,
					  struct bpull_error *error);

#ifdef __cplusplus
}
#endif

#endif
