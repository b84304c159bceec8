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
	BPULL_VIRT_BLOCK_JOB_TYPE_COMMIT = 3,
	BPULL_VIRT_BLOCK_JOB_TYPE_ACTIVE_COMMIT = 4,
};

/* virConnectDomainEventBlockJobStatus. */
enum bpull_virt_block_job_status {
	BPULL_VIRT_BLOCK_JOB_COMPLETED = 0,
	BPULL_VIRT_BLOCK_JOB_FAILED = 1,
	BPULL_VIRT_BLOCK_JOB_CANCELED = 2,
	BPULL_VIRT_BLOCK_JOB_READY = 3,
};

/* virDomainBlockPullFlags: its bits are a subset of virDomainBlockRebase()'s, hence 64. */
enum bpull_virt_block_pull_flags {
	BPULL_VIRT_BLOCK_PULL_BANDWIDTH_BYTES = 1 << 6,
};

/* virDomainBlockRebaseFlags. Those that are for copies are refused. */
enum bpull_virt_block_rebase_flags {
	BPULL_VIRT_BLOCK_REBASE_SHALLOW = 1 << 0,
	BPULL_VIRT_BLOCK_REBASE_REUSE_EXT = 1 << 1,
	BPULL_VIRT_BLOCK_REBASE_COPY_RAW = 1 << 2,
	BPULL_VIRT_BLOCK_REBASE_COPY = 1 << 3,
	BPULL_VIRT_BLOCK_REBASE_RELATIVE = 1 << 4,
	BPULL_VIRT_BLOCK_REBASE_COPY_DEV = 1 << 5,
	BPULL_VIRT_BLOCK_REBASE_BANDWIDTH_BYTES = 1 << 6,
};

/* virDomainBlockCommitFlags. */
enum bpull_virt_block_commit_flags {
	BPULL_VIRT_BLOCK_COMMIT_SHALLOW = 1 << 0,
	BPULL_VIRT_BLOCK_COMMIT_DELETE = 1 << 1, /* refused: files are the program's to remove */
	BPULL_VIRT_BLOCK_COMMIT_ACTIVE = 1 << 2,
	BPULL_VIRT_BLOCK_COMMIT_RELATIVE = 1 << 3,
	BPULL_VIRT_BLOCK_COMMIT_BANDWIDTH_BYTES = 1 << 4,
};

/* virDomainBlockJobInfoFlags. */
enum bpull_virt_block_job_info_flags {
	BPULL_VIRT_BLOCK_JOB_INFO_BANDWIDTH_BYTES = 1 << 0,
};

/* virDomainBlockJobAbortFlags. */
enum bpull_virt_block_job_abort_flags {
	BPULL_VIRT_BLOCK_JOB_ABORT_ASYNC = 1 << 0,
	BPULL_VIRT_BLOCK_JOB_ABORT_PIVOT = 1 << 1, /* of a commit of the image itself */
};

/* virDomainBlockJobSetSpeedFlags. */
enum bpull_virt_block_job_set_speed_flags {
	BPULL_VIRT_BLOCK_JOB_SPEED_BANDWIDTH_BYTES = 1 << 0,
};

/* virDomainBlockJobInfo, which has no size and never grows. */
struct bpull_virt_block_job_info {
	int type;                /* enum bpull_virt_block_job_type */
	unsigned long bandwidth; /* MiB/s, rounded up, or bytes/s; 0: no limit */
	unsigned long long cur;  /* cur == end does not mean that it is over, as with libvirt */
	unsigned long long end;
};

struct bpull_virt;

/* options: how images are opened, and the engine; NULL: all defaults. The strings and lists in them
 * must last as long as the handle. Free with bpull_virt_close(). */
BPULL_API int bpull_virt_open(const struct bpull_engine_options *engine_options,
			      const struct bpull_disk_options *disk_options,
			      struct bpull_virt **virt, struct bpull_error *error);
/* Aborts what runs (without callbacks) and closes everything; not from a callback. NULL is
 * allowed. */
BPULL_API void bpull_virt_close(struct bpull_virt *virt);
/* Its engine (BPULL_ENGINE_THREAD). All its events are taken by the dispatcher: guests of disks on
 * it use the calls that wait. */
BPULL_API struct bpull_engine *bpull_virt_engine(struct bpull_virt *virt);
/* Makes an open disk of that engine known under a path, so that jobs by that path are this disk's.
 * It stays the caller's: bpull_virt_detach() before it is closed. */
BPULL_API int bpull_virt_attach(struct bpull_virt *virt, const char *path, struct bpull_disk *disk,
				struct bpull_error *error);
/* The path is not known any more. A job that runs goes on, but without callbacks and for
 * bpull_job_...() calls only. Waits for calls by that path in other threads (an abort that waits
 * for the job is one), so that the disk may be closed next; may be called from a callback. -ENOENT:
 * none is attached there. */
BPULL_API int bpull_virt_detach(struct bpull_virt *virt, const char *path,
				struct bpull_error *error);

/* Starts pulling the whole chain into the image, as virDomainBlockPull(). bandwidth: MiB/s, or
 * bytes/s with the flag; 0: no limit. What is not attached is opened, and closed when the job is
 * over. */
BPULL_API int bpull_virt_block_pull(struct bpull_virt *virt, const char *path,
				    unsigned long bandwidth, unsigned int flags,
				    struct bpull_error *error);
/* As virDomainBlockRebase() without COPY: pulls what lies above `base`, a file of the chain, into
 * the image, whose link leads to it then. NULL: the whole chain, as bpull_virt_block_pull().
 * RELATIVE: with a base, and only where each link above it is recorded by a relative name
 * (-ENOTSUP); the new one is then, too. -EINVAL: other flags. */
BPULL_API int bpull_virt_block_rebase(struct bpull_virt *virt, const char *path, const char *base,
				      unsigned long bandwidth, unsigned int flags,
				      struct bpull_error *error);
/* As virDomainBlockCommit(): what the files from `top` down to above `base` hold goes into `base`.
 * base NULL: the chain's last file, or with SHALLOW the one right below top; with SHALLOW it must
 * be NULL. top NULL: the image itself, which needs ACTIVE. Then the job is READY when all is there,
 * and goes on with what the guest writes, until bpull_virt_block_job_abort() ends it: with PIVOT
 * the disk's image is `base` from then on, and the old one is left as it is; without, nothing has
 * changed for it. RELATIVE as of bpull_virt_block_rebase(). No other image may read from base, or
 * from a file between: that is the program's to know. -EINVAL: flags that do not go together,
 * -ENOTSUP: DELETE. */
BPULL_API int bpull_virt_block_commit(struct bpull_virt *virt, const char *path, const char *base,
				      const char *top, unsigned long bandwidth, unsigned int flags,
				      struct bpull_error *error);
/* As virDomainGetBlockJobInfo(): 1 and *info filled; 0: no job runs on it; -1. */
BPULL_API int bpull_virt_block_job_info(struct bpull_virt *virt, const char *path,
					struct bpull_virt_block_job_info *info, unsigned int flags,
					struct bpull_error *error);
/* As virDomainBlockJobAbort(): when it returns 0 no job runs any more, with ASYNC it may still. The
 * job may win and complete. A CANCELED event is sent in both cases. A later pull goes on where it
 * stopped. PIVOT: completes a commit of the image itself, which must be READY (-EAGAIN); of
 * others -EINVAL. */
BPULL_API int bpull_virt_block_job_abort(struct bpull_virt *virt, const char *path,
					 unsigned int flags, struct bpull_error *error);
/* As virDomainBlockJobSetSpeed(). */
BPULL_API int bpull_virt_block_job_set_speed(struct bpull_virt *virt, const char *path,
					     unsigned long bandwidth, unsigned int flags,
					     struct bpull_error *error);

/* virConnectDomainEventBlockJobCallback: `path` as it was given to bpull_virt_block_pull(), or
 * attached. */
typedef void (*bpull_virt_block_job_callback)(struct bpull_virt *virt, const char *path, int type,
					      int status, void *opaque);
/* Called for every event from now on, in the dispatcher's thread, with no lock held: other
 * functions may be called from it. Returns an id, or -1. */
BPULL_API int bpull_virt_event_register(struct bpull_virt *virt,
					bpull_virt_block_job_callback callback, void *opaque,
					struct bpull_error *error);
/* It is called no more when this returns; not from a callback. */
BPULL_API int bpull_virt_event_deregister(struct bpull_virt *virt, int id,
					  struct bpull_error *error);

#ifdef __cplusplus
}
#endif

#endif
