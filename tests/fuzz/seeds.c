/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Writes the first inputs of the fuzz targets into DIR/TARGET/: sound images by the
 * tests' own builder, and lines and names that mean something.
 */
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zstd.h>

#include "io/base.h"
#include "tests/fuzz/control_seeds.h"
#include "tests/fuzz/vhost_seeds.h"
#include "tests/fuzz/world.h"
#include "tests/support/images/build_image.h"
#include "tests/machine/sim_chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return 0; /* nothing is fuzzed here */
}

static const char *root;

/* An input; for targets whose first byte says what it is (first >= 0) behind that. */
static void put(const char *target, const char *name, int first, const void *bytes, size_t len)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, target);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/%s/%s-%d", root, target, name, first);
	file = fopen(path, "wb");
	if (!file) {
		perror(path);
		exit(1);
	}
	if (first >= 0)
		fputc(first, file);
	fwrite(bytes, 1, len, file);
	if (fclose(file))
		exit(1);
}

static void put_image(enum image_format format, const char *name, const void *bytes, size_t len)
{
	int bit = format == IMAGE_QED;

	put(bit ? "qed" : "qcow2", name, -1, bytes, len);
	put("repair", name, bit | 2, bytes, len);
	put("guest", name, bit | 4, bytes, len);
}

static void qcow2_seeds(void)
{
	static const struct build_cluster clusters[] = {
		{ 0, BUILD_DATA, 1 },        { 1, BUILD_COMPRESSED, 2 }, { 2, BUILD_ZERO_PLAIN, 0 },
		{ 3, BUILD_COMPRESSED, 3 },  { 5, BUILD_DATA, 4 },       { 70, BUILD_DATA, 5 },
		{ 90, BUILD_COMPRESSED, 6 },
	};

	for (unsigned i = 0; i < 16; i++) {
		struct build_how how = {
			.version = i % 4 == 3 ? 2 : 3,
			.cluster_bits = i % 3 == 2 ? 12 : 9,
			.refcount_bits = i % 4 == 3 ? 16 : 1u << (4 + i % 3),
			.guest_len = 120 * 512,
			.zstd = i % 4 == 1,
			.backing_name = i % 8 == 7 ? NULL : "b1",
			.backing_format = i % 8 == 7 ? NULL : "raw",
			.clusters = clusters,
			.n_clusters = i % 3 == 2 ? 5 : 7,
			.n_snapshots = i % 5 == 4 ? 2 : 0,
		};
		struct build_cluster plain[7];
		struct build_image image;
		char name[32];

		memcpy(plain, clusters, sizeof(plain));
		for (unsigned k = 0; how.version == 2 && k < 7; k++)
			if (plain[k].kind == BUILD_ZERO_PLAIN)
				plain[k].kind = BUILD_DATA;
		how.clusters = plain;
		image = build_image(&how);
		snprintf(name, sizeof(name), "built%u", i);
		put_image(IMAGE_QCOW2, name, image.bytes, image.len);
		build_image_free(&image);
	}
}

/* Of drawn chains those whose overlay reads a raw file. */
static void drawn_seeds(enum image_format format, unsigned n)
{
	for (uint64_t seed = 1; n && seed < 1000; seed++) {
		struct sim_chain_how how = {
			.seed = seed,
			.format = format,
			.n_clusters = 40,
			.max_depth = 1,
			.cluster_bits = format == IMAGE_QED ? 12 : 9,
		};
		struct sim_chain chain;
		char name[32];

		sim_chain_draw(&chain, &how);
		if (chain.n_files == 2 && memcmp(chain.files[1].bytes, "QFI\xfb", 4) &&
		    memcmp(chain.files[1].bytes, "QED", 4) && chain.files[0].len < 256 * KiB) {
			snprintf(name, sizeof(name), "drawn%u", (unsigned)seed);
			put_image(format, name, chain.files[0].bytes, chain.files[0].len);
			n--;
		}
		sim_chain_free(&chain);
	}
}

static void compressed_seeds(void)
{
	static uint8_t plain[65536], packed[65536 + 1024];
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(6);

	build_fill(plain, sizeof(plain), 1);
	for (int bits = 0; bits < 8; bits++) {
		size_t len = 512u << bits;

		put("compressed", "zlib", bits << 1, packed,
		    libdeflate_deflate_compress(c, plain, len, packed, sizeof(packed)));
		put("compressed", "zstd", bits << 1 | 1, packed,
		    ZSTD_compress(packed, sizeof(packed), plain, len, 3));
	}
	libdeflate_free_compressor(c);
}

static void meta_seeds(void)
{
	uint8_t area[256] = { 0 };

	put("meta", "extensions", 0, "\xe2\x79\x2a\xca\0\0\0\3raw\0\0\0\0\0\0\0\0\0\0\0\0", 24);
	put("meta", "names", 0, "\x68\x03\xf8\x57\0\0\0\x30\0\0dirty bit", 19);
	put("meta", "data-file", 0, "\x44\x41\x54\x41\0\0\0\2b1\0\0\0\0\0\0", 16);
	put("meta", "unknown", 0, "\1\2\3\4\0\0\0\4abcd\0\0\0\0\0\0\0\0", 20);
	/* L1 offset, size, lengths of id and name, times, VM state, extra data; id, name */
	area[6] = 0x10;
	area[11] = 1;
	area[13] = area[15] = 1;
	area[39] = 16;
	memcpy(area + 56, "11", 2);
	put("meta", "snapshot", 1, area, 64);
	memset(area, 0, sizeof(area));
	/* a bitmap: table offset, entries, flags, type, granularity, name's and extra length */
	area[6] = 0x20;
	area[11] = 1;
	area[15] = 2;
	area[16] = 1;
	area[17] = 16;
	area[19] = 2;
	memcpy(area + 24, "bm", 2);
	put("meta", "bitmaps", 3, area, 32);
	put("meta", "bitmaps", 2, area, 32);
}

static void name_seeds(void)
{
	static const char *const names[] = {
		"b1",
		"./b1",
		"/b1",
		"../b1",
		"file:b1",
		"json:{\"file\":{\"filename\":\"b1\"}}",
		"top",
		"nbd://x/y",
		"b1\nb1",
		"b1\033[31m",
		"/proc/self/fd/0",
		"a/b/c",
		"json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"b1\"}}",
	};
	char name[32];

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(name, sizeof(name), "name%u", i);
		put("name", name, -1, names[i], strlen(names[i]));
	}
}

static void trace_seeds(void)
{
	static const char *const traces[] = {
		"blockpull trace 1\n",
		"blockpull trace 1\n# offset and length in bytes, microseconds\n0 65536 0\n"
		"1048576 131072 1234\n65536 4096 99999\n",
		"blockpull trace 1\n0 9223372036854775807 0\n9223372036854775806 1 "
		"18446744073709551615\n\n5 7 3\n4 7 3\n",
	};
	char name[32];

	for (unsigned i = 0; i < ARRAY_LEN(traces); i++) {
		snprintf(name, sizeof(name), "trace%u", i);
		put("trace", name, -1, traces[i], strlen(traces[i]));
	}
}

/* The first byte: a name, a pattern or a mapping. */
static void remote_seeds(void)
{
	static const struct {
		char kind;
		const char *text;
	} seeds[] = {
		{ 0, "nbd://host:10809/export" },
		{ 0, "nbds://[2001:db8::1]:20/a%20b%C3%BC" },
		{ 0, "nbd://10.0.0.1/" },
		{ 0, "nbd://127.1/" },
		{ 0, "nbd+unix:///export?socket=/run/s%3B" },
		{ 0, "nbds+unix:///?socket=rel&tls-psk-file=/k" },
		{ 0, "nbd:host:1:exportname=x" },
		{ 0, "nbd:[::ffff:1.2.3.4]:1" },
		{ 0, "nbd:unix:/run/s:exportname=x" },
		{ 0, "https://h/b.img?a=b" },
		{ 0, "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"nbd\",\"server\":{"
		     "\"type\":\"inet\",\"host\":\"h\",\"port\":\"1\"},\"export\":\"\\u00fc\"}}" },
		{ 0, "json:{\"driver\":\"qcow2\",\"file.driver\":\"nbd\",\"file.server.type\":"
		     "\"unix\",\"file.server.path\":\"/s\"}" },
		{ 0, "json:{\"driver\":\"qed\",\"file\":{\"driver\":\"file\","
		     "\"filename\":\"b\"},\"x\":[-1.5e3,null]}" },
		{ 1, "nbd:host:1" },
		{ 1, "nbds:[fd00::]/8:1" },
		{ 1, "nbd:10.0.0.0/8" },
		{ 1, "nbd:[::ffff:10.0.0.0]/104" },
		{ 1, "nbds+unix:/run" },
		{ 2, "base.img=nbd://h/x" },
		{ 2, "https://h/?a==b=nbd+unix:///?socket=/s" },
		{ 2, "a=/moved.img" },
	};
	char name[32];

	for (unsigned i = 0; i < ARRAY_LEN(seeds); i++) {
		snprintf(name, sizeof(name), "seed%u", i);
		put("remote", name, seeds[i].kind, seeds[i].text, strlen(seeds[i].text));
	}
}

static void put_plain(const char *target, const char *name, const void *bytes, size_t len)
{
	put(target, name, -1, bytes, len);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIR\n", argv[0]);
		return 2;
	}
	root = argv[1];
	mkdir(root, 0777);
	qcow2_seeds();
	drawn_seeds(IMAGE_QCOW2, 6);
	drawn_seeds(IMAGE_QED, 12);
	compressed_seeds();
	meta_seeds();
	name_seeds();
	trace_seeds();
	remote_seeds();
	control_seeds(put);
	vhost_seeds(put_plain);
	return 0;
}
