/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Formats of single backing files that the program tells. */
#ifndef BLOCKPULL_API_TOLD_H
#define BLOCKPULL_API_TOLD_H

#include <stdbool.h>

#include "formats/chain/chain.h"

struct bpull_disk_options;
struct err;
struct layer_set;

/* chain_open(), with what the options say of single backing files, which is told back as `used`. */
int told_open_chain(struct layer_set *layers, const struct bpull_disk_options *options,
		    struct chain_open *how, struct chain **out, struct err *err);
/* Every file is named, and with a format that this library knows. */
bool told_are_known(const struct bpull_disk_options *options);

#endif
