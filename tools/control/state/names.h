/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Names of nodes that an operator gives, as a driver of qemu-storage-daemon does on its command
 * line. */
#ifndef TOOLS_CONTROL_NAMES_H
#define TOOLS_CONTROL_NAMES_H

#define CONTROL_MAX_NAMES 64
#define CONTROL_WHY_CAP   160

/* Of the chain from the image down: those of further files are made up. */
struct control_names {
	const char *list[CONTROL_MAX_NAMES]; /* the caller's */
	unsigned n;
};

/* The next one. 0, or -1 with a sentence. */
int control_names_take(struct control_names *names, const char *name, char why[CONTROL_WHY_CAP]);

#endif
