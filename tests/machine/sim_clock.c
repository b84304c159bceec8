/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The engine's clock in programs linked with --wrap=engine_now_ns: the one of
 * the simulated machines. Same seed, same times.
 */
#include "tests/machine/files/sim.h"

uint64_t __wrap_engine_now_ns(void);
uint64_t __wrap_engine_now_ns(void)
{
	return sim_clock_ns();
}
