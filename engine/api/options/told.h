/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Formats that the program has given for single backing files. */
#ifndef BLOCKPULL_API_TOLD_H
#define BLOCKPULL_API_TOLD_H

#include <stdbool.h>

#include "formats/chain/chain.h"

struct bpull_disk_options;
struct err;
struct layer_set;

/* chain_open() with the formats that the options give for single backing files. Sets `used` in
 * those that were needed. */
int told_open_chain(struct layer_set *layers, const struct bpull_disk_options *options,
		    struct chain_open *how, struct chain **out, struct err *err);
/* Each of these formats names its file, and is one that this library knows. */
bool told_are_known(const struct bpull_disk_options *options);

#endif
