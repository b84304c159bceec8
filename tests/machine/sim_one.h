/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One file on a simulated machine and one request at a time: the few lines the
 * tests of the simulator share.
 */
#ifndef BLOCKPULL_TESTS_SIM_ONE_H
#define BLOCKPULL_TESTS_SIM_ONE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "io/base.h"
#include "io/file/opener.h"
#include "tests/machine/files/sim.h"

#define N_SEEDS 200

static inline struct file *open_file(struct sim *sim, const char *name)
{
	struct err err = { 0 };
	struct file *file;
	struct file_opener *opener = sim_opener(sim);
	int ret = opener->open(opener, &(struct file_open){ .name = name, .write = true }, &file,
			       &err);
	cr_assert_eq(ret, 0, "%s", err.message);
	return file;
}

static inline void submit(struct sim *sim, struct io_req *req)
{
	io_submit(sim_io(sim), req);
	io_kick(sim_io(sim));
}

static inline void wait_all(struct sim *sim)
{
	struct io_req *out[4];
	while (sim_io(sim)->n_in_flight)
		io_reap(sim_io(sim), out, 4);
}

static inline int64_t run(struct sim *sim, struct io_req *req)
{
	submit(sim, req);
	wait_all(sim);
	return req->result;
}

static inline int64_t put(struct sim *sim, struct file *file, const char *text, uint64_t off)
{
	struct io_req req = { 0 };
	io_req_write(&req, file, text, strlen(text), off);
	return run(sim, &req);
}

static inline int64_t sync_file(struct sim *sim, struct file *file)
{
	struct io_req req = { 0 };
	io_req_sync(&req, file);
	return run(sim, &req);
}

/* The text at off after such a cut, in a static buffer. */
static inline const char *after(struct sim *sim, const struct sim_cut *how, uint64_t off,
				size_t len)
{
	static char text[64];
	struct sim *left = sim_cut(sim, how);
	memset(text, 0, sizeof(text));
	sim_file_peek(left, "disk", text, len, off);
	for (size_t i = 0; i < len; i++)
		text[i] = text[i] ? text[i] : '.';
	sim_free(left);
	return text;
}
#define AFTER(off, len, ...) after(sim, &(struct sim_cut){ __VA_ARGS__ }, off, len)

static inline void end(struct sim *sim, struct file *file)
{
	file_close(file);
	io_close(sim_io(sim));
	sim_free(sim);
}

#endif
