/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef TOOLS_SERVE_TOGETHER_H
#define TOOLS_SERVE_TOGETHER_H

struct command_line;

/* What serve's options mean together, and what does not go together; applies defaults. 0 or an exit
 * code. */
int together_check(struct command_line *line);

#endif
