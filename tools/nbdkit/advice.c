/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define NBDKIT_API_VERSION 2

#include "tools/nbdkit/advice.h"

#include <stdio.h>
#include <string.h>

#include <nbdkit-plugin.h>

void plugin_advise(struct bpull_error *error)
{
	static const char *const advice[] = {
		[BPULL_REMEDY_ALLOW_BACKING] = ": allow-backing=NAME",
		[BPULL_REMEDY_READ_HOLES] = ": holes=read",
		[BPULL_REMEDY_ACCEPT_MIXED] = ": accept-mixed=true",
		[BPULL_REMEDY_REPAIR] = ": blockpull check --repair=all",
		[BPULL_REMEDY_BACKING_FORMAT] = ": backing-format=FMT, or FILE=FMT",
		[BPULL_REMEDY_TRUST_BACKING] = ": backing-format=FILE=FMT, or backing-format=auto",
	};
	const char *text =
		error->remedy < sizeof(advice) / sizeof(advice[0]) ? advice[error->remedy] : NULL;
	size_t used = strlen(error->message);

	if (text)
		snprintf(error->message + used, sizeof(error->message) - used, "%s", text);
}

void plugin_complain(struct bpull_error *error)
{
	plugin_advise(error);
	nbdkit_error("%s", error->message);
}
