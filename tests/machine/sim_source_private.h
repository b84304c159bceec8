/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What sim_source.c and sim_source_fate.c share. */
#ifndef BLOCKPULL_TESTS_SIM_SOURCE_PRIVATE_H
#define BLOCKPULL_TESTS_SIM_SOURCE_PRIVATE_H

#include "tests/machine/sim_source.h"

struct sim_source {
	struct sim_sources *all;
	const char *recorded;
	char name[16]; /* of the machine's file */
	struct sim_source_how how;
	uint64_t away_until_ns;
	bool is_other, is_told;
	void (*changed)(void *arg);
	void *changed_arg;
	unsigned n_open;
	uint64_t n_good;
	uint8_t *was_read; /* one a byte: 1 where it was read; NULL: none was */
	uint64_t n_read, n_reread;
	struct question *questions; /* in flight */
	/* The read of the last question, as far as it can be seen: questions behind each other at
	 * one time. Where the next one would begin, and bad ends that no other bears. */
	struct {
		uint64_t number, end, asked_ns, n_bad;
	} last;
};

/* A question in flight. */
struct question {
	struct question *next;
	struct sim_source *source;
	struct bpull_source_ask *ask;
	uint8_t *buf; /* NULL: for extents */
	uint64_t off, len, asked_ns;
	bool is_of_call;
	uint64_t read_number;
	uint64_t n_bad; /* ends of others of its read, that came before its own */
};

struct sim_sources {
	struct sim *sim;
	struct sim_source of[SIM_SOURCES_MAX];
	unsigned n;
	bool may_fail;
	struct sim_sources_counts counts;
};

/* The question was answered with its bytes: counts them. */
void sim_source_note_read(struct sim_source *source, const struct question *question);
/* The question ends badly: one of its read that is in flight still, or that is asked next, bears
 * that until it ends, too. */
void sim_source_leave_bad(struct sim_source *source, const struct question *question);
/* A question is asked: takes what was left to it. */
void sim_source_take_bad(struct sim_source *source, struct question *question);

#endif
