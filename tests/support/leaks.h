/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Memory without a reference fails the test under the address sanitizer. Its
 * own look at the process's end only prints: Criterion does not ask how a test's
 * process ended once the test itself is over.
 */
#ifndef BLOCKPULL_TESTS_LEAKS_H
#define BLOCKPULL_TESTS_LEAKS_H

#include <criterion/criterion.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define leaks_assert_none(what) \
	cr_assert_eq(__lsan_do_recoverable_leak_check(), 0, "%s: memory leaked", what)
#else
#define leaks_assert_none(what) (void)(what)
#endif

#endif
