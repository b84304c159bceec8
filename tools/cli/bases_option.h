/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The options about bases behind a network on a command line; options_chain has them for all verbs
 * that open chains. */
#ifndef TOOLS_CLI_BASES_OPTION_H
#define TOOLS_CLI_BASES_OPTION_H

#include <stdbool.h>

#include "tools/bases/bases.h"

/* Takes an option by its enum options_value. 0: taken; -1: not one of them; else an exit code. */
int bases_option_take(struct bases *bases, const char *command, int option, const char *text);
/* When all options are taken: opens them. Without serves_guests all reads wait as long as a job. 0
 * or an exit code. */
int bases_option_open(struct bases *bases, const char *command, bool serves_guests);
/* For a command that closes the sandbox: has it leave their connections open, and starts the
 * process that makes new ones, so it is called before there are threads. sandbox_enter() then calls
 * bases_option_seal(). 0 or an exit code. */
int bases_option_sandbox(struct bases *bases);
/* As say_failed(), before the images are closed: where a server is lost the hint tells that. */
int bases_option_failed(const struct bases *bases, const struct bpull_error *error, int rc);
/* All is open: no more bases are, and names that were mapped in vain are told. `bases` is a struct
 * bases. */
void bases_option_seal(void *bases);

#endif
