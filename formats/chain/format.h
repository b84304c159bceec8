/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which format a backing file is opened as, and whether what it names is followed. */
#ifndef BLOCKPULL_FORMATS_CHAIN_FORMAT_H
#define BLOCKPULL_FORMATS_CHAIN_FORMAT_H

#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "io/base.h"

/* One backing file that is about to be opened. */
struct chain_choice {
	const struct chain_open *how;
	const struct layer *above; /* the image that names it */
	const char *above_name;    /* as this chain came to it */
	const char *path;          /* of the backing file, likewise */
	unsigned depth;            /* the layer it will be */
	/* What the name itself says; IMAGE_UNKNOWN: nothing. */
	enum image_format named;
	bool is_source;              /* of which nothing is guessed */
	enum chain_format_from from; /* set by chain_choose_format() */
};

/* Asked before the file is opened. 0: there is something to choose a format by; else -ENOTSUP with
 * a sentence. */
int chain_can_choose(const struct chain_choice *choice, struct err *err);
/* As layer_want.choose has it; `opaque` is a struct chain_choice. -EINVAL: what the user says
 * contradicts itself or a record. */
int chain_choose_format(void *opaque, struct file *file, enum image_format *out, struct err *err);
/* Asked once the file is a layer, before anything it names is opened. -EPERM with a sentence: only
 * a probe says what it is, and it names further files. */
int chain_check_trust(const struct chain_choice *choice, const struct layer *layer,
		      struct err *err);
/* Asked of a whole chain. -EINVAL with a sentence: a file that the user named was not met. */
int chain_check_told(const struct chain_open *how, struct err *err);

#endif
