/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The public header alone, as C++17; tests/api/header_c.c does the same as C11. */
#include "engine/blockpull-libvirt.h"
#include "engine/blockpull.h"

int main()
{
	bpull_engine_options options{};
	bpull_job_info info{}; // the plain names: no function may hide a struct
	bpull_measure sizes{};

	options.size = sizeof(options);
	return bpull_version() == nullptr || options.bandwidth != 0 || info.end != 0 ||
	       sizes.needed_size != 0;
}
