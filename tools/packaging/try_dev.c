/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The least program of the library: prints the size of an image's disk. */
#include <blockpull.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct bpull_disk_options options = { .size = sizeof(options),
					      .flags = BPULL_DISK_READ_ONLY };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	struct bpull_error error = { 0 };

	if (argc != 2 || bpull_engine_open(NULL, &engine, &error) ||
	    bpull_disk_open(engine, argv[1], &options, &disk, &error)) {
		fprintf(stderr, "%s\n", error.message);
		return 1;
	}
	printf("%llu\n", (unsigned long long)bpull_disk_size(disk));
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return 0;
}
