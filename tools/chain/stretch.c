/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/chain/stretch.h"

bool stretch_to_keep(unsigned n_files, unsigned n_keep, struct stretch *stretch)
{
	if (!n_keep || n_files <= n_keep)
		return false;
	if (n_keep == 1)
		*stretch = (struct stretch){ 0, n_files - 1 };
	else
		*stretch = (struct stretch){ n_keep - 2, n_files - 2 };
	return true;
}
