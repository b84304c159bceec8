/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A host's budget: a file that all processes which share it have mapped. */
#ifndef TOOLS_BUDGET_BUDGET_H
#define TOOLS_BUDGET_BUDGET_H

#include <stdint.h>

struct budget;

#define BUDGET_WHY_CAP 512

/* Opens the budget in this file, and makes the file where there is none. rate: bytes/s that all
 * have from now on, 0 for no limit; NULL: what the file says (a new one must be told). 0, or -errno
 * with a sentence. Waits for a second at most. */
int budget_open(const char *path, const uint64_t *rate, struct budget **out,
		char why[BUDGET_WHY_CAP]);
/* Fits bpull_engine_options.budget; one thread at a time. Never waits. */
uint64_t budget_ask(void *budget, uint64_t bytes);
/* Any thread. -ERANGE: a rate that is too large. */
int budget_set_rate(struct budget *budget, uint64_t rate);
/* What is wrong with the file, a sentence, each once; NULL: nothing new. Any thread. Static. */
const char *budget_complaint(struct budget *budget);
void budget_close(struct budget *budget); /* NULL is allowed */

/* What its memory is, for a handler of SIGBUS: another process may cut the file. */
void *budget_memory(struct budget *budget, uint64_t *len);

#endif
