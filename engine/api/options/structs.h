/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Option and result structs of the public calls, checked and copied by their size. */
#ifndef BLOCKPULL_API_STRUCTS_H
#define BLOCKPULL_API_STRUCTS_H

#include <stdbool.h>
#include <stddef.h>

/* Copies an option struct, which begins with its size, as far as the caller's version of it goes;
 * the rest of dst is zeros. src: NULL: all zeros. False: its size is wrong, or it sets something
 * that this library does not know. */
bool options_import(void *dst, size_t dst_len, const void *src);
/* The caller's struct, which begins with its size, is at least as long as the first version of the
 * struct was. */
bool result_fits(const void *out, size_t first_len);
/* Copies a result into the caller's struct, which must fit: at most as many bytes as its size says.
 * The size stays. */
void result_export(void *out, const void *src, size_t src_len);

/* first_len of a struct, by the last field that its first version had. */
#define RESULT_FIRST_LEN(type, last) (offsetof(type, last) + sizeof(((type *)NULL)->last))

#endif
