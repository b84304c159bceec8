/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How many reads a run makes its plan says before it reads; how many writes is known when zeros
 * were found. So a run pays for its reads and one write, and the difference is settled when it
 * writes: more are charged then, as a debt that the next run waits for, and what was paid too much
 * is the next run's. Over time the rate is exact. Charging each request as it is submitted was
 * rejected: a run would wait with its clusters locked.
 */
#include "engine/copy/walk/requests.h"

#include "engine/copy/walk/plan.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/rate/limiter.h"

void requests_set_rate(struct bpull_disk *disk, uint64_t now_ns, uint64_t iops)
{
	limiter_set(&disk->walk->requests.limiter, now_ns, iops, 0);
}

bool requests_are_limited(const struct copy_run *p)
{
	return p->walk->requests.limiter.rate || p->op.engine->request_limiter.rate;
}

static uint64_t n_wanted(const struct copy_run *p)
{
	return p->plan.data_len ? plan_count_reads(&p->plan) + UINT64_C(1) : 0;
}

uint64_t requests_ready_ns(struct copy_run *p, uint64_t now_ns)
{
	struct request_rate *rate = &p->walk->requests;
	uint64_t n, own, shared;

	if (!requests_are_limited(p))
		return now_ns;
	n = n_wanted(p);
	n -= MIN(n, rate->n_prepaid);
	own = limiter_ready_ns(&rate->limiter, now_ns, n);
	shared = limiter_ready_ns(&p->op.engine->request_limiter, now_ns, n);
	return MAX(own, shared);
}

static void pay(struct copy_run *p, uint64_t now_ns, uint64_t n)
{
	struct request_rate *rate = &p->walk->requests;
	uint64_t n_free = MIN(n, rate->n_prepaid);

	rate->n_prepaid -= n_free;
	n -= n_free;
	limiter_charge(&rate->limiter, now_ns, n);
	limiter_charge(&p->op.engine->request_limiter, now_ns, n);
	p->charge.requests.n_charged += n;
}

void requests_charge(struct copy_run *p, uint64_t now_ns)
{
	uint64_t n = n_wanted(p);

	if (!n || !requests_are_limited(p))
		return;
	pay(p, now_ns, n);
	p->charge.requests.n_paid_reads = n - 1;
	p->charge.requests.n_paid_writes = 1;
}

/* n requests were made, and *n_paid were paid for. */
static void settle(struct copy_run *p, uint32_t n, uint32_t *n_paid)
{
	if (p->kind == RUN_ON_READ)
		return;
	p->walk->requests.n_done += n;
	if (n > *n_paid && requests_are_limited(p))
		pay(p, engine_now_ns(), n - *n_paid);
	*n_paid -= MIN(n, *n_paid);
}

void requests_note_reads(struct copy_run *p, uint32_t n)
{
	settle(p, n, &p->charge.requests.n_paid_reads);
}

void requests_note_writes(struct copy_run *p, uint32_t n)
{
	settle(p, n, &p->charge.requests.n_paid_writes);
}

void requests_end(struct copy_run *p)
{
	struct run_requests *own = &p->charge.requests;
	uint64_t now_ns;

	p->walk->requests.n_prepaid += own->n_paid_reads + own->n_paid_writes;
	own->n_paid_reads = own->n_paid_writes = 0;
	if (!own->n_charged)
		return;
	now_ns = engine_now_ns();
	limiter_done(&p->walk->requests.limiter, now_ns, own->n_charged);
	limiter_done(&p->op.engine->request_limiter, now_ns, own->n_charged);
	own->n_charged = 0;
}
