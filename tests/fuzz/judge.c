/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An image of any bytes is opened, checked, read and pulled. Whatever it is: a pull that completes
 * has found no damage, leaves a clean image without a link and the same content; one that is
 * refused leaves the file as it was; one that fails leaves the content as it was.
 */
#include <errno.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/fuzz/world.h"

static int pull(struct sim *sim, enum image_format format, struct sim_pull *p)
{
	struct sim_chain chain = { .unnamed = IMAGE_RAW, .how = { .format = format } };
	int rc;

	*p = (struct sim_pull){ 0 };
	rc = sim_pull_open(p, &chain, sim, NULL, SIM_PULL_MEMORY, 0);
	if (rc)
		return rc;
	p->flags = BPULL_JOB_VERIFY;
	rc = sim_pull_run(p);
	FUZZ_CHECK(rc != -ETIME, "the pull hangs");
	FUZZ_CHECK(!p->lost_event, "the pull sent no event");
	FUZZ_CHECK(rc || p->has_event, "the pull ended without an event");
	sim_pull_close(p);
	return rc;
}

static void judge(struct sim *sim, enum image_format format, const struct sim_pull *p,
		  const struct fuzz_look *before)
{
	struct fuzz_look after;
	bool completed = p->status == BPULL_JOB_COMPLETED;

	FUZZ_CHECK(!before->rc, "pulled, and could not be read");
	if (completed && !before->has_backing) /* nothing was to be done, and nothing looked at */
		return;
	fuzz_look(sim, format, false, &after);
	FUZZ_CHECK(!after.rc, "it does not open any more: %s", after.text);
	FUZZ_CHECK(!completed || !before->n_errors || before->is_dirty,
		   "a damaged image was pulled");
	FUZZ_CHECK(!completed || !after.has_backing, "done, and the link is there");
	FUZZ_CHECK(!completed || (!after.n_errors && !after.check_rc), "done, and damaged");
	FUZZ_CHECK(completed || after.has_backing == before->has_backing,
		   "failed, and the link is gone");
	FUZZ_CHECK(before->read_rc || (!after.read_rc && after.content == before->content),
		   "the content has changed");
}

void fuzz_image(enum image_format format, const uint8_t *data, size_t size)
{
	struct sim *sim = fuzz_world(data, size);
	uint64_t was = fuzz_file_hash(sim, FUZZ_TOP), base = fuzz_file_hash(sim, FUZZ_BASE);
	struct fuzz_look before;
	struct sim_pull p;
	int rc;

	fuzz_look(sim, format, false, &before);
	rc = pull(sim, format, &p);
	if (rc)
		FUZZ_CHECK(fuzz_file_hash(sim, FUZZ_TOP) == was, "refused, and written to: %s",
			   p.error.message);
	else
		judge(sim, format, &p, &before);
	FUZZ_CHECK(fuzz_file_hash(sim, FUZZ_BASE) == base, "the base was written to");
	sim_free(sim);
}
