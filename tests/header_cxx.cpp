/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The public header alone, as C++17; tests/header_c.c does the same as C11. */
#include "engine/blockpull-libvirt.h"
#include "engine/blockpull.h"

int main()
{
	bpull_engine_options options{};

	options.size = sizeof(options);
	return bpull_version() == nullptr || options.bandwidth != 0;
}
