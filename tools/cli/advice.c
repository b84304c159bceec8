/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/cli/advice.h"

#include <stdio.h>
#include <string.h>

static const char *advice_of(enum bpull_remedy remedy, bool may_share)
{
	switch (remedy) {
	case BPULL_REMEDY_NONE:
	case BPULL_REMEDY_ALLOW_BACKING:
	case BPULL_REMEDY_TRUST_BACKING:
	case BPULL_REMEDY_COMPRESSION: break; /* with a name */
	case BPULL_REMEDY_CLOSE_DISK: break;  /* said already; nothing that an option mends */
	case BPULL_REMEDY_FORCE_SHARE:
		return may_share ? "; only to look at it meanwhile, give --force-share" : NULL;
	case BPULL_REMEDY_READ_HOLES: return " (--holes=read)";
	case BPULL_REMEDY_ACCEPT_MIXED: return ": --accept-mixed";
	case BPULL_REMEDY_REPAIR: return ": blockpull check --repair=all";
	case BPULL_REMEDY_BACKING_FORMAT: return ": --backing-format=FMT (raw, qcow2 or qed)";
	case BPULL_REMEDY_LIST_CHAIN: return "; see blockpull info --chain";
	case BPULL_REMEDY_CUT_TAIL: return " (see image-end-offset of blockpull check --json)";
	}
	return NULL; /* of a newer library's nothing is known */
}

void advice_add(struct bpull_error *error, bool may_share)
{
	size_t used = strlen(error->message);
	char *end = error->message + used;
	size_t room = sizeof(error->message) - used;
	const char *advice = advice_of(error->remedy, may_share);

	if (error->remedy == BPULL_REMEDY_ALLOW_BACKING)
		snprintf(end, room,
			 ": allow it with --allow-backing=%s or --allow-backing=any, if you trust "
			 "the image",
			 error->remedy_name);
	else if (error->remedy == BPULL_REMEDY_TRUST_BACKING)
		snprintf(end, room,
			 "; say what it is (--backing-format '%s', or =raw), or trust such files "
			 "(--backing-format=auto)",
			 error->remedy_name);
	else if (error->remedy == BPULL_REMEDY_BACKING_FORMAT && *error->remedy_name)
		snprintf(end, room, ": --backing-format '%s=FMT' (raw, qcow2 or qed)",
			 error->remedy_name);
	else if (error->remedy == BPULL_REMEDY_COMPRESSION)
		snprintf(end, room, ": --compress=%s", error->remedy_name);
	else if (advice)
		snprintf(end, room, "%s", advice);
	error->remedy = BPULL_REMEDY_NONE;
}
