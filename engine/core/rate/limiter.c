/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The bandwidth limit: a token bucket that begins empty, so that a pull of N
 * bytes takes N / rate from its first read on and not a burst less.
 *
 * When a device stalls, the requests that were charged before end all at once, together
 * with what the bucket has earned meanwhile. So at most half a burst is in flight, and it
 * takes that room in the bucket; not more, since with a bucket of a request or two there
 * would be no time to earn the next one.
 *
 * Integer arithmetic with the fraction of a byte carried along: over an hour
 * the rate is exact to the byte. Time slices with a quota each, as QEMU has
 * them, were rejected: a request larger than a time slice's quota leaks through, and
 * a changed rate waits for the next slice.
 */
#include "engine/core/rate/limiter.h"

#include "io/base.h"
#include "io/scale.h"

#define NS UINT64_C(1000000000)

/* Bytes that the bucket holds beside what is in flight. */
static uint64_t room(const struct limiter *l)
{
	return l->burst - MIN(l->in_flight, l->burst / 2);
}

static void fill(struct limiter *l, uint64_t now_ns)
{
	int64_t most = (int64_t)MAX(room(l), l->wanted);
	uint64_t earned;

	if (now_ns <= l->filled_ns)
		return;
	earned = scale(now_ns - l->filled_ns, l->rate, l->fraction, NS, &l->fraction);
	l->filled_ns = now_ns;
	if (l->tokens >= most) {
		l->fraction = 0;
	} else if (earned >= (uint64_t)most - (uint64_t)l->tokens) {
		l->tokens = most;
		l->fraction = 0;
	} else {
		l->tokens += (int64_t)earned;
	}
}

void limiter_set(struct limiter *l, uint64_t now_ns, uint64_t rate, uint64_t burst)
{
	if (l->rate)
		fill(l, now_ns);
	else
		*l = (struct limiter){ .filled_ns = now_ns, .in_flight = l->in_flight };
	l->rate = rate;
	l->wanted = 0;
	l->burst = MIN(burst ? burst : MAX(rate / 10, UINT64_C(1)), (uint64_t)INT64_MAX);
	l->tokens = MIN(l->tokens, (int64_t)l->burst);
}

uint64_t limiter_ready_ns(struct limiter *l, uint64_t now_ns, uint64_t bytes)
{
	uint64_t wait_ns, rest;
	int64_t want;

	if (!l->rate)
		return now_ns;
	fill(l, now_ns);
	if (l->in_flight > bytes && l->in_flight + bytes > l->burst / 2)
		return UINT64_MAX;
	/* A request the bucket can't hold goes when it is full, and is paid for afterwards. */
	want = (int64_t)MIN(bytes, room(l));
	if (l->tokens >= want)
		return now_ns;
	l->wanted = MAX(l->wanted, (uint64_t)want);
	/* (missing * NS - fraction) / rate, rounded up; UINT64_MAX has another meaning. */
	wait_ns = scale((uint64_t)want - (uint64_t)l->tokens - 1, NS, NS - l->fraction, l->rate,
			&rest);
	if (rest)
		wait_ns++;
	return now_ns + MIN(wait_ns, UINT64_MAX - 1 - now_ns);
}

int64_t limiter_saved(struct limiter *l, uint64_t now_ns)
{
	if (!l->rate)
		return 0;
	fill(l, now_ns);
	return l->tokens;
}

void limiter_charge(struct limiter *l, uint64_t now_ns, uint64_t bytes)
{
	l->in_flight += bytes;
	if (!l->rate)
		return;
	fill(l, now_ns);
	l->tokens -= (int64_t)bytes;
	l->wanted = 0;
}

void limiter_done(struct limiter *l, uint64_t now_ns, uint64_t bytes)
{
	if (l->rate)
		fill(l, now_ns); /* while there was less room */
	l->in_flight -= bytes;
}
