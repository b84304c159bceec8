/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/chain/failed.h"

#include <errno.h>
#include <stdio.h>

#include "tools/chain/files.h"
#include "tools/cli/say.h"
#include "tools/pull/image.h"

int chain_failed(struct pull_image *image, const struct chain_files *files, bool json, int rc)
{
	image->error.code = rc;
	image->status = "failed";
	image->code = say_failed(&image->error, rc);
	image->virtual_size = files->n ? files->list[0].virtual_size : 0;
	if (json)
		pull_image_json(image, NULL, NULL);
	return image->code;
}

int chain_has_none(const char *name, const char *image, struct bpull_error *error)
{
	error->code = -EINVAL;
	snprintf(error->message, sizeof(error->message),
		 "'%s' is no file of the chain of '%s'; see blockpull info --chain", name, image);
	return -EINVAL;
}
