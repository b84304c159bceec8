/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qemu-img writes "    (12.34/100%)" and a carriage return to standard output,
 * terminal or not, beginning with 0.00, and a newline at the end. Programs that
 * show its progress look for that; they find the same here. The line is not for
 * say.h, which would show the carriage return instead of sending it; that
 * stdout took it is say_finish()'s to see.
 */
#include "tools/pull/percent.h"

#include <stdio.h>

#define PERCENT_STEP 0.01 /* what two decimals show */

void percent_show(struct percent *percent, double part)
{
	double value = part >= 1 ? 100 : part * 100;

	if (percent->begun && value < percent->shown + PERCENT_STEP)
		return;
	percent->begun = true;
	percent->shown = value;
	printf("    (%.2f/100%%)\r", value);
	fflush(stdout);
}

void percent_end(struct percent *percent, bool done)
{
	if (!percent->begun)
		return;
	if (done)
		percent_show(percent, 1);
	printf("\n");
	fflush(stdout);
}
