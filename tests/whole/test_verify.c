/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Pulls that verify, inside the simulated machine: what is right is found right,
 * all of it, and one byte that rots anywhere in what was copied keeps the link
 * and is named. The list of what was copied is made so short that most pulls
 * verify several times.
 *
 *   SIM_SEEDS=n SIM_SEED=first   more of them, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/core/copied.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/tables/tables.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(600);
TestSuite(verify, .timeout = TIME_LIMIT_CLOCK(600));

/* Bends one byte of what is to be verified, in the file. */
struct rot {
	uint64_t seed;
	bool wanted, done;
	bool entry;          /* not a byte of it, but the table entry that leads to it */
	bool fails;          /* not a byte of it, but one of the reads */
	uint64_t n_uncached; /* before the verification */
	uint64_t n_looks;
	unsigned n_rounds; /* verifications begun */
	bool verifying;
	uint64_t guest_off; /* of the item it is in */
};

/* Calls that drop a file from the page cache. */
static uint64_t n_uncached;

/* An entry is lost at such a call: before it a commit may be on its way, with the entry. */
static struct rot *losing;
static struct sim_pull *losing_of;
static void lose_entry(struct sim_pull *pull, struct rot *r);

void __real_file_uncache(struct file *file);
void __wrap_file_uncache(struct file *file);
void __wrap_file_uncache(struct file *file)
{
	n_uncached++;
	__real_file_uncache(file);
	if (losing && !losing->done)
		lose_entry(losing_of, losing);
}

static void bend(struct file *file, uint64_t host_off)
{
	uint8_t byte;

	cr_assert_eq(file_read(file, &byte, 1, host_off), 0);
	byte ^= 0x10;
	cr_assert_eq(file_write(file, &byte, 1, host_off), 0);
}

static void rot(struct sim_pull *pull, struct rot *r)
{
	const struct copied_list *list = &pull->disk->verify->list;
	const struct copied *item = &list->items[r->seed * 7919 % list->n];
	struct layer *overlay = disk_overlay(pull->disk);
	struct extent e;
	struct table_need need;
	uint64_t at = r->seed % item->len, host_off = item->host_off + at;

	r->guest_off = item->guest_off;
	if (!item->is_direct) {
		int rc = layer_map(overlay, item->guest_off + at, 1, &e, &need);

		if (rc == TABLE_NEED) /* next time */
			return;
		cr_assert_eq(rc, 0);
		host_off = e.host_off;
		if (e.kind == EXTENT_COMPRESSED) /* the last bytes may be padding */
			host_off += r->seed % 40;
	}
	bend(overlay->data, host_off);
	r->done = true;
}

static void lose_entry(struct sim_pull *pull, struct rot *r)
{
	const struct copied_list *list = &pull->disk->verify->list;
	const struct copied *item = &list->items[r->seed * 7919 % list->n];
	struct layer *overlay = disk_overlay(pull->disk);
	struct qcow2 *q = qcow2_of(overlay);
	static const uint8_t none[16];
	struct table_need need;
	struct table *l2;
	uint64_t l2_off;
	uint32_t byte;
	int rc;

	while ((rc = qcow2_l2_table_off(q, item->guest_off, &l2_off, &need)) == TABLE_NEED ||
	       (!rc && (rc = qcow2_l2_slice_to_change(q, l2_off, item->guest_off, &l2, &byte,
						      &need)) == TABLE_NEED))
		if (table_load_now(overlay->cache, &need))
			return; /* it is being loaded: next time */
	cr_assert_eq(rc, 0);
	memcpy(l2->bytes + byte, none, q->l2_entry_len);
	cr_assert_eq(file_write(overlay->file, none, q->l2_entry_len, l2->host_off + byte), 0);
	r->done = true;
}

/* What is in the list is written, durable or not. */
static void look(struct sim_pull *pull, void *arg)
{
	struct rot *r = arg;
	struct verify *verify = pull->disk->verify;
	bool verifying = pull->disk->job.step == JOB_VERIFYING;

	if (!verify)
		return;
	if (!r->n_looks++)
		verify->max_items = 1 + r->seed % 40;
	r->n_rounds += verifying && !r->verifying;
	r->verifying = verifying;
	if (!verifying)
		r->n_uncached = n_uncached;
	/* What was copied since the last one is in the page cache. */
	cr_assert(!verifying || !verify->n_reading || n_uncached > r->n_uncached,
		  "seed %" PRIu64 ": verification %u reads what is in memory", r->seed,
		  r->n_rounds);
	if (r->fails && !r->done && verifying && verify->n_reading) {
		sim_fail(pull->sim, &(struct sim_fault){ .op = SIM_READ,
							 .nth = 1 + r->seed % 2,
							 .error = -EIO,
							 .persists = true });
		r->done = true;
	}
	losing =
		r->entry && !r->done && verifying && !verify->uncached && verify->list.n ? r : NULL;
	losing_of = pull;
	if (r->wanted && !r->done && !verify->uncached && verify->list.n &&
	    r->n_rounds >= r->seed % 3)
		rot(pull, r);
}

static struct sim_pull pull_verified(const struct sim_chain *chain, struct sim *sim, struct rot *r)
{
	struct sim_pull pull = { 0 };
	int rc = sim_pull_open(&pull, chain, sim, NULL, SIM_PULL_MEMORY, 0);

	cr_assert_eq(rc, 0, "seed %" PRIu64 ": %s: %s", r->seed, chain->text, pull.error.message);
	pull.flags = BPULL_JOB_VERIFY;
	pull.on_error = r->fails ? BPULL_ON_ERROR_STOP : BPULL_ON_ERROR_REPORT;
	pull.look = look;
	pull.look_arg = r;
	rc = sim_pull_run(&pull);
	cr_assert_eq(rc, 0, "seed %" PRIu64 ": %s: %s", r->seed, chain->text, pull.error.message);
	return pull;
}

static struct sim_chain_how draw(uint64_t seed)
{
	return (struct sim_chain_how){
		.seed = seed,
		.format = seed % 5 ? IMAGE_QCOW2 : IMAGE_QED,
		.compression = seed % 3 == 1 ? BPULL_COMPRESSION_OWN : 0,
		.n_snapshots = seed % 5 && seed % 4 == 2 ? 1 + seed % 2 : 0,
		.refcount_bits = seed % 5 ? 16 : 0,
		.data_file = seed % 5 && seed % 12 == 3,
		.version = seed % 12 == 3 ? 3 : 0,
		.to_base = seed % 5 && seed % 2,
		/* It looks at the bytes, so it shares none, also where it could. */
		.clone = seed % 12 == 4 ? SIM_CLONE_WORKS : SIM_CLONE_NEVER,
		.cluster_bits = seed % 12 == 4 ? 12 : 0,
	};
}

static uint64_t n_seeds(uint64_t n)
{
	return sim_pull_env("SIM_SEEDS", EFFORT(n));
}

/* Pulls n chains, of which nothing rots; how many times a job was stopped, and verifications. */
static unsigned pull_all(uint64_t n, bool fails, uint64_t *n_rounds)
{
	uint64_t first = sim_pull_env("SIM_SEED", 1);
	unsigned n_stops = 0;

	for (uint64_t seed = first; seed < first + n; seed++) {
		struct sim_chain_how how = draw(seed);
		struct rot r = { .seed = seed, .fails = fails };
		struct sim *sim = sim_new(seed);
		struct bpull_job_info info = { .size = sizeof(info) };
		struct sim_chain chain;
		struct sim_verdict v;
		struct sim_pull pull;

		sim_chain_draw(&chain, &how);
		sim_chain_put(&chain, sim);
		pull = pull_verified(&chain, sim, &r);
		cr_assert_eq(pull.status, BPULL_JOB_COMPLETED, "seed %" PRIu64 ": %s: %s", seed,
			     chain.text, pull.message);
		bpull_job_get_info(pull.disk, &info);
		cr_assert_eq(info.cloned_bytes, 0, "seed %" PRIu64, seed);
		/* Of the last cluster more may be read back, or, compressed, its bytes as they
		 * are. */
		cr_assert(info.verified_bytes + chain.cluster_len > info.copied_bytes &&
				  info.verified_bytes < info.copied_bytes + chain.cluster_len,
			  "seed %" PRIu64 ": %s: %" PRIu64 " of %" PRIu64, seed, chain.text,
			  info.verified_bytes, info.copied_bytes);
		sim_pull_close(&pull);
		sim_pull_judge(&chain, sim, &v);
		cr_assert(v.ok, "seed %" PRIu64 ": %s: %s", seed, chain.text, v.text);
		*n_rounds += r.n_rounds;
		n_stops += pull.n_stops;
		sim_chain_free(&chain);
		sim_free(sim);
	}
	return n_stops;
}

Test(verify, what_is_right_is_all_read_back)
{
	uint64_t n = n_seeds(600), n_rounds = 0;

	cr_assert_eq(pull_all(n, false, &n_rounds), 0);
	cr_assert(n < EFFORT(100) || n_rounds > n, "%" PRIu64 " rounds only", n_rounds);
}

/* A read that fails stops the job; when it goes on, nothing is left out. */
Test(verify, what_could_not_be_read_is_read_again)
{
	uint64_t n = n_seeds(60), n_rounds = 0;
	unsigned n_stops = pull_all(n, true, &n_rounds);

	cr_assert(n < EFFORT(15) || n_stops > n / 3, "%u stops only", n_stops);
}

/* A bent byte may be one that a decoder never looks at: then the content is right. */
static void judge_rotten(const struct sim_pull *pull, const struct sim_chain *chain,
			 const struct rot *r)
{
	char offset[32];

	snprintf(offset, sizeof(offset), "offset %#llx", (unsigned long long)r->guest_off);
	cr_assert_eq(pull->status, BPULL_JOB_FAILED, "seed %" PRIu64 ": %s: not found", r->seed,
		     chain->text);
	cr_assert_eq(pull->event_error, -EBADMSG, "seed %" PRIu64 ": %s: %s", r->seed, chain->text,
		     pull->message);
	/* Of a compressed cluster that can't be decoded, the read is named it was part of. */
	cr_assert(chain->how.compression || strstr(pull->message, offset),
		  "seed %" PRIu64 ": %s: %s, not %s", r->seed, chain->text, pull->message, offset);
}

Test(verify, a_rotten_byte_keeps_the_link)
{
	uint64_t first = sim_pull_env("SIM_SEED", 1), n = n_seeds(600), n_found = 0;

	for (uint64_t seed = first; seed < first + n; seed++) {
		struct sim_chain_how how = draw(seed);
		struct rot r = { .seed = seed, .wanted = true };
		struct sim *sim = sim_new(seed);
		struct sim_chain chain;
		struct sim_pull pull;
		struct sim_verdict v;

		sim_chain_draw(&chain, &how);
		sim_chain_put(&chain, sim);
		pull = pull_verified(&chain, sim, &r);
		sim_pull_close(&pull);
		if (r.done && (pull.status != BPULL_JOB_COMPLETED || !chain.how.compression)) {
			judge_rotten(&pull, &chain, &r);
			n_found++;
			sim_pull_judge(&chain, sim, &v);
			cr_assert(v.has_backing, "seed %" PRIu64 ": %s: the link is gone", seed,
				  chain.text);
		}
		sim_chain_free(&chain);
		sim_free(sim);
	}
	cr_assert(n < EFFORT(100) || n_found > n / 3, "%" PRIu64 " of %" PRIu64, n_found, n);
}

/* Then the chain answers, with the same bytes: as long as it is there. */
Test(verify, an_entry_that_is_lost_keeps_the_link)
{
	uint64_t first = sim_pull_env("SIM_SEED", 1), n = n_seeds(60), n_found = 0;

	for (uint64_t seed = first; seed < first + n; seed++) {
		struct sim_chain_how how = { .seed = seed, .format = IMAGE_QCOW2, .version = 3 };
		struct rot r = { .seed = seed, .entry = true };
		struct sim *sim = sim_new(seed);
		struct sim_chain chain;
		struct sim_pull pull;

		sim_chain_draw(&chain, &how);
		sim_chain_put(&chain, sim);
		pull = pull_verified(&chain, sim, &r);
		sim_pull_close(&pull);
		if (r.done) {
			cr_assert_eq(pull.status, BPULL_JOB_FAILED,
				     "seed %" PRIu64 ": %s: not found", seed, chain.text);
			cr_assert_eq(pull.event_error, -EBADMSG, "seed %" PRIu64 ": %s", seed,
				     pull.message);
			n_found++;
		}
		sim_chain_free(&chain);
		sim_free(sim);
	}
	cr_assert(n < EFFORT(50) || n_found > n / 4, "%" PRIu64 " of %" PRIu64, n_found, n);
}
