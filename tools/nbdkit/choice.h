/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Parameters that are one of several words. 0, or -1 with a message. */
#ifndef TOOLS_NBDKIT_CHOICE_H
#define TOOLS_NBDKIT_CHOICE_H

/* To enum bpull_on_error. */
int config_take_on_error(const char *key, const char *value, void *to);
/* Or'ed to flags of enum bpull_disk_flags. */
int config_take_holes(const char *key, const char *value, void *to);
/* To enum bpull_io. */
int config_take_io(const char *key, const char *value, void *to);

#endif
