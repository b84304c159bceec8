/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A directory of its own for each test, gone afterwards: for the .init and
 * .fini of a suite. Criterion runs every test in its own process, so one static
 * name is enough.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_FILES_SCRATCH_H
#define BLOCKPULL_TESTS_SUPPORT_FILES_SCRATCH_H

/* Makes the directory; it lies in $TMPDIR or /tmp, with symlinks resolved. */
void scratch_make(void);
void scratch_remove(void);
const char *scratch_dir(void);
/* "<directory>/name"; good until the process ends. For one thread. */
const char *scratch(const char *name);
/* Writes a file in it: `len` bytes, or the string itself where len is 0. Returns its path. */
const char *scratch_file(const char *name, const void *bytes, unsigned long len);
/* The same with so many equal bytes. */
const char *scratch_filled(const char *name, int byte, unsigned long len);
/* A file of so many MiB, each full of its number, from 1 on. */
const char *scratch_numbered(const char *name, unsigned n_mib);
/* Entries of the directory itself. */
unsigned scratch_n_files(void);
/* Runs a program with its output thrown away; its exit status, or -1 if it cannot be run. NULL
 * ends the arguments. */
int scratch_run(const char *program, ...) __attribute__((sentinel));

/* Skips the test; .fini would not be run. */
#define scratch_skip(...)             \
	do {                          \
		scratch_remove();     \
		cr_skip(__VA_ARGS__); \
	} while (0)

#endif
