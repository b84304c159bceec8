/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The public headers alone, as strict C11. */
#include "engine/blockpull-libvirt.h"
#include "engine/blockpull.h"

int main(void)
{
	struct bpull_engine_options options = { .size = sizeof(options) };

	return bpull_version() == NULL || options.bandwidth != 0;
}
