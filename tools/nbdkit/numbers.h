/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Parameters that are numbers: sizes and rates, counts, times. 0, or -1 with a message. */
#ifndef TOOLS_NBDKIT_NUMBERS_H
#define TOOLS_NBDKIT_NUMBERS_H

/* Each sets a uint64_t: bytes, a number, ns. */
int numbers_take_size(const char *key, const char *value, void *to);
int numbers_take_count(const char *key, const char *value, void *to);
int numbers_take_time(const char *key, const char *value, void *to);

#endif
