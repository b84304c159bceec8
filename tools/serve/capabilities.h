/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef TOOLS_SERVE_CAPABILITIES_H
#define TOOLS_SERVE_CAPABILITIES_H

/* --print-capabilities: what QEMU's conventions want of a backend. Returns the exit code. */
int capabilities_print(void);

#endif
