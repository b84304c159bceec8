/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What bases.c takes of options.c; for programs it is bases.h that has the calls. */
#ifndef TOOLS_BASES_OPTIONS_H
#define TOOLS_BASES_OPTIONS_H

struct bases;
struct bpull_error;

/* bases_take(), whether or not libnbd is there. */
int bases_take_known(struct bases *bases, const char *option, const char *text,
		     struct bpull_error *error);

#endif
