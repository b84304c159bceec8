/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* QEMU's tools as the judge of what a pull left. */
#ifndef BLOCKPULL_TESTS_SIM_PULL_QEMU_H
#define BLOCKPULL_TESTS_SIM_PULL_QEMU_H

#include "tests/machine/sim_pull_judge.h"

/* Writes the chain to a directory and has `qemu-img check` and `qemu-img compare` judge it (without
 * its backing files where it names none). *ran is false where there is no qemu-img. */
void sim_pull_qemu(const struct sim_chain *chain, struct sim *sim, const char *dir,
		   struct sim_verdict *verdict, bool *ran);

#endif
