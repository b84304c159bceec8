/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A target without a fuzzer: runs it on files, as the regression test does. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/world.h"

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		static uint8_t bytes[4 << 20];
		size_t len;
		uint8_t *exact;

		if (!file) {
			perror(argv[i]);
			return 1;
		}
		len = fread(bytes, 1, sizeof(bytes), file);
		fclose(file);
		exact = malloc(len ? len : 1);
		if (!exact)
			return 1;
		memcpy(exact, bytes, len);
		fprintf(stderr, "%s\n", argv[i]);
		LLVMFuzzerTestOneInput(exact, len);
		free(exact);
	}
	return 0;
}
