/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is read as a manifest, and what is refused, with the line. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tools/bases/manifest.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))
#define H           "00112233445566778899aabbccddeeff"
#define G           "ffeeddccbbaa99887766554433221100"
#define J_HEAD      "{\"filename\":\"x\",\"virtual-size\":5000,\"algorithm\":\"XXH3-128\","
#define J(more)     J_HEAD more "}\n"
#define J_CHUNKS                                                         \
	"\"chunk-size\":4096,\"chunks\":[{\"start\":0,\"length\":4096,"  \
	"\"hash\":\"" H "\"},{\"start\":4096,\"length\":904,\"hash\":\"" \
	"" G "\"}]"

static int read_text(const char *text, size_t len, struct manifest *manifest,
		     struct bpull_error *error)
{
	char name[] = "/tmp/manifest-XXXXXX";
	int fd = mkstemp(name), rc;

	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, text, len), (ssize_t)len);
	close(fd);
	rc = manifest_read(name, manifest, error);
	cr_assert(!rc || strstr(error->message, name), "%s", error->message);
	cr_assert(!rc || error->code == rc);
	unlink(name);
	return rc;
}

static const struct {
	const char *text;
	uint64_t n, length;
	uint32_t chunk_size;
} good[] = {
	{ H "  0+4096\n" G "  4096+904\n" H "  x\n", 2, 5000, 4096 },
	{ H "  0+4194304\n" G "  4194304+4194304\n" H "  /a b/c\n", 2, 8388608, 4194304 },
	{ H "  0+1\n" H "  x\n", 1, 1, 4096 },
	{ H "  0+4096\n" H "  x\n", 1, 4096, 4096 },
	{ H "  0+4097\n" H "  x\n", 1, 4097, 8192 },
	{ H "  0+4096\n" H "  1+2\n", 1, 4096, 4096 },
	{ J(J_CHUNKS ",\"hash\":\"" H "\""), 2, 5000, 4096 },
	{ J("\"hash\":\"" H "\", \n " J_CHUNKS), 2, 5000, 4096 },
};

Test(manifest, what_hash_prints_is_read)
{
	for (size_t i = 0; i < N_OF(good); i++) {
		static const uint8_t first[16] = { 0,    0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
						   0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
		struct bpull_error error;
		struct manifest m;

		cr_assert(!read_text(good[i].text, strlen(good[i].text), &m, &error), "%zu: %s", i,
			  error.message);
		cr_assert_eq(m.n, good[i].n, "%zu", i);
		cr_assert_eq(m.length, good[i].length, "%zu", i);
		cr_assert_eq(m.chunk_size, good[i].chunk_size, "%zu", i);
		cr_assert_arr_eq(m.digests[0], first, 16, "%zu", i);
		if (m.n > 1)
			cr_assert_eq(m.digests[1][0], 0xff, "%zu", i);
		manifest_free(&m);
	}
}

static const struct {
	const char *text, *says;
} bad[] = {
	{ "", "line 1: the file is empty" },
	{ "\n", "line 1: a hash" },
	{ H "  x\n", "line 1: there are no chunks" },
	{ H "\n", "line 1: two spaces" },
	{ H "  0+4096\n", "line 1: the last line, of the whole disk, is missing" },
	{ H "  0+4096\n" H "  4096+4096\n", "line 2: the last line" },
	{ H "  0+4096\n" H "  x", "line 2: the line has no end" },
	{ H "  0+4096\n" H "  \n", "line 2: two spaces" },
	{ H "  0+4096\n" H " x\n", "line 2: two spaces" },
	{ H "  0+4096\n" H "  x\n" H "  y\n", "line 2: START+LENGTH" },
	{ H "  0+4096\n" H "  x\n" H "  0+4096\n" H "  y\n", "line 2: START+LENGTH" },
	{ H "  0+4096\r\n" H "  x\n", "line 1: START+LENGTH" },
	{ H "  4096+4096\n" H "  x\n", "line 1: the chunk begins at 4096, and should at 0" },
	{ H "  0+4096\n" H "  8192+4096\n" H "  x\n", "line 2: the chunk begins at 8192" },
	{ H "  0+4096\n" H "  0+4096\n" H "  x\n", "line 2: the chunk begins at 0" },
	{ H "  0+4096\n" H "  4096+8192\n" H "  x\n", "line 2: a chunk of 8192" },
	{ H "  0+4096\n" H "  4096+1\n" H "  4097+4096\n" H "  x\n",
	  "line 3: a chunk follows a shorter one" },
	{ H "  0+0\n" H "  x\n", "line 1: a chunk of 0" },
	{ H "  00+4096\n" H "  x\n", "line 1: START+LENGTH" },
	{ H "  0+04096\n" H "  x\n", "line 1: START+LENGTH" },
	{ H "  0+18446744073709555712\n" H "  x\n", "line 1: START+LENGTH" },
	{ H "  0+9223372036854775808\n" H "  x\n", "line 1: a chunk of 9223372036854775808" },
	{ H "  0+8388608\n" H "  x\n", "line 1: a chunk of 8388608 bytes is too long" },
	{ H "  0+5000\n" H "  5000+5000\n" H "  x\n", "line 3: chunks of 5000" },
	{ H "  0+2048\n" H "  2048+2048\n" H "  x\n", "line 3: chunks of 2048" },
	{ "00112233445566778899AABBCCDDEEFF  0+4096\n" H "  x\n", "line 1: a hash" },
	{ "00112233445566778899aabbccddeef  0+4096\n" H "  x\n", "line 1: a hash" },
	{ H "  0+4096\n0011\n", "line 2: a hash" },
	{ "{", "no JSON" },
	{ "{}\n", "'algorithm'" },
	{ J(J_CHUNKS), "'hash'" },
	{ J(J_CHUNKS ",\"hash\":null"), "'hash'" },
	{ J(J_CHUNKS ",\"hash\":\"00\""), "'hash' is not of 32 digits" },
	{ J(J_CHUNKS ",\"hash\":\"" H "\",\"salt\":1"), "'salt' is not known" },
	{ J("\"hash\":\"" H "\""), "there are no chunks" },
	{ J("\"chunk-size\":4096,\"chunks\":[],\"hash\":\"" H "\""), "there are no chunks" },
	{ J("\"chunk-size\":4096,\"chunks\":[1],\"hash\":\"" H "\""), "'start'" },
	{ J("\"chunk-size\":4096,\"chunks\":[{\"start\":0,\"length\":4096,\"hash\":\"" H
	    "\"}],\"hash\":\"" H "\""),
	  "the chunks end at 4096" },
	{ J("\"chunk-size\":8192,\"chunks\":[{\"start\":0,\"length\":4096,\"hash\":\"" H
	    "\"},{\"start\":4096,\"length\":904,\"hash\":\"" H "\"}],\"hash\":\"" H "\""),
	  "'chunk-size' is not that" },
	{ J("\"chunk-size\":4096,\"chunks\":[{\"start\":-1,\"length\":4096,\"hash\":\"" H
	    "\"}],\"hash\":\"" H "\""),
	  "'start' makes no sense" },
	{ J(J_CHUNKS ",\"hash\":\"" H "\"") J(J_CHUNKS ",\"hash\":\"" H "\""),
	  "something follows" },
	{ "{\"filename\":\"x\",\"virtual-size\":5000,\"algorithm\":\"SHA\"," J_CHUNKS
	  ",\"hash\":\"" H "\"}\n",
	  "not XXH3-128" },
};

Test(manifest, what_it_would_not_print_is_refused)
{
	for (size_t i = 0; i < N_OF(bad); i++) {
		struct bpull_error error = { 0 };
		struct manifest m;
		int rc = read_text(bad[i].text, strlen(bad[i].text), &m, &error);

		cr_assert_eq(rc, -EINVAL, "%zu is read: %s", i, bad[i].text);
		cr_assert(strstr(error.message, bad[i].says), "%zu: '%s', and not '%s'", i,
			  error.message, bad[i].says);
		manifest_free(&m);
	}
}

Test(manifest, every_cut_is_refused)
{
	static const char *const texts[] = { H "  0+4096\n" G "  4096+904\n" H "  x\n",
					     J(J_CHUNKS ",\"hash\":\"" H "\"") };

	for (size_t i = 0; i < N_OF(texts); i++)
		for (size_t len = 0; len < strlen(texts[i]) - 1; len++) {
			struct bpull_error error;
			struct manifest m;

			cr_assert_eq(read_text(texts[i], len, &m, &error), -EINVAL, "%zu of %zu",
				     len, i);
			manifest_free(&m);
		}
}

Test(manifest, files_that_cannot_be_read_are_told)
{
	static const char with_nul[] = H "  0+4096\n" H "  x\0y\n";
	struct bpull_error error;
	struct manifest m;

	cr_assert_eq(manifest_read("/nonexistent/m", &m, &error), -ENOENT);
	cr_assert(strstr(error.message, "/nonexistent/m"));
	cr_assert_eq(manifest_read("/", &m, &error), -EISDIR, "%s", error.message);
	cr_assert_eq(read_text(with_nul, sizeof(with_nul) - 1, &m, &error), -EINVAL);
	manifest_free(&m);
}
