/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a walk begins and where it is, as a convoy's places: laps and guest offsets. What is done
 * is in the walk's sets and nowhere else. So a walk may begin anywhere, and rejoin elsewhere: that
 * only changes which part of `todo` is next.
 */
#include "engine/copy/walk/company.h"

#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/clock.h"
#include "engine/core/convoy.h"
#include "engine/core/disk.h"
#include "engine/core/kept.h"
#include "engine/core/ranges/range_set.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "io/base.h"

/* The last layer that the job pulls. */
static const struct layer *last_layer(const struct bpull_disk *disk)
{
	const struct chain *chain = disk->chain;

	return chain->layers[MIN(chain->pull_to, chain->n_layers) - 1];
}

/* The walk goes on from that place. */
static void begin_at(struct bpull_disk *disk, const struct convoy_place *place)
{
	uint32_t cluster_len = disk_overlay(disk)->cluster_len;

	disk->walk->company.begun = (struct convoy_place){
		place->lap, round_down(place->guest_off, MAX(cluster_len, (uint64_t)KEPT_MAX_LEN))
	};
}

void company_join(struct bpull_disk *disk)
{
	struct walk_company *company = &disk->walk->company;
	struct convoy_place place;

	/* The walk joins when it has copied what the program wants first, which has an order of its
	 * own. */
	company->waits = walk_has_first(disk->walk);
	if (company->waits)
		return;
	convoy_join(&disk->engine->convoys, &company->member, last_layer(disk)->number,
		    disk->walk->throttle.limiter.rate, disk_overlay(disk)->backed_len, &place);
	begin_at(disk, &place);
}

static uint64_t next_todo(void *opaque, uint64_t guest_off)
{
	const struct bpull_disk *disk = opaque;
	const struct range_set *todo = &disk->walk->todo;

	return range_set_is_empty(todo) ? UINT64_MAX : range_set_from(todo, guest_off).lo;
}

void company_rejoin(struct bpull_disk *disk)
{
	struct convoy_place place;

	if (convoy_rejoin(&disk->engine->convoys, &disk->walk->company.member, next_todo, disk,
			  &place))
		begin_at(disk, &place);
}

void company_leave(struct bpull_disk *disk)
{
	convoy_leave(&disk->engine->convoys, &disk->walk->company.member);
}

static struct convoy_place place_of(const struct bpull_disk *disk, uint64_t guest_off)
{
	struct convoy_place at = disk->walk->company.begun;

	at.lap += guest_off < at.guest_off;
	at.guest_off = guest_off;
	return at;
}

static struct convoy_place next_place(const struct bpull_disk *disk)
{
	const struct copy_walk *walk = disk->walk;

	if (range_set_is_empty(&walk->todo)) /* nothing is left: a lap after it began */
		return (struct convoy_place){ walk->company.begun.lap + 1,
					      walk->company.begun.guest_off };
	return place_of(disk, range_set_from(&walk->todo, walk->company.begun.guest_off).lo);
}

bool company_is_held(const struct bpull_disk *disk)
{
	const struct convoy_member *member = &disk->walk->company.member;
	struct convoy_place at;

	if (!convoy_is_shared(member))
		return false;
	at = next_place(disk);
	return !convoy_lets_go(&disk->engine->convoys, member, &at);
}

/* A parted member has more runs in flight than have ended since, and must wait: what it would read
 * while its writes stand still the others may read for it once it has rejoined. */
static bool is_out_of_breath(const struct bpull_disk *disk)
{
	const struct convoy_member *member = &disk->walk->company.member;

	return convoy_is_parted(member) && disk->walk->runs.n > member->runs.n;
}

bool company_lets_go(const struct bpull_disk *disk)
{
	return !company_is_held(disk) && !is_out_of_breath(disk);
}

struct convoy_place company_place(const struct bpull_disk *disk)
{
	struct convoy_place place = next_place(disk);

	for (const struct copy_run *p = disk->walk->runs.first; p; p = p->next) {
		struct convoy_place at = place_of(disk, p->guest_off);

		if (convoy_is_before(&at, &place))
			place = at;
	}
	return place;
}

uint64_t company_run_len(const struct bpull_disk *disk, uint64_t guest_off, uint64_t len)
{
	if (!convoy_is_shared(&disk->walk->company.member))
		return len;
	return MIN(len, round_down(guest_off, KEPT_MAX_LEN) + KEPT_MAX_LEN - guest_off);
}

void company_note_run(struct copy_walk *walk, uint64_t begun_ns)
{
	walk->company.ended_ns = engine_now_ns();
	convoy_note_run(&walk->company.member, walk->company.ended_ns - begun_ns);
}

uint64_t company_walked_len(const struct bpull_disk *disk)
{
	const struct copy_walk *walk = disk->walk;
	uint64_t left = range_set_len(&walk->todo), len = disk_overlay(disk)->backed_len;

	for (const struct copy_run *p = walk->runs.first; p; p = p->next)
		left += p->taken.end - p->guest_off;
	return len - MIN(left, len);
}
