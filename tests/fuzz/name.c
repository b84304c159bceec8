/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A backing file's name of any bytes: opened or refused with a sentence that can be
 * printed, and under the strictest policy nothing but the base is ever reached.
 */
#include <stdio.h>

#include "io/base.h"
#include "tests/support/images/build_image.h"
#include "tests/fuzz/world.h"

#define NAME_AT 1024u

static void check_text(const char *text)
{
	for (; *text; text++)
		FUZZ_CHECK((unsigned char)*text >= ' ' && *text != 0x7f, "an unprintable message");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct build_how how = { .guest_len = 64 * KiB,
				 .backing_name = "b1",
				 .backing_format = "raw",
				 .cluster_bits = 12 };
	struct build_image image;
	struct fuzz_look look;
	struct sim *sim;
	size_t len = MIN(size, (size_t)1023);

	if (!size)
		return 0;
	image = build_image(&how);
	memcpy(image.bytes + NAME_AT, data, len);
	for (unsigned i = 0; i < 8; i++)
		image.bytes[8 + i] = (uint8_t)((uint64_t)NAME_AT >> (56 - 8 * i));
	for (unsigned i = 0; i < 4; i++)
		image.bytes[16 + i] = (uint8_t)((uint32_t)len >> (24 - 8 * i));
	sim = fuzz_world(image.bytes, image.len);
	fuzz_look(sim, IMAGE_QCOW2, false, &look);
	if (look.rc)
		check_text(look.text);
	sim_free(sim);
	build_image_free(&image);
	return 0;
}
