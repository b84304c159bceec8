/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jobs that compress in one type or the other, on one image: the type in its header changes beside
 * the guest's writes and flushes, whose commits are held back meanwhile, and never while anything
 * is compressed in the old one, on disk or in memory only.
 */
#include "tests/whole/plays/play.h"

#include "formats/qcow2/image/image.h"

void play_draw_types(struct sim_chain *chain, uint64_t seed)
{
	struct sim_chain_how how = {
		.seed = seed / 8 + 1,
		.n_clusters = 6 + seed / 8 % 30,
		.format = IMAGE_QCOW2,
		.version = 3,
		.cluster_bits = 11 + seed / 64 % 3,
		.refcount_bits = 8, /* none of its own are compressed: sim_layer.c */
		.n_snapshots = seed / 8 % 3 == 2,
		.long_header = seed / 8 % 2,
	};

	sim_chain_draw(chain, &how);
}

unsigned play_draw_compression(struct play *p)
{
	if (p->types)
		return (unsigned)play_below(p, BPULL_COMPRESSION_ZSTD + 1);
	return play_below(p, 2) ? p->chain->how.compression : 0;
}

unsigned play_type(const struct play *p)
{
	return p->types ? qcow2_of(disk_overlay(p->guest.disk))->hdr.compression : 0;
}

void play_note_type(struct play *p, unsigned before)
{
	bool is_other = play_type(p) != before;

	play_met.types += is_other;
	play_met.types_with_guest += is_other && p->guest.n_in_flight;
}

bool play_refuses_type(struct play *p, const struct bpull_job_options *o,
		       const struct bpull_error *error)
{
	if (!p->types || o->compression < BPULL_COMPRESSION_ZLIB ||
	    error->remedy != BPULL_REMEDY_COMPRESSION)
		return false;
	play_met.types_refused++;
	return true;
}
