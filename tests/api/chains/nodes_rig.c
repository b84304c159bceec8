/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See nodes_rig.h. */
#include "tests/api/chains/nodes_rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"
#include "tests/support/random.h"

struct bpull_engine *nodes_engine;
struct bpull_error nodes_error;
uint8_t *nodes_want, *nodes_got;

void nodes_set_up(void)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = BPULL_ENGINE_THREAD };

	scratch_make();
	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	nodes_want = malloc(LEN);
	nodes_got = malloc(LEN);
	cr_assert_eq(bpull_engine_open(&o, &nodes_engine, &nodes_error), 0, "%s",
		     nodes_error.message);
}

void nodes_tear_down(void)
{
	bpull_engine_close(nodes_engine);
	free(nodes_want);
	free(nodes_got);
	scratch_remove();
}

/* Every layer writes its own blocks; `nodes_want` is what the top reads then. */
static void write_layer(const char *name, const char *format, unsigned layer)
{
	char command[8192] = "";
	size_t used = 0;

	for (unsigned i = 0; i < 24; i++) {
		unsigned off = (layer * 37 + i * (5 + layer)) % (LEN / (64 * 1024)) * 65536;
		unsigned len = i % 3 ? 65536 : 4096 * (1 + i % 7), byte = 16 * layer + i % 16 + 1;

		used += snprintf(command + used, sizeof(command) - used, " -c 'write -P %u %u %u'",
				 byte, off, len);
		memset(nodes_want + off, (int)byte, len);
	}
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-io -f %s%s %s", format, command, scratch(name)),
		     0);
}

void nodes_make_chain(const char *format)
{
	const char *names[] = { "base", "c", "b", "a", "top" };

	memset(nodes_want, 0, LEN);
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-img create -q -f raw %s %u", scratch("base"), LEN),
		     0);
	write_layer("base", "raw", 1);
	for (unsigned i = 1; i < 5; i++) {
		cr_assert_eq(qemu_img_run(NULL, 0,
					  "cd %s && qemu-img create -q -f %s -b %s -F %s %s",
					  scratch_dir(), format, names[i - 1],
					  i == 1 ? "raw" : format, names[i]),
			     0);
		write_layer(names[i], format, i + 1);
	}
}

struct bpull_disk *nodes_open_disk(const char *name, uint32_t flags)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = flags,
					.backing_trust = BPULL_TRUST_ALL };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(nodes_engine, scratch(name), &o, &disk, &nodes_error), 0, "%s",
		     nodes_error.message);
	return disk;
}

void nodes_expect_disk(struct bpull_disk *disk)
{
	cr_assert_eq(bpull_pread(disk, nodes_got, LEN, 0), 0);
	for (unsigned at = 0; at < LEN; at += BLOCK)
		cr_assert(!memcmp(nodes_got + at, nodes_want + at, BLOCK),
			  "the guest reads others at %u", at);
}

void nodes_expect_image(const char *name, const char *format)
{
	FILE *file;

	if (strcmp(format, "raw") != 0)
		cr_assert_eq(
			qemu_img_run(NULL, 0, "qemu-img check -q -f %s %s", format, scratch(name)),
			0, "%s is not sound", name);
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-img convert -f %s -O raw %s %s", format,
				  scratch(name), scratch("flat")),
		     0);
	file = fopen(scratch("flat"), "r");
	cr_assert_eq(fread(nodes_got, 1, LEN, file), LEN);
	fclose(file);
	for (unsigned at = 0; at < LEN; at += BLOCK)
		cr_assert(!memcmp(nodes_got + at, nodes_want + at, BLOCK), "%s reads others at %u",
			  name, at);
}

void nodes_expect_backing(const char *name, const char *backing)
{
	char out[4096], wanted[128];

	qemu_img_run(out, sizeof(out), "qemu-img info -U --output=json %s", scratch(name));
	snprintf(wanted, sizeof(wanted), "\"backing-filename\": \"%s\"", backing);
	cr_assert(backing[0] ? !!strstr(out, wanted) : !strstr(out, "\"backing-filename\""),
		  "%s is not above '%s': %s", name, backing, out);
}

void nodes_write_and_read(struct bpull_disk *disk, uint64_t *random)
{
	uint32_t off = random_below(random, LEN / 512) * 512;
	uint32_t len = 512 * (1 + random_below(random, 64));

	len = off + len > LEN ? LEN - off : len;
	if (random_below(random, 2)) {
		memset(nodes_want + off, (int)(1 + random_below(random, 255)), len);
		cr_assert_eq(bpull_pwrite(disk, nodes_want + off, len, off, 0), 0);
	}
	cr_assert_eq(bpull_pread(disk, nodes_got, len, off), 0);
	cr_assert(!memcmp(nodes_got, nodes_want + off, len), "the guest reads others at %u", off);
}

enum bpull_job_status nodes_work_until_over(struct bpull_disk *disk, uint64_t seed)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	uint64_t random = seed;

	do {
		if (disk)
			nodes_write_and_read(disk, &random);
		cr_assert_eq(bpull_job_get_info(disk, &info), 1);
	} while (info.state != BPULL_JOB_CONCLUDED);
	return info.status;
}

void nodes_start(struct bpull_disk *disk, struct bpull_job_options o)
{
	o.size = sizeof(o);
	o.top = o.top ? scratch(o.top) : NULL;
	o.base = o.base ? scratch(o.base) : NULL;
	cr_assert_eq(bpull_job_start(disk, &o, &nodes_error), 0, "%s", nodes_error.message);
}
