/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* To which layer a job pulls, and what the image will call the layer below. */
#include "engine/job/target.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "formats/chain/chain.h"
#include "formats/chain/chain_base.h"
#include "formats/chain/layer_set.h"
#include "io/base.h"
#include "io/err.h"

int job_find_base(const struct chain *chain, const struct bpull_job_options *o, unsigned *pull_to,
		  char **base_name, struct err *err)
{
	struct file_opener *opener = layer_set_opener(chain->set);
	int rc;

	*pull_to = chain->n_layers;
	*base_name = NULL;
	if (!o->base && o->base_name)
		return err_set(err, -EINVAL,
			       "base_name is the name of a base, and no base is given");
	if (!o->base)
		return 0;
	rc = chain_find_base(chain, opener, o->base, pull_to, err);
	return rc ? rc : chain_name_base(chain, opener, *pull_to, o->base_name, base_name, err);
}

void job_take_target(struct bpull_disk *disk, struct target *target)
{
	free(disk->base_name);
	disk->base_name = STEAL(target->base_name);
	disk->chain->pull_to = target->pull_to;
}

void job_forget_target(struct bpull_disk *disk)
{
	job_take_target(disk, &(struct target){ .pull_to = disk->chain->n_layers });
}
