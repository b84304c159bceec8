/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which image reads from which (heads.h), and who holds it. */
#include <string.h>

#include "formats/core/layer.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/whole/heads/heads.h"

unsigned heads_image_add(struct heads *all, const char *name, enum image_format format,
			 unsigned below, uint64_t len)
{
	struct heads_image *image = &all->images[all->n_images];

	heads_assert(all, all->n_images < HEADS_IMAGES, "too many images");
	*image = (struct heads_image){ .format = format, .below = below, .len = len };
	snprintf(image->name, sizeof(image->name), "%s", name);
	return all->n_images++;
}

void heads_image_forget(struct heads *all, unsigned i)
{
	struct heads_image *image = &all->images[i];

	free(image->held);
	free(image->inner);
	free(image->mapped);
	image->held = image->inner = image->mapped = NULL;
}

unsigned heads_chain(const struct heads *all, unsigned top, unsigned *out)
{
	unsigned n = 0;

	for (; top != HEADS_NONE; top = all->images[top].below)
		out[n++] = top;
	return n;
}

bool heads_reads(const struct heads *all, unsigned top, unsigned image)
{
	for (; top != HEADS_NONE; top = all->images[top].below)
		if (top == image)
			return true;
	return false;
}

enum heads_use heads_use_of(const struct heads *all, unsigned image, const struct heads_head *but)
{
	enum heads_use use = HEADS_FREE;

	for (const struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		if (h != but && h->guest.disk && heads_reads(all, h->top, image))
			use = MAX(use, h->job.runs ? HEADS_MAYBE_USED : HEADS_USED);
	return use;
}

bool heads_is_written_elsewhere(const struct heads *all, unsigned image,
				const struct heads_head *but)
{
	for (const struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++) {
		const struct heads_job *job = &h->job;

		if (h != but && job->runs && image != h->top &&
		    (image == job->linker || (job->kind == HEADS_COMMIT && image == job->base)))
			return true;
	}
	return false;
}

/* ---- headers ---- */

static unsigned find_name(const struct heads *all, const struct sim *sim, const char *name)
{
	const struct sim_file *file = sim_file_find(sim, name);

	for (unsigned i = all->n_images; file && i-- > 0;)
		if (!all->images[i].is_gone && !strcmp(all->images[i].name, file->name))
			return i;
	return HEADS_NONE - 1; /* none of ours */
}

unsigned heads_link_of(const struct heads *all, const struct sim *sim, unsigned image)
{
	const struct heads_image *of = &all->images[image];
	const char *slash = strrchr(of->name, '/');
	uint8_t header[64];
	char recorded[64] = { 0 }, name[128];
	uint64_t off = 0;
	uint32_t len = 0;

	sim_file_peek(sim, of->name, header, sizeof(header), 0);
	if (of->format == IMAGE_QCOW2) {
		off = be64(header + 8);
		len = off ? be32(header + 16) : 0;
	} else if (of->format == IMAGE_QED && header[16] & 1) {
		off = le32(header + 56);
		len = le32(header + 60);
	}
	if (!len)
		return HEADS_NONE;
	sim_file_peek(sim, of->name, recorded, MIN(len, (uint32_t)sizeof(recorded) - 1), off);
	if (recorded[0] == '/')
		return find_name(all, sim, recorded);
	snprintf(name, sizeof(name), "%.*s/%s", (int)(slash - of->name), of->name, recorded);
	return find_name(all, sim, name);
}

uint64_t heads_len_of(const struct heads *all, const struct sim *sim, unsigned image)
{
	const struct heads_image *of = &all->images[image];
	uint8_t len[8];

	if (of->format == IMAGE_RAW)
		return round_up(sim_file_len(sim, of->name), 512);
	sim_file_peek(sim, of->name, len, sizeof(len), of->format == IMAGE_QCOW2 ? 24 : 48);
	return of->format == IMAGE_QCOW2 ? be64(len) : le64(len);
}

void heads_link_loosen(struct heads *all, unsigned image)
{
	struct heads_image *of = &all->images[image];

	heads_assert(all, of->n_old_links < HEADS_OLD_LINKS, "too many old links of '%s'",
		     of->name);
	of->old_links[of->n_old_links++] = of->below;
}

void heads_links_settle(struct heads *all)
{
	for (unsigned i = 0; i < all->n_images; i++) {
		struct heads_image *image = &all->images[i];
		unsigned is, n = 0;

		if (image->is_gone || !image->n_old_links)
			continue;
		is = heads_link_of(all, all->machine.sim, i);
		while (is != image->below && n < image->n_old_links && image->old_links[n] != is)
			n++;
		heads_assert(all, n < image->n_old_links, "the link of '%s' leads elsewhere",
			     image->name);
		image->below = is;
	}
}

/* ---- locks ---- */

/* Disks that have the image open below their top: those of one process share it, if it has no data
 * file. */
static unsigned n_readers(const struct heads *all, unsigned image)
{
	unsigned n = 0;

	for (unsigned p = 0; p < HEADS_PROCESSES; p++) {
		unsigned here = 0;

		for (const struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
			here += h->guest.disk && h->process == p && h->top != image &&
				heads_reads(all, h->top, image);
		n += all->images[image].data[0] ? here : MIN(here, 1u);
	}
	return n;
}

static unsigned n_writers(const struct heads *all, unsigned image)
{
	unsigned n = 0;

	for (const struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		n += h->guest.disk && h->top == image;
	return n;
}

/* Of image i: the image, or its data file. */
static void judge_lock(struct heads *all, unsigned i, const char *name)
{
	const struct sim_file *file = sim_file_find(all->machine.sim, name);
	unsigned readers = n_readers(all, i), writers = n_writers(all, i);

	if (!file)
		return;
	heads_assert(all,
		     file->n_open[FILE_LOCK_OVERLAY] == writers &&
			     file->n_open[FILE_LOCK_SHARED] == readers &&
			     !file->n_open[FILE_LOCK_NONE],
		     "'%s' is locked by %u writers, %u readers, and open %u times more; %u disks "
		     "write to it, %u read from it",
		     name, file->n_open[FILE_LOCK_OVERLAY], file->n_open[FILE_LOCK_SHARED],
		     file->n_open[FILE_LOCK_NONE], writers, readers);
}

void heads_judge_locks(struct heads *all)
{
	for (unsigned i = 0; i < all->n_images; i++) {
		if (all->images[i].is_gone)
			continue;
		judge_lock(all, i, all->images[i].name);
		if (all->images[i].data[0])
			judge_lock(all, i, all->images[i].data);
	}
}

/* ---- what no disk needs ---- */

static bool is_needed(const struct heads *all, unsigned image)
{
	for (const struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		if (h->is_used && (heads_reads(all, h->top, image) || h->old_top == image))
			return true;
	for (unsigned i = 0; i < all->n_images; i++)
		if (i != image && !all->images[i].is_gone &&
		    (all->images[i].held || all->images[i].inner) && heads_reads(all, i, image))
			return true;
	return false;
}

/* A cut would bring back the link to an image that a job has dropped just before a kill. */
static bool any_is_loose(const struct heads *all)
{
	for (const struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		if (h->is_used && h->is_loose)
			return true;
	for (unsigned i = 0; i < all->n_images; i++)
		if (!all->images[i].is_gone && all->images[i].n_old_links)
			return true;
	return false;
}

void heads_prune(struct heads *all)
{
	if (any_is_loose(all))
		return;
	for (unsigned i = 0; i < all->n_images; i++) {
		struct heads_image *image = &all->images[i];

		if (image->is_gone || is_needed(all, i) || (image->held && heads_below(all, 3)))
			continue;
		/* Where no worker could close it, the disk's close does. */
		if (all->how.faults && sim_file_is_open(all->machine.sim, image->name))
			continue;
		heads_say(all, "%s goes", image->name);
		heads_assert(all, !sim_file_is_open(all->machine.sim, image->name),
			     "'%s' is open, and no disk reads from it", image->name);
		sim_file_remove(all->machine.sim, image->name);
		if (image->data[0])
			sim_file_remove(all->machine.sim, image->data);
		heads_image_forget(all, i);
		image->is_gone = true;
	}
}
