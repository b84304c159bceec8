/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QEMU's tools as the judge of images: run one, take its exit status and what
 * it prints. Tests that need them are skipped, with the reason, where they are
 * not installed.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_FILES_QEMU_IMG_H
#define BLOCKPULL_TESTS_SUPPORT_FILES_QEMU_IMG_H

#include <stdbool.h>
#include <stddef.h>

bool qemu_img_installed(void); /* qemu-img and qemu-io */

/* Runs a shell command made of the format, stderr into stdout, stdout into out (NULL: nowhere),
 * cut to cap. Its exit status; -1: killed. */
int qemu_img_run(char *out, size_t cap, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The number behind "key": in JSON text, or `missing`. */
long long qemu_img_number(const char *json, const char *key, long long missing);

#endif
