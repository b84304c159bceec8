/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The simulated machine: its seed, its clock, and the one gate every operation
 * passes, where it is counted, fails on order, and finds the power gone.
 *
 * Faults are counted from the call that arms them rather than from the start:
 * a loop over k need not know how many operations opening took.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>

#include "io/wake.h"
#include "tests/machine/files/sim_private.h"

/*
 * A play's disks and models are some 100 KiB each, made and freed thousands of times. By default
 * malloc() gives such memory back to the kernel each time: half of a play's time went into page
 * faults.
 */
__attribute__((constructor)) static void keep_freed_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

void *sim_need(void *p)
{
	if (!p)
		abort();
	return p;
}

/* splitmix64: every seed is a good one, also 0. */
static uint64_t sim_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t sim_rand(struct sim *sim)
{
	return sim_next(&sim->rng);
}

uint64_t sim_below(struct sim *sim, uint64_t n)
{
	assert(n);
	return sim_rand(sim) % n;
}

bool sim_chance(struct sim *sim, unsigned permille)
{
	return sim_below(sim, 1000) < permille;
}

uint64_t sim_mix(uint64_t a, uint64_t b)
{
	uint64_t state = a ^ (b * UINT64_C(0xff51afd7ed558ccd));
	return sim_next(&state);
}

void sim_tear(struct sim_store *store, const struct sim_write *write, uint64_t *rng)
{
	uint64_t off = write->off, end = write->off + write->len;
	while (off < end) {
		uint64_t next = MIN(round_down(off, 512) + 512, end);
		bool is_there = sim_next(rng) & 1;
		if (is_there && write->is_punch)
			sim_store_punch(store, off, next - off);
		else if (is_there)
			sim_store_write(store, write->bytes + (off - write->off),
					(size_t)(next - off), off);
		off = next;
	}
}

struct sim *sim_new(uint64_t seed)
{
	struct sim *sim = sim_need(calloc(1, sizeof(*sim)));
	sim->rng = seed;
	sim->knobs = (struct sim_knobs){
		.short_permille = 100, .retry_permille = 20, .max_delay_ns = 200000, .io_align = 1
	};
	sim->wake_fd = wake_open();
	if (sim->wake_fd < 0)
		abort();
	sim_io_init(sim);
	sim_opener_init(sim);
	return sim;
}

void sim_free(struct sim *sim)
{
	if (!sim)
		return;
	assert(!sim->io_open && !sim->n_later);
	for (struct sim_file *file; (file = sim->files);) {
		sim->files = file->next;
		sim_file_free(file);
	}
	free(sim->flights);
	free(sim->waiting);
	free(sim->later);
	close(sim->wake_fd);
	free(sim);
}

struct file_opener *sim_opener(struct sim *sim)
{
	return &sim->opener;
}

struct sim_knobs *sim_knobs(struct sim *sim)
{
	return &sim->knobs;
}

void sim_fail(struct sim *sim, const struct sim_fault *fault)
{
	assert(sim->n_faults < SIM_MAX_FAULTS && fault->nth);
	assert(fault->error < 0 || (!fault->error && fault->max_len));
	sim->faults[sim->n_faults++] = *fault;
}

void sim_clear_faults(struct sim *sim)
{
	sim->n_faults = 0;
}

uint64_t sim_n_faults_hit(const struct sim *sim)
{
	return sim->n_faults_hit;
}

/* nth counts down; 0 is spent, and stays at 1 for one that holds for ever. */
static int sim_fault_check(struct sim *sim, enum sim_op op, const struct sim_file *file)
{
	int error = 0;

	sim->hit = NULL;
	for (unsigned i = 0; i < sim->n_faults; i++) {
		struct sim_fault *fault = &sim->faults[i];
		if (fault->op != op || !fault->nth)
			continue;
		if (fault->name && (!file || sim_file_find(sim, fault->name) != file))
			continue;
		if (fault->nth > 1) {
			fault->nth--;
			continue;
		}
		fault->nth = fault->forever;
		error = error ? error : fault->error;
		sim->hit = fault;
	}
	sim->n_faults_hit += !!sim->hit;
	return error;
}

static uint64_t clock_ns = SIM_CLOCK_BEGIN_NS;

uint64_t sim_clock_ns(void)
{
	return clock_ns;
}

void sim_clock_reset(void)
{
	clock_ns = SIM_CLOCK_BEGIN_NS;
}

void sim_pass(struct sim *sim, uint64_t ns)
{
	sim->now_ns += ns;
	clock_ns += ns;
}

int sim_op_begin(struct sim *sim, enum sim_op op, const struct sim_file *file)
{
	if (sim_is_stopped(sim))
		return SIM_STOPPED;
	sim->n_all_ops++;
	if (sim_is_stopped(sim))
		return SIM_STOPPED;
	if (sim->look)
		sim->look(sim->look_arg, op);
	sim->n_ops[op]++;
	sim_pass(sim, 1000);
	return sim_fault_check(sim, op, file);
}

void sim_op_trace(struct sim *sim, enum sim_op op, uint64_t off, uint64_t len, int64_t result)
{
	sim->trace = sim_mix(sim->trace, op);
	sim->trace = sim_mix(sim->trace, off);
	sim->trace = sim_mix(sim->trace, len);
	sim->trace = sim_mix(sim->trace, (uint64_t)result);
}

uint64_t sim_n_ops(const struct sim *sim, enum sim_op op)
{
	return sim->n_ops[op];
}

uint64_t sim_n_all_ops(const struct sim *sim)
{
	return sim->n_all_ops;
}

void sim_watch(struct sim *sim, void (*look)(void *arg, enum sim_op op), void *arg)
{
	sim->look = look;
	sim->look_arg = arg;
}

void sim_stop_at(struct sim *sim, uint64_t k)
{
	sim->stop_at = k;
}

bool sim_is_stopped(const struct sim *sim)
{
	return sim->stop_at && sim->n_all_ops >= sim->stop_at;
}

uint64_t sim_now_ns(const struct sim *sim)
{
	return sim->now_ns;
}

uint64_t sim_far_bytes(const struct sim *sim)
{
	return sim->far_bytes;
}

void sim_advance(struct sim *sim, uint64_t ns)
{
	sim_pass(sim, ns);
}

uint64_t sim_trace(const struct sim *sim)
{
	return sim->trace;
}
