/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One number is the whole budget: when all that was taken is paid for. A process that takes bytes
 * moves it on by their cost, in one step that no other process can come between, and may use them
 * when it was reached as it stood before. So first come, first served, and no process ever holds
 * anything that another one waits for: killed at any instant it leaves at most one run paid for and
 * not used.
 *
 * Tokens with a lock around them were rejected: one that is stopped inside stops all. A share for
 * each process was, too: it has to be found again whenever one of them comes, goes, or needs less.
 */
#include "tools/budget/page.h"

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)

/* An idle budget saves up so much time's bytes. */
#define BURST_NS (50 * UINT64_C(1000000))

/* What one process has taken ahead, at most: the library asks for a run at a time. */
#define MAX_TAKE (UINT64_C(16) << 20)
#define RUN_LEN  (UINT64_C(1) << 20)

/* No process waits longer than for so many tries of others. */
#define MAX_TRIES 64

/* Rounded up, so that no rate is exceeded. */
static uint64_t cost_ns(uint64_t bytes, uint64_t rate)
{
	uint64_t rest = bytes % rate * SECOND_NS;

	return bytes / rate * SECOND_NS + rest / rate + !!(rest % rate);
}

static uint64_t rate_of(const struct budget_page *page, struct budget_view *view)
{
	uint64_t rate = atomic_load(&page->rate);

	if (rate <= BUDGET_MAX_RATE)
		view->rate = rate;
	else
		view->wrong |= BUDGET_WRONG_RATE;
	return view->rate;
}

uint64_t budget_page_take(struct budget_page *page, struct budget_view *view, uint64_t now_ns,
			  uint64_t bytes)
{
	uint64_t rate = rate_of(page, view), cost, ahead, next, begin;

	if (!rate || !bytes)
		return 0;
	bytes = bytes < MAX_TAKE ? bytes : MAX_TAKE;
	cost = cost_ns(bytes, rate);
	ahead = BURST_NS + 2 * view->n_holders * cost_ns(RUN_LEN, rate);
	atomic_fetch_add(&page->taken, bytes);
	next = atomic_load(&page->next_ns);
	for (unsigned i = 0; i < MAX_TRIES; i++) {
		begin = next;
		if (next > now_ns && next - now_ns > ahead) {
			view->wrong |= BUDGET_WRONG_TIME;
			begin = now_ns;
		} else if (next + BURST_NS < now_ns) {
			begin = now_ns - BURST_NS;
		}
		if (atomic_compare_exchange_weak(&page->next_ns, &next, begin + cost))
			return begin > now_ns ? begin - now_ns : 0;
	}
	return cost; /* others are at it all the time */
}

bool budget_page_is_far(const struct budget_page *page, uint64_t now_ns)
{
	uint64_t rate = atomic_load(&page->rate), next = atomic_load(&page->next_ns);

	if (!rate || rate > BUDGET_MAX_RATE)
		return false;
	return next > now_ns && next - now_ns > BURST_NS + 2 * cost_ns(RUN_LEN, rate);
}

void budget_page_begin(struct budget_page *page, const uint8_t boot_id[16], uint64_t rate)
{
	memset(page->magic, 0, sizeof(page->magic));
	atomic_thread_fence(memory_order_seq_cst);
	memcpy(page->boot_id, boot_id, sizeof(page->boot_id));
	atomic_store(&page->rate, rate);
	atomic_store(&page->next_ns, 0);
	atomic_store(&page->taken, 0);
	/* Last: a process that is killed in here leaves a page that is none yet. */
	atomic_thread_fence(memory_order_seq_cst);
	memcpy(page->magic, BUDGET_MAGIC, sizeof(page->magic));
}

bool budget_page_is_one(const struct budget_page *page)
{
	return !memcmp(page->magic, BUDGET_MAGIC, sizeof(page->magic));
}
