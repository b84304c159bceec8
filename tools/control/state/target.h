/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The disk that a control socket serves, its jobs as clients see them, and its chain's files. */
#ifndef TOOLS_CONTROL_TARGET_H
#define TOOLS_CONTROL_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json_object.h>

#include "engine/blockpull.h"
#include "tools/words/job_json.h"

#define CONTROL_NODE_NAME_CAP 32 /* with its NUL, as QEMU has it */

#define CONTROL_LINK_CAP 1024 /* with its NUL, as qcow2 has it */

/* What an image says of itself, as it was looked at last. */
struct control_look {
	uint32_t version, refcount_bits; /* qcow2 */
	bool is_zstd, is_lazy, is_dirty, is_corrupt, has_subclusters;
	/* The name of its backing file, as it is recorded; "": none, or it is not known. */
	char link[CONTROL_LINK_CAP];
	enum bpull_format link_format; /* recorded with it; UNKNOWN: none */
	bool is_stale;                 /* a job has changed the link since */
};

/* A file under the name that clients call it by. One of the chain keeps its name when jobs and
 * snapshots change the chain. */
struct control_node {
	struct control_node *next; /* below it in the chain, as far as both are there */
	char name[CONTROL_NODE_NAME_CAP];
	char *path; /* as it was opened */
	/* What it looks like; UNKNOWN: a client added the file alone, to name it in another. */
	enum bpull_format format;
	uint64_t virtual_size;
	uint32_t cluster_size;
	bool is_encrypted;
	bool is_in_chain; /* of the disk, unless the chain has lost it since: nodes.c finds that */
	/* A client has added it, or its operator has named it: it stays until it is taken away. */
	bool is_added;
	bool is_read_only;
	bool has_backing; /* not in the chain: it has a backing file of its own */
	/* The node of its file alone: one that was added, or one that was made with it and goes
	 * with it. "", both: the file is behind a network. */
	char file[CONTROL_NODE_NAME_CAP], own_file[CONTROL_NODE_NAME_CAP];
	char backing[CONTROL_NODE_NAME_CAP]; /* not in the chain: the node said to be below it */
	struct control_look look;
};

/* A job as QMP's clients see it. */
struct control_job {
	struct control_job *next; /* an older one */
	char *id;
	const char *type;   /* QMP's word; static */
	const char *status; /* JobStatus as it was told last; static */
	bool auto_finalize, auto_dismiss;
	uint32_t on_error;
	bool is_user_paused; /* by a verb or an error, and not resumed */
	bool is_resuming;    /* resumed, while the engine may still say PAUSED */
	bool is_held;        /* it had nothing to do, and waits to be finalized */
	bool is_canceled;    /* by a client; its event is on the way */
	bool is_active;     /* a commit of the image itself, which is told to complete when READY */
	bool is_completing; /* it was told so */
	bool is_kept;       /* told to end as it is when it is READY: the image stays the disk's */
	bool is_suspended;  /* aborted, to be started again with `options`: jobs/suspend.c */
	struct bpull_job_options options;
	char *base, *base_name, *top; /* of the options */
	struct job_since since;
	struct json_object *lost; /* the paths that the chain has lost by it: an array, or NULL */
	/* Where it has ended, or is suspended: */
	struct bpull_job_info end;
	char error[1024]; /* as QMP has it; "": it completed */
	char why[1024];   /* the library's sentence, of an error that stopped it, too; or "" */
};

struct budget;
struct control_handed;
struct control_names;
struct control_target;

/* Descriptors that clients hand over, to be opened in the place of the names that they give. */
struct control_files {
	/* Takes it over, also after an error. 0, or -errno with a sentence. */
	int (*take)(void *owner, const char *name, int fd, const struct control_handed *by,
		    struct bpull_error *error);
	/* Closes one. 0, or -ENOENT, or another -errno with a sentence. */
	int (*give_back)(void *owner, const char *name, struct bpull_error *error);
	/* Closes those that are needed no more, and those of a client that has gone, of which there
	 * may be none. */
	void (*settle)(void *owner, const struct control_target *target,
		       const struct control_handed *gone);
};

/* What the owner is told when the disk gets another image. NULL, each: it need not know. */
struct control_turns {
	/* The disk's users are about to be held until all that they wrote is durable: most of it
	 * can become so before, while they go on. */
	void (*near)(void *owner);
	/* Another image is about to be the disk's, at any time from now on. */
	void (*begin)(void *owner);
	/* `top` is, after all that was to be done. */
	void (*end)(void *owner, const struct control_node *top);
};

/* The disk that is served. */
struct control_target {
	/* The owner's, set before control_open(). */
	struct bpull_disk *disk; /* NULL: not open yet, or not any more */
	const char *device;      /* its name on the wire: the image's as it was given */
	const char *path;        /* of the image, as it is opened */
	const struct bpull_disk_options *how; /* it is opened; NULL: all defaults */
	struct bpull_job_options job;         /* what block-stream leaves open */
	const struct control_names *names;    /* of the chain's files; NULL: they are made up */
	bool is_inactive;                     /* the owner has given the image away for a while */
	bool stays;                           /* the disk is served, also when a job is over */
	/* Makes the disk so many bytes long, and waits for it: 0, or -errno with a sentence. NULL:
	 * it has no users. */
	int (*resize)(void *owner, uint64_t size, struct bpull_error *error);
	const struct control_turns *turns; /* NULL: the owner need not know */
	/* What x-query-servers answers: an array, for the caller. NULL: no base is behind a
	 * network. */
	struct json_object *(*servers)(void *owner);
	struct budget *budget; /* the host's, whose rate clients may change; NULL: there is none */
	/* How files are opened that clients name and that are not in the chain. NULL: none may be,
	 * nor may files below the image be written to, and others_refused is the sentence for
	 * that. */
	const struct bpull_disk_options *others;
	const char *others_refused; /* static */
	/* Whether a file of this name may be opened, or one of the chain's written to, so. 0, or
	 * -errno with a sentence. NULL: any may. */
	int (*check_other)(void *owner, const char *path, bool write, struct bpull_error *error);
	/* NULL: the disk's files are opened by their names. */
	const struct control_files *files;
	void *owner;
	/* Of jobs/jobs.c and nodes.c: all zero at first. */
	struct control_job *jobs, *active; /* active: one of them has not ended; or NULL */
	struct json_object *last;          /* what x-query-job says of the job that ended last */
	struct control_node *nodes; /* the image, what is below it, and what clients have added */
	struct control_node *top;   /* the image's; NULL: its chain could not be read */
	unsigned n_files;           /* names that were made up for nodes of files */
	struct control_handed *handed; /* of the client whose request is answered; or NULL */
	struct json_object *news;      /* events not taken yet: an array, or NULL */
};

#endif
