/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The name by which a new image records the file below it. */
#ifndef TOOLS_CHAIN_LINK_NAME_H
#define TOOLS_CHAIN_LINK_NAME_H

#include <stdbool.h>

/* How `upper`, a file that need not exist in a directory that must, names `lower`, a file that is
 * there: beside it by the last part of its real name, elsewhere by its absolute name. *beside says
 * which. 0 and *name, which the caller frees; or -errno, and *culprit is the path that it is of. */
int link_name_make(const char *upper, const char *lower, char **name, bool *beside,
		   const char **culprit);

#endif
