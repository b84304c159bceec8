/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is in a budget's file, and what taking from it means. */
#ifndef TOOLS_BUDGET_PAGE_H
#define TOOLS_BUDGET_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BUDGET_MAGIC "blockpull host budget 1\n" /* 24 bytes, no NUL */

/* Bytes a second: so that a second's worth times a billion fits 64 bits. */
#define BUDGET_MAX_RATE (UINT64_C(16) << 30)

/* The file's first bytes, in the machine's own order. Any process that may write to the file may
 * change them at any moment: nothing here is believed. */
struct budget_page {
	char magic[24];
	uint8_t boot_id[16];      /* of the boot that next_ns counts from */
	_Atomic uint64_t rate;    /* bytes/s; 0: no limit */
	_Atomic uint64_t next_ns; /* CLOCK_MONOTONIC: what was taken is paid for then */
	_Atomic uint64_t taken;   /* bytes since the file was made: to be shown, no more */
};

/* What was wrong with the page, and was mended. */
enum budget_wrong {
	BUDGET_WRONG_RATE = 1 << 0, /* more than any: the last one that was right holds */
	BUDGET_WRONG_TIME = 1 << 1, /* further ahead than its holders could bring it: begun anew */
};

/* What a process knows by itself. */
struct budget_view {
	uint64_t rate;      /* the last that was right */
	unsigned n_holders; /* processes that share it, this one too: at most */
	unsigned wrong;     /* enum budget_wrong: since it was emptied last */
};

/* Takes so many bytes, at most 16 MiB. Returns in how many ns they may be used. */
uint64_t budget_page_take(struct budget_page *page, struct budget_view *view, uint64_t now_ns,
			  uint64_t bytes);
/* So far ahead that one should count the holders before one believes it. */
bool budget_page_is_far(const struct budget_page *page, uint64_t now_ns);
/* Makes the page a new budget, of which nothing was taken. */
void budget_page_begin(struct budget_page *page, const uint8_t boot_id[16], uint64_t rate);
bool budget_page_is_one(const struct budget_page *page);

#endif
