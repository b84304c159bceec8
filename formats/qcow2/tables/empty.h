/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which L2 slices are known to hold nothing. */
#ifndef BLOCKPULL_FORMATS_QCOW2_TABLES_EMPTY_H
#define BLOCKPULL_FORMATS_QCOW2_TABLES_EMPTY_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct qcow2;

/* All of these are about whole slices. The one that maps guest_off has no entry. */
bool qcow2_is_known_empty(const struct qcow2 *q, uint64_t guest_off);
/* How far from guest_off on no slice has an entry, at most max_len; 0: not known. */
uint64_t qcow2_known_empty_len(const struct qcow2 *q, uint64_t guest_off, uint64_t max_len);
/* No slice in [guest_off, guest_off + len) has an entry. */
void qcow2_note_empty(struct qcow2 *q, uint64_t guest_off, uint64_t len);
/* The slice that maps guest_off may get entries. */
void qcow2_forget_empty(struct qcow2 *q, uint64_t guest_off);
void qcow2_forget_all_empty(struct qcow2 *q);

#endif
