/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the tests of the public interface begin with, made through it. */
#include "tests/support/files/overlay.h"

#include <criterion/criterion.h>

#include "tests/support/files/scratch.h"

void make_overlay(const char *name, enum bpull_format format, const char *base)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = format,
					  .backing_name = base,
					  .backing_format = BPULL_FORMAT_RAW };
	struct bpull_error error = { 0 };

	cr_assert_eq(bpull_create(scratch(name), &o, &error), 0, "%s", error.message);
}
