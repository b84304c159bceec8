/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the tests of tools/nbd/ say again and again. */
#ifndef BLOCKPULL_TESTS_NBD_RIG_H
#define BLOCKPULL_TESTS_NBD_RIG_H

#include <stdbool.h>
#include <stddef.h>

#include "tools/nbd/names/name.h"

#define N_OF(table) (sizeof(table) / sizeof((table)[0]))

/* The canonical URI of a name that must be a place's; "(not a place)" and the sentence if it is
 * not. Of the next call only. */
const char *rig_uri(const char *name);
/* The same with relative sockets in the directory, which is else /here. */
const char *rig_uri_here(const char *name, const char *here);
/* Reads a name that must be refused: fails the test unless it is, with the code and a printable
 * sentence that holds the word. */
void rig_refused(const char *name, int code, const char *word);
/* A place from its canonical URI. */
struct nbd_place rig_place(const char *uri);
/* Fails the test unless the sentence is one: not empty, safe to print, nothing else is set. */
void rig_judge_error(const struct bpull_error *error, int code, const char *name);
/* A seed from the environment or the clock. */
unsigned rig_seed(void);

#endif
