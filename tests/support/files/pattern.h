/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Bytes that tell where they belong, so that a copy in another place is seen. */
#ifndef BLOCKPULL_TESTS_SUPPORT_FILES_PATTERN_H
#define BLOCKPULL_TESTS_SUPPORT_FILES_PATTERN_H

#include <stddef.h>
#include <stdint.h>

/* Each 8 bytes differ from all others of a disk; buf is what lies at off. len is a multiple of
 * 8. */
void pattern_words(void *buf, size_t len, uint64_t off);
/* Bytes that differ from their neighbours; the first is 1. */
void pattern_steps(uint8_t *buf, size_t len);

#endif
