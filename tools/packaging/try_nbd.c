/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The least program of libblockpull-nbd: opens an image whose base may be behind a network, where
 * the pattern that follows its name allows it, and prints where the base is and its length.
 */
#include <blockpull-nbd.h>
#include <blockpull.h>
#include <stdio.h>

static int opened(struct bpull_nbd *nbd, const char *path, struct bpull_error *error)
{
	struct bpull_disk_options options = { .size = sizeof(options),
					      .flags = BPULL_DISK_READ_ONLY,
					      .find_base = bpull_nbd_find_base,
					      .find_opaque = nbd };
	struct bpull_nbd_source source = { .size = sizeof(source) };
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	int rc = bpull_engine_open(NULL, &engine, error);

	if (!rc)
		rc = bpull_disk_open(engine, path, &options, &disk, error);
	if (!rc && !bpull_nbd_get_source(nbd, 0, &source))
		printf("%s %llu\n", source.uri, (unsigned long long)source.length);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return rc;
}

int main(int argc, char **argv)
{
	struct bpull_nbd_options options = { .size = sizeof(options), .n_allow = 1 };
	const char *allow[1];
	struct bpull_nbd *nbd = NULL;
	struct bpull_error error = { 0 };
	int rc;

	if (argc != 3)
		return 2;
	allow[0] = argv[2];
	options.allow = allow;
	rc = bpull_nbd_open(&options, &nbd, &error);
	if (!rc)
		rc = opened(nbd, argv[1], &error);
	if (rc)
		fprintf(stderr, "%s\n", error.message);
	bpull_nbd_close(nbd);
	return rc ? 1 : 0;
}
