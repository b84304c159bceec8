/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A disk that is made longer beside a guest, between jobs, and is refused beside them: by a
 * sector, into what a longer backing file or a snapshot holds there, past the last L2 table and
 * past the L1 table. The image has the old length or the new one in each state that a cut leaves,
 * the new end reads zeros, and once its event has come the length is durable.
 */
#include <errno.h>
#include <string.h>

#include "tests/whole/plays/play.h"

#define ROOM_MAX (512 * KiB) /* what the model knows behind the first end, mostly */

void play_draw_grow(struct sim_chain *chain, uint64_t seed)
{
	uint64_t i = seed / 8;
	struct sim_chain_how how = {
		.seed = i + 1,
		.n_clusters = 6 + i % 30,
		.format = IMAGE_QCOW2,
		.version = 3,
		.cluster_bits = 9 + i / 8 % 3,
		.autoclear = i / 16 % 2,
	};

	switch (i % 8) {
	case 0:
		how.format = IMAGE_QED;
		how.cluster_bits = 12;
		how.autoclear = 0;
		break;
	case 1:
		how.n_snapshots = 1 + i / 8 % 2;
		how.refcount_bits = 4u << i / 8 % 3;
		break;
	case 2:
		how.longer = true;
		how.n_snapshots = 1 + i / 8 % 3;
		how.refcount_bits = 8;
		break;
	case 3: how.data_file = true; break;
	case 4:
		how.version = 2;
		how.autoclear = 0;
		break;
	case 5: how.full_block = true; break;
	case 6:
		how.full_table = true;
		how.cluster_bits = 9;
		how.refcount_bits = 16u << i / 8 % 3;
		break;
	default:
		if (i / 8 % 2)
			how.compression = BPULL_COMPRESSION_OWN;
		else if (i / 16 % 2) {
			how.extended = true;
			how.cluster_bits = 14;
			how.n_clusters = 2 + i % 5;
		}
		break;
	}
	sim_chain_draw(chain, &how);
}

/* Guest bytes of one L2 table. */
static uint64_t l2_span(const struct sim_chain *chain)
{
	return (uint64_t)chain->cluster_len / 8 * chain->cluster_len;
}

void play_grow_begin(struct play *p, const struct sim_chain *chain)
{
	uint64_t room = MIN(ROOM_MAX, 4 * l2_span(chain));

	/* Now and then an L1 table of more than one cluster. */
	if (chain->cluster_len == 512 && !play_below(p, 8))
		room = chain->cluster_len / 8 * l2_span(chain) + room;
	p->own = *chain;
	p->chain = &p->own;
	p->model_len = chain->guest_len + room;
	p->first = sim_need(calloc(1, p->model_len));
	memcpy(p->first, chain->want, chain->guest_len);
}

static uint64_t draw_len(struct play *p)
{
	uint64_t len = p->chain->guest_len, room = p->model_len - len;

	switch (play_below(p, 8)) {
	case 0: return len;
	case 1:
	case 2: return len + MIN(room, 512 * (1 + play_below(p, 9)));
	case 3:
	case 4: return MIN(p->model_len, round_up(len + 1, p->chain->cluster_len));
	default: return len + round_down(play_below(p, room / 2 + 1), 512);
	}
}

/* Why there is none at once. */
static bool may_refuse(const struct play *p, int rc, uint64_t len)
{
	const struct chain *chain = p->guest.disk->chain;

	if (p->guest.disk->poisoned)
		return rc == -EIO;
	if (rc != -ENOTSUP || p->chain->how.version != 2)
		return false;
	return p->chain->how.n_snapshots || (chain->n_layers > 1 && len > p->chain->guest_len &&
					     chain->layers[1]->guest_len > p->chain->guest_len);
}

void play_grow(struct play *p)
{
	struct bpull_disk *disk = p->guest.disk;
	bool is_busy = disk->guests.is_growing || disk->job.step != JOB_IDLE || disk->exclusive;
	uint64_t len = draw_len(p);
	struct bpull_error error;
	int rc;

	if (p->grow_to && !disk->guests.is_growing) /* its event waits to be taken */
		return;
	rc = bpull_disk_resize(disk, len, &p->grow_to, &error);
	if (is_busy) {
		play_met.grow_busy++;
		CHECK(p, rc == -EBUSY, "a job runs, or it is growing, and the answer is %s",
		      strerror(-rc));
		return;
	}
	CHECK(p, !rc || may_refuse(p, rc, len), "it can't be %" PRIu64 " bytes long: %s", len,
	      error.message);
	if (rc)
		return;
	p->grow_to = len;
	play_met.grow_with_guest += p->guest.n_in_flight != 0;
}

static bool may_fail(const struct play *p, int error)
{
	return (p->faults && error == -EIO) || ((p->faults || p->space) && error == -ENOSPC);
}

void play_end_grow(struct play *p, const struct bpull_event *event)
{
	uint64_t len = p->grow_to;

	CHECK(p, len, "an event of no resize");
	CHECK(p, !event->error || (!p->has_room && may_fail(p, event->error)),
	      "it can't be made longer%s: %s", p->has_room ? ", with room again" : "",
	      strerror(-event->error));
	p->grow_to = 0;
	if (!event->error) {
		play_met.grown += len > p->chain->guest_len;
		play_met.grown_far += len > round_up(p->chain->guest_len, 3 * l2_span(p->chain)) &&
				      p->chain->how.format == IMAGE_QCOW2;
		p->chain->guest_len = len;
	} else if (p->guest.disk->poisoned) {
		CHECK(p, event->error == -EIO, "given up, and its event says %s",
		      strerror(-event->error));
		p->maybe_len = len;
	}
	play_met.grow_failed += event->error != 0;
	CHECK(p, bpull_disk_size(p->guest.disk) == p->chain->guest_len,
	      "the disk has %" PRIu64 " bytes instead of %" PRIu64 ", its event says %s",
	      bpull_disk_size(p->guest.disk), p->chain->guest_len, strerror(-event->error));
	play_judge_len(p, p->sim, "its event has come");
}

uint64_t play_judge_len(struct play *p, const struct sim *sim, const char *when)
{
	uint64_t len = sim_chain_disk_len(p->chain, sim);

	CHECK(p,
	      len == p->chain->guest_len || (p->grow_to && len == p->grow_to) ||
		      (p->maybe_len && len == p->maybe_len),
	      "%s: the image has %" PRIu64 " bytes instead of %" PRIu64 " or %" PRIu64, when, len,
	      p->chain->guest_len, p->grow_to);
	return len;
}

/* A disk that was full can be made longer when there is room. */
void play_grow_at_last(struct play *p)
{
	struct bpull_error error;
	uint64_t len = p->chain->guest_len + p->chain->cluster_len;
	int rc;

	if (len > p->model_len)
		return;
	rc = bpull_disk_resize(p->guest.disk, len, &p->grow_to, &error);
	CHECK(p, !rc || may_refuse(p, rc, len), "with room again: %s", error.message);
	p->grow_to = rc ? 0 : len;
	play_run_until(p, false);
}
