/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The image's locks: given back when the machine stops its rings, taken again when one runs. */
#ifndef TOOLS_SERVE_HANDOVER_H
#define TOOLS_SERVE_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "tools/control/state/target.h"
#include "tools/serve/image.h"
#include "tools/serve/port.h"

struct handover {
	/* The owner's, set before anything is called. */
	struct port *port; /* its is_inactive says where we are */
	struct control_target *target;
	const struct image *image;
	struct bpull_job_options job; /* of a pull that no client of the control socket sees */
	bool has_clients;             /* there is a control socket */
	/* Ours: all zero at first. */
	struct bpull_job_options again; /* of the pull that is owed */
	bool is_pull_owed;              /* it was put off until the disk is active */
	bool is_pull_new;               /* it was not started before */
	bool is_stopping, has_stopped;  /* its end is awaited; it has come */
	bool was_ours;                  /* it was the stop's doing */
	int refused;                    /* -errno that was said; 0: nothing was */
	uint64_t waiting_at_ns; /* since when another program has the image; 0: it has not */
	uint64_t try_at_ns;     /* not before */
};

/* A pull is to begin as soon as the disk is active. */
void handover_put_off(struct handover *h, const struct bpull_job_options *job);
/* Stops the pull, makes all durable, gives the locks back. Where that fails the disk stays active,
 * and why is said. Nothing is in flight. */
void handover_release(struct handover *h);
/* Takes the locks, reads the image anew and starts the pull again. True: the disk is active. It
 * waits for no lock: where another program has the image, it is to be tried again in
 * handover_wait_ms(). That is said once, when that program has had it for a second. */
bool handover_take(struct handover *h);
/* Milliseconds until handover_take() tries again; 0: now. */
int handover_wait_ms(const struct handover *h);
/* True: the event is the end of a pull that was stopped here, and means nothing to others. */
bool handover_take_event(struct handover *h, const struct bpull_event *event);

#endif
