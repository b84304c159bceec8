/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See sim_process.h. The machine's own backend carries the requests of all processes. */
#include "tests/machine/files/sim_process.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "io/wake.h"
#include "tests/machine/files/sim_private.h"

static struct sim_process *process_of(const struct io *io)
{
	return (struct sim_process *)(uintptr_t)io;
}

/* ---- lists ---- */

static void append(struct io_req **list, struct io_req *req)
{
	while (*list)
		list = &(*list)->next;
	req->next = NULL;
	*list = req;
}

static struct io_req *take_first(struct io_req **list)
{
	struct io_req *req = *list;

	*list = req->next;
	return req;
}

/* False: it is not there. */
static bool take(struct io_req **list, const struct io_req *req)
{
	for (; *list; list = &(*list)->next)
		if (*list == req) {
			*list = req->next;
			return true;
		}
	return false;
}

/* ---- requests ---- */

static struct io *machine_of(const struct sim_process *p)
{
	return &p->all->sim->io;
}

static void submit_to_machine(struct sim_process *p, struct io_req *req)
{
	append(&p->flying, req);
	machine_of(p)->ops->submit(machine_of(p), req);
}

static void leave_flight(struct sim *sim, const struct io_req *req)
{
	for (size_t i = 0; i < sim->n_flights; i++)
		if (sim->flights[i].req == req) {
			sim->flights[i] = sim->flights[--sim->n_flights];
			return;
		}
}

/* What it has submitted fails; what was in flight of its writes stays in the files' logs. */
static void die(struct sim_process *p)
{
	p->is_dying = true;
	for (const struct io_req *req = p->flying; req; req = req->next)
		leave_flight(p->all->sim, req);
	while (p->waiting)
		append(&p->over, take_first(&p->waiting));
	while (p->flying)
		append(&p->over, take_first(&p->flying));
	for (struct io_req *req = p->over; req; req = req->next)
		req->result = SIM_STOPPED;
	wake_signal(p->wake_fd);
}

static bool is_dead(struct sim_process *p)
{
	if (!p->is_dying && sim_is_stopped(p->all->sim))
		die(p);
	return p->is_dying;
}

static void process_submit(struct io *io, struct io_req *req)
{
	struct sim_process *p = process_of(io);

	append(&p->waiting, req);
	if (p->is_dying) {
		append(&p->over, take_first(&p->waiting));
		req->result = SIM_STOPPED;
		wake_signal(p->wake_fd);
	}
}

/* Planted: told of at once. */
static bool is_unsynced(struct sim_process *p, struct io_req *req)
{
	if (!p->all->unsynced || req->kind != IO_SYNC ||
	    strcmp(req->file->real_name, p->all->unsynced) != 0)
		return false;
	p->all->n_unsynced++;
	req->result = 0;
	append(&p->over, req);
	return true;
}

static void process_kick(struct io *io)
{
	struct sim_process *p = process_of(io);

	if (is_dead(p) || !p->waiting)
		return;
	while (p->waiting) {
		struct io_req *req = take_first(&p->waiting);

		if (!is_unsynced(p, req))
			submit_to_machine(p, req);
	}
	machine_of(p)->ops->kick(machine_of(p));
	wake_signal(p->wake_fd);
}

static bool is_mine(const struct sim_process *p, const struct io_req *req)
{
	const struct io_req *mine = p->flying;

	while (mine && mine != req)
		mine = mine->next;
	return mine;
}

/* Reaps this process's requests: the others' are out of the machine's sight meanwhile. */
static unsigned reap_own(struct sim_process *p, struct io_req **out)
{
	struct sim *sim = p->all->sim;
	struct sim_flight *others = sim_need(calloc(sim->n_flights + 1, sizeof(*others)));
	size_t n_others = 0, n_mine = 0;
	unsigned n;

	for (size_t i = 0; i < sim->n_flights; i++)
		if (is_mine(p, sim->flights[i].req))
			sim->flights[n_mine++] = sim->flights[i];
		else
			others[n_others++] = sim->flights[i];
	sim->n_flights = n_mine;
	n = machine_of(p)->ops->reap(machine_of(p), out, 1);
	for (size_t i = 0; i < n_others; i++)
		sim->flights[sim->n_flights++] = others[i];
	free(others);
	return n;
}

static unsigned process_reap(struct io *io, struct io_req **out, unsigned max)
{
	struct sim_process *p = process_of(io);
	struct io_req *req;
	unsigned n = 0;

	if (!is_dead(p) && !p->over && reap_own(p, &req)) {
		if (!take(&p->flying, req))
			abort();
		append(&p->over, req);
	}
	is_dead(p);
	while (p->over && n < max)
		out[n++] = take_first(&p->over);
	if (!p->over && !p->flying)
		wake_drain(p->wake_fd);
	return n;
}

static int process_fd(const struct io *io)
{
	return process_of(io)->wake_fd;
}

static void process_use_memory(struct io *io, void *base, size_t len)
{
}

static void process_add_file(struct io *io, struct file *file)
{
}

static void process_forget_file(struct io *io, struct file *file)
{
	machine_of(process_of(io))->ops->forget_file(machine_of(process_of(io)), file);
}

static void process_round_waits(struct io *io)
{
	machine_of(process_of(io))->ops->round_waits(machine_of(process_of(io)));
}

static void process_destroy(struct io *io)
{
	struct sim_process *p = process_of(io);

	assert(p->lives && !p->waiting && !p->flying && !p->over);
	close(p->wake_fd);
	p->lives = false;
}

static const struct io_ops process_ops = {
	.name = "sim process",
	.submit = process_submit,
	.kick = process_kick,
	.reap = process_reap,
	.fd = process_fd,
	.use_memory = process_use_memory,
	.add_file = process_add_file,
	.forget_file = process_forget_file,
	.round_waits = process_round_waits,
	.destroy = process_destroy,
};

/* ---- life and death ---- */

struct io *sim_process_begin(struct sim_processes *all, unsigned i)
{
	struct sim_process *p = &all->list[i];

	assert(i < SIM_MAX_PROCESSES && !p->lives);
	*p = (struct sim_process){ .io.ops = &process_ops, .all = all, .lives = true };
	p->wake_fd = wake_open();
	if (p->wake_fd < 0)
		abort();
	return &p->io;
}

void sim_process_kill(struct sim_processes *all, unsigned i)
{
	assert(all->list[i].lives);
	sim_stop_at(all->sim, 1);
	if (!all->list[i].is_dying)
		die(&all->list[i]);
}

static bool is_in_flight(const struct sim *sim, const struct sim_write *write)
{
	for (size_t i = 0; i < sim->n_flights; i++)
		if (sim->flights[i].write == write)
			return true;
	return false;
}

static void never_was(struct sim_file *file, struct sim_write *write)
{
	struct sim_write **at = &file->flying, *before = NULL;

	while (*at != write) {
		before = *at;
		at = &before->next;
	}
	*at = write->next;
	if (file->flying_end == write)
		file->flying_end = before;
	free(write);
}

/* A kernel writes page after page, and one sector as a whole. What was written stays. */
static uint64_t draw_len(struct sim *sim, const struct sim_file *file,
			 const struct sim_write *write)
{
	uint64_t most = file->limit && file->limit < write->off + write->len
				? MAX(file->limit, write->off) - write->off
				: write->len;
	uint64_t end = round_down(write->off + sim_below(sim, most + 1), 512);

	switch (sim_below(sim, 3)) {
	case 0: return write->moved;
	case 1: return most;
	default: return end > write->off ? MAX(end - write->off, write->moved) : write->moved;
	}
}

static void come_to_pass(struct sim *sim, struct sim_file *file, struct sim_write *write)
{
	uint64_t len = draw_len(sim, file, write);

	if (!len) {
		never_was(file, write);
		return;
	}
	write->len = len;
	sim_store_write(&file->live, write->bytes, len, write->off);
	sim_log_land(sim, file, write, false);
}

void sim_process_buried(struct sim_processes *all, unsigned i)
{
	struct sim *sim = all->sim;

	assert(!all->list[i].lives);
	sim_stop_at(sim, 0);
	for (struct sim_file *file = sim->files; file; file = file->next) {
		struct sim_write *next;

		for (struct sim_write *write = file->flying; write; write = next) {
			next = write->next;
			if (!is_in_flight(sim, write))
				come_to_pass(sim, file, write);
		}
	}
}

void sim_processes_stop(struct sim_processes *all)
{
	sim_stop_at(all->sim, 1);
	for (unsigned i = 0; i < SIM_MAX_PROCESSES; i++)
		if (all->list[i].lives && !all->list[i].is_dying)
			die(&all->list[i]);
}
