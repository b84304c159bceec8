/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Short writes to files in memory are done on the spot: no backend of such a file can begin
 * something and be told of its end later, so it would hand each page to another thread. Elsewhere a
 * write may wait, and is a request.
 */
#include "engine/guest/in_place.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "engine/guest/request.h"
#include "formats/core/layer.h"
#include "formats/core/layer_guest.h"
#include "io/base.h"
#include "io/file.h"
#include "io/now.h"
#include "io/io.h"

/* Vectors that a write on the spot may have. */
#define MAX_NOW_IOVS 32

static bool write_now(const struct guest *g, const struct write_extent *e)
{
	struct iovec iovs[MAX_NOW_IOVS];

	return guest_n_slices(g, e->len) <= MAX_NOW_IOVS &&
	       file_write_now(g->overlay->data, iovs, guest_iov_part(g, e->guest_off, e->len, iovs),
			      e->len, e->host_off);
}

/* Not for a long request, even if each of its extents is short: no other operation would run
 * between them. False: the extents must be written by requests; some may have been written. */
static bool write_all_now(const struct guest *g, const struct write_extent *list, unsigned n)
{
	if (!g->overlay->data->now.always || g->len > GUEST_NOW_LEN || g->waits.op)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (!write_now(g, &list[i]))
			return false;
	return true;
}

static enum step submit_in_place(struct guest *g, const struct write_extent *list, unsigned n)
{
	struct iovec *iov;
	unsigned n_iov = 0;

	for (unsigned i = 0; i < n; i++)
		n_iov += guest_n_slices(g, list[i].len);
	g->writes.reqs = n == 1 ? &g->writes.one : calloc(n, sizeof(*g->writes.reqs));
	iov = n_iov <= GUEST_FEW_IOVS ? g->writes.few : calloc(n_iov, sizeof(*iov));
	g->writes.iovs = iov;
	if (!g->writes.reqs || !g->writes.iovs)
		return guest_error(g, -ENOMEM);
	for (unsigned i = 0; i < n; i++) {
		struct io_req *req = &g->writes.reqs[i];

		io_req_write(req, g->overlay->data, NULL, list[i].len, list[i].host_off);
		req->uncached = g->waits.op; /* a job's request: uncached, as its own writes */
		req->prompt = !g->waits.op && list[i].len <= GUEST_NOW_LEN;
		req->iov = iov;
		req->n_iov = guest_iov_part(g, list[i].guest_off, list[i].len, iov);
		iov += req->n_iov;
		g->at += list[i].len;
		op_submit(&g->op, req);
	}
	g->writes.n = n;
	return STEP_WAIT;
}

enum step guest_write_in_place(struct guest *g, const struct write_extent *list, unsigned n)
{
	if (!write_all_now(g, list, n))
		return submit_in_place(g, list, n);
	for (unsigned i = 0; i < n; i++)
		g->at += list[i].len;
	disk_wrote(g->op.disk, DISK_DATA);
	return STEP_NEXT;
}

void guest_wrote_in_place(struct guest *g)
{
	struct file *data = g->overlay->data;

	for (unsigned i = 0; i < g->writes.n; i++)
		data->len = MAX(data->len, g->writes.reqs[i].off + g->writes.reqs[i].len);
	if (g->writes.n)
		disk_wrote(g->op.disk, DISK_DATA);
	guest_free_reqs(g);
}
