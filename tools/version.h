/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef TOOLS_VERSION_H
#define TOOLS_VERSION_H

/* Prints the version on stdout, then the ways of I/O that there are, and what this build has. */
void version_print(void);

#endif
