/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A backing chain: layer 0 is the overlay, each next one what the one before
 * reads through to. Opening follows recorded names under a policy; mapping
 * asks layer after layer. A layer shorter than the asked offset answers zero
 * for it and hides everything below, as in QEMU, so "the first layer that has
 * data" is not the rule.
 *
 * Images are opened once an engine, by device and inode, and shared by every
 * chain that names them (struct layer_set).
 */
#ifndef BLOCKPULL_FORMATS_CHAIN_CHAIN_H
#define BLOCKPULL_FORMATS_CHAIN_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/chain/found.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/file.h"
#include "io/file/file_holes.h"
#include "io/file/opener.h"

struct layer_set;

#define CHAIN_MAX_DEPTH 256

/* The format of one backing file, as the user says it (format.c). */
struct chain_told {
	const char *name; /* as the image above records it, as the chain opens it, or another */
	const char *real; /* the same with symlinks resolved; NULL: it leads nowhere */
	enum image_format format; /* not IMAGE_UNKNOWN */
	bool optional;            /* no error where the chain has no such file */
	unsigned depth;           /* set by chain_open(): the layer it names; 0: none */
};

struct chain_open {
	const char *name;
	enum image_format format; /* IMAGE_UNKNOWN: probe */
	/* Format of backing files of which no format is recorded. IMAGE_UNKNOWN: they are probed
	 * below QED, if they name no further file, and refused elsewhere. */
	enum image_format backing_format;
	/* Instead of that: they are probed everywhere, and the files that they name are opened. */
	bool trust_formats;
	struct chain_told *told; /* n_told formats of single files, which are asked first */
	size_t n_told;
	bool write;            /* the overlay is to be changed */
	bool allow_raw;        /* with write: a raw image, too */
	bool for_repair;       /* with write: what must not be written to may be opened */
	bool no_backing;       /* only the image itself */
	bool allow_unreadable; /* for info: open what can't be read, too */
	bool no_lock;          /* --force-share; only without write */
	bool outlives;         /* file_open.outlives of all files */
	bool at_rest;          /* as after chain_rest(): chain_wake() takes the locks */
	enum file_holes holes;
	bool watch; /* file_look() will be asked for the files that are only read */
	/* The overlay's file and its data file are opened with O_DIRECT, where they can be. */
	bool direct;
	/* What backing and data names may lead to; NULL: plain files in the overlay's directory and
	 * below. Its own_dir counts only where the overlay is no device. */
	const struct path_policy *policy;
	struct file_giver giver;    /* opens all files instead, and is their policy */
	struct chain_finder finder; /* resolves names of backing files */
	/* Where relative names behind "file:" lead from; NULL: the process's directory. */
	const char *relative_dir;
	/* Told once where a file system has no OFD locks; NULL for none. */
	void (*no_locks_here)(void *opaque, const char *name);
	void *opaque;
	/* Called for each newly opened file, once the whole chain is open; NULL for none. */
	void (*file_opened)(void *opaque, struct file *file);
	/* Called before a file is closed where opening fails: another thread's chain may have had
	 * it meanwhile, and told of it. NULL for none. */
	void (*file_closing)(void *opaque, struct file *file);
};

enum chain_format_from {
	CHAIN_FORMAT_RECORDED, /* in the image above; also of layer 0 */
	CHAIN_FORMAT_TOLD,     /* by the user */
	CHAIN_FORMAT_PROBED,
};

struct chain {
	struct layer_set *set;
	unsigned n_layers;
	unsigned pull_to; /* layers [1, pull_to) are to be pulled; n_layers: all */
	/* Layers [hidden_from, hidden_to) are open still, but no mapping leads to them; both 0:
	 * none. */
	unsigned hidden_from, hidden_to;
	struct layer *layers[CHAIN_MAX_DEPTH + 1];
	/* enum chain_format_from of each layer, as it was opened, or put below another one. */
	uint8_t format_from[CHAIN_MAX_DEPTH + 1];
	/* The program said what each layer's name leads to. */
	bool is_resolved[CHAIN_MAX_DEPTH + 1];
};

/* Errors, each with a sentence: the opener's and the formats'; -ELOOP a loop or too deep; -EBUSY an
 * overlay of, or below, another chain of this set; -EPERM a file outside the policy, or one that
 * only a probe vouches for and that names others; -EINVAL `told` names no file of the chain, or
 * contradicts itself or a record; -ENOTSUP a backing format that is not known or not supported, and
 * what layer.refused says. */
int chain_open(struct layer_set *set, const struct chain_open *how, struct chain **out,
	       struct err *err);
/* file_closing is called before each file that no other chain holds is closed; NULL for none. */
void chain_close(struct chain *chain, void (*file_closing)(void *opaque, struct file *file),
		 void *opaque);

/* Puts a layer on top of the others: it reads through to them from now on, and the chain holds it.
 * -ELOOP: the chain has too many layers. */
int chain_put_on_top(struct chain *chain, struct layer *layer, struct err *err);

#endif
