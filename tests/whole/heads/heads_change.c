/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Disks that get snapshots, become longer, begin and end (heads.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/api/images/create.h"
#include "engine/core/disk.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "tests/machine/files/sim_private.h"
#include "tests/whole/heads/heads.h"

static unsigned new_image(struct heads *all, unsigned below, uint64_t len,
			  struct bpull_create_options *o)
{
	static const uint32_t cluster_lens[] = { 512, 1024, 4096, 65536 };
	bool is_qed = !heads_below(all, 4);
	char name[24];

	snprintf(name, sizeof(name), "%s/i%u", heads_below(all, 4) ? "" : "/dir", ++all->n_names);
	*o = (struct bpull_create_options){
		.size = sizeof(*o),
		.format = is_qed ? BPULL_FORMAT_QED : BPULL_FORMAT_QCOW2,
		.cluster_size = cluster_lens[2 * is_qed + heads_below(all, 2)],
	};
	if (!is_qed && !heads_below(all, 4))
		o->version = 2;
	if (all->how.kinds)
		heads_kinds_create(all, o);
	return heads_image_add(all, name, (enum image_format)o->format, below, len);
}

/* ---- snapshots ---- */

/* What was over is durable, and the images below hold what the disk reads now. */
static void note_taken(struct heads *all, struct heads_head *h)
{
	unsigned below[] = { h->top, all->trying };
	struct model_flush flush;
	uint8_t *held;
	bool is_right;

	h->top = all->trying + all->n_trying - 1;
	h->is_loose = false;
	h->old_top = HEADS_NONE;
	all->trying = HEADS_NONE;
	heads_met.snapshots += all->n_trying;
	if (!heads_run(all, h, false)) /* events of requests that ended before it */
		return;
	model_flush_begin(&h->guest.model, &flush);
	model_flush_end(&h->guest.model, &flush);
	held = sim_need(malloc(all->max_len));
	memset(held, 0xcc, all->max_len);
	sim_guest_submit(&h->guest, &(struct sim_guest_request){
					    .kind = SIM_GUEST_READ, .len = h->len, .out = held });
	is_right = heads_run(all, h, false) && !all->how.faults;
	for (unsigned i = 0; i < all->n_trying; i++) {
		all->images[below[i]].len = h->len;
		if (!is_right)
			continue;
		all->images[below[i]].held = sim_need(malloc(all->max_len));
		memcpy(all->images[below[i]].held, held, all->max_len);
	}
	free(held);
}

static void note_refused(struct heads *all, struct heads_head *h, const struct bpull_error *error)
{
	bool is_busy = h->job.runs || h->grow_to;
	/* A snapshot waits for a resize, which may leave no room, or be told of after this call. */
	bool lacks_room = all->how.room && !h->job.runs && error->code == -ENOSPC;

	heads_met.busy += error->code == -EBUSY;
	heads_assert(all, all->how.faults || lacks_room || (is_busy && error->code == -EBUSY),
		     "%s has no snapshot: %d %s", all->images[h->top].name, error->code,
		     error->message);
	heads_assert(all, error->message[0], "a snapshot is refused without a word");
	for (unsigned i = all->trying; i < all->trying + all->n_trying; i++) {
		struct heads_image *image = &all->images[i];

		heads_assert(all,
			     !sim_file_exists(all->machine.sim, image->name) || all->how.faults,
			     "'%s' was left", image->name);
		image->is_gone = true;
	}
	all->trying = HEADS_NONE;
}

/* Now and then two at a time, the second on the first. */
void heads_snapshot(struct heads *all, struct heads_head *h)
{
	struct bpull_create_options create[2];
	struct bpull_snapshot s[2];
	struct bpull_error error;
	int rc;

	heads_hear_of_ends(all);
	all->acting = h->process;
	all->n_trying = 1 + (all->n_names % 4 == 3);
	all->trying_for = (unsigned)(h - all->heads);
	for (unsigned i = 0; i < all->n_trying; i++) {
		unsigned below = i ? all->trying : h->top;
		unsigned image = new_image(all, below, h->len, &create[i]);

		all->trying = i ? all->trying : image;
		s[i] = (struct bpull_snapshot){ .size = sizeof(s[i]),
						.disk = h->guest.disk,
						.path = all->images[image].name,
						.create = &create[i] };
	}
	rc = bpull_disk_snapshot(s, all->n_trying, &error);
	heads_say(all, "snapshot %s%s%s of %s: %d %s", s[0].path, all->n_trying > 1 ? ", " : "",
		  all->n_trying > 1 ? s[1].path : "", all->images[h->top].name, rc,
		  rc ? error.message : "");
	if (!rc)
		note_taken(all, h);
	else if (!sim_is_stopped(all->machine.sim))
		note_refused(all, h, &error);
}

/* ---- longer disks ---- */

void heads_resize(struct heads *all, struct heads_head *h)
{
	uint64_t len = h->len + 512 * (1 + heads_below(all, 40));
	bool is_busy, is_old;
	struct bpull_error error;
	int rc;

	if (len > all->max_len || h->grow_to)
		return;
	heads_hear_of_ends(all);
	all->acting = h->process;
	is_busy = h->job.runs;
	/* Images of version 2 below a longer one. */
	is_old = all->how.kinds || all->images[h->top].below != HEADS_NONE;
	rc = bpull_disk_resize(h->guest.disk, len, h, &error);
	heads_say(all, "resize %s to %" PRIu64 ": %d %s", all->images[h->top].name, len, rc,
		  rc ? error.message : "");
	heads_assert(all,
		     is_busy ? rc == -EBUSY
			     : !rc || (rc == -ENOTSUP && is_old) || rc == -EFBIG ||
				       all->how.faults || all->how.room,
		     "%s does not become longer: %d %s", all->images[h->top].name, rc,
		     rc ? error.message : "");
	if (rc)
		return;
	h->grow_to = len;
	h->old_top = HEADS_NONE;
}

void heads_take_resized(struct heads *all, struct heads_head *h, const struct bpull_event *event)
{
	heads_assert(all, h->grow_to, "a resize that was not asked for");
	if (!event->error)
		h->len = all->images[h->top].len = h->grow_to;
	else
		h->other_len = h->grow_to;
	heads_met.resizes += !event->error;
	h->grow_to = 0;
	heads_say(all, "%s has now %" PRIu64 " bytes", all->images[h->top].name, h->len);
}

/* ---- new heads, and old ones ---- */

static bool is_free(const struct heads *all, unsigned i)
{
	if (all->images[i].is_gone || !all->images[i].held)
		return false;
	for (unsigned n = i; n != HEADS_NONE; n = all->images[n].below)
		if (heads_is_written_elsewhere(all, n, NULL))
			return false;
	return true;
}

/* As another program makes one. */
static void make_file(struct heads *all, unsigned i, struct bpull_create_options *o)
{
	const struct heads_image *image = &all->images[i], *below = &all->images[image->below];
	struct file *file = sim_handle_create(all->machine.sim, image->name);
	struct err err = { 0 };
	int rc;

	o->backing_name = below->name;
	o->backing_format = (enum bpull_format)below->format;
	rc = create_image_in(file, o, image->len, &err);
	if (!rc)
		rc = file_sync(file);
	heads_assert(all, !rc || sim_is_stopped(all->machine.sim), "'%s' is not made: %s",
		     image->name, err.message);
	file_close(file);
}

void heads_be_born(struct heads *all, struct heads_head *h)
{
	struct bpull_create_options create;
	unsigned of = (unsigned)heads_below(all, all->n_images);

	if (!is_free(all, of) || all->n_broken || all->n_images + 2 >= HEADS_IMAGES)
		return;
	*h = (struct heads_head){ .is_used = true, .old_top = HEADS_NONE };
	h->len = all->images[of].len;
	h->top = new_image(all, of, h->len, &create);
	h->first = sim_need(calloc(1, all->max_len));
	memcpy(h->first, all->images[of].held, h->len);
	model_begin(&h->guest.model, h->first, all->max_len);
	heads_say(all, "%s is born over %s", all->images[h->top].name, all->images[of].name);
	heads_met.born++;
	if (!all->how.kinds || !heads_kinds_make(all, h->top, h->first))
		make_file(all, h->top, &create);
	if (sim_is_stopped(all->machine.sim)) { /* it never was */
		all->images[h->top].is_gone = true;
		heads_end(h);
	}
}

void heads_end(struct heads_head *h)
{
	model_end(&h->guest.model);
	free(h->first);
	*h = (struct heads_head){ 0 };
}

void heads_retire(struct heads *all, struct heads_head *h)
{
	struct sim *left = sim_cut(all->machine.sim, &(struct sim_cut){ .mode = SIM_CUT_NONE });
	struct heads_image *top = &all->images[h->top];
	struct sim_verdict v;

	if (h->is_loose) {
		sim_free(left);
		return;
	}
	top->held = sim_need(malloc(all->max_len));
	heads_assert(all, heads_read_image(all, left, h->top, top->held, &v), "%s: %s", top->name,
		     v.text);
	heads_assert(all, model_illegal_after_cut(&h->guest.model, top->held) == all->max_len,
		     "%s at its end", top->name);
	top->len = h->len;
	heads_say(all, "%s is no disk any more", top->name);
	sim_free(left);
	heads_end(h);
}
