/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Images of any bytes, as FUZZ_FORMAT. */
#include "tests/fuzz/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_image(FUZZ_FORMAT, data, size);
	return 0;
}
