/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Whether an opened file is one that its chain, or another chain of the set, has already. Device
 * and inode tell, and, where the program gives descriptors, the descriptor's number: names lie.
 */
#include "formats/chain/identity.h"

#include <errno.h>
#include <string.h>

#include "formats/chain/chain.h"
#include "formats/chain/layer_entries.h"
#include "formats/chain/layer_set.h"
#include "formats/chain/name.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

/* A source has a digest of its identity in place of device and inode. That is no proof: a program
 * that chooses identities can make two of one digest. So the identities are compared as well. */
bool identity_is_same(const struct file *a, const struct file *b)
{
	if (a->dev != b->dev || a->ino != b->ino ||
	    !a->of_source.identity != !b->of_source.identity)
		return false;
	return !a->of_source.identity || !strcmp(a->of_source.identity, b->of_source.identity);
}

static bool uses_file(const struct layer *layer, const struct file *file)
{
	return identity_is_same(layer->file, file) || identity_is_same(layer->data, file);
}

/* Refuses a file that the chain has already. */
static int used_twice(const struct layer_want *want, const struct file *file,
		      const struct layer *above, struct err *err)
{
	char shown[CHAIN_NAME_SHOWN], other[CHAIN_NAME_SHOWN];

	if (want->is_data)
		return err_set(err, -ELOOP,
			       "'%s' is named as a data file, but it is, or holds the data of, "
			       "'%s' of the same chain; give the image a data file of its own "
			       "(qemu-img amend -o data_file=NAME)",
			       chain_name_show(file->name, shown),
			       chain_name_show(above->file->name, other));
	if (!identity_is_same(above->file, file))
		return err_set(err, -ELOOP,
			       "'%s' is named as a backing file, but it is the data file of '%s', "
			       "which reads through to it; mend the backing name of one of the "
			       "chain's images (qemu-img rebase -u)",
			       chain_name_show(file->name, shown),
			       chain_name_show(above->file->name, other));
	return err_set(err, -ELOOP,
		       "'%s' is the same file as '%s', which reads through to it: the "
		       "chain is a loop; mend the backing name of one of its images "
		       "(qemu-img rebase -u)",
		       chain_name_show(file->name, shown),
		       chain_name_show(above->file->name, other));
}

int identity_check(const struct layer_set *set, const struct layer_want *want,
		   const struct file *file, struct err *err)
{
	char shown[CHAIN_NAME_SHOWN], other[CHAIN_NAME_SHOWN];

	for (unsigned i = 0; i < want->above->n_layers; i++)
		if (uses_file(want->above->layers[i], file))
			return used_twice(want, file, want->above->layers[i], err);
	for (size_t i = 0; i < set->n; i++) {
		const struct layer *layer = set->entries[i].layer;

		if (!uses_file(layer, file) || (!layer->is_overlay && !want->write))
			continue;
		err_set(err, -EBUSY,
			layer->is_overlay ? "'%s' is being written to by this process already (as "
					    "'%s'): once at a time"
					  : "'%s' is in use in this process (as '%s') and can't "
					    "be changed; close that disk first",
			chain_name_show(file->name, shown),
			chain_name_show(layer->file->name, other));
		return err_remedy(err, -EBUSY, ERR_REMEDY_CLOSE_DISK, NULL);
	}
	return 0;
}

int identity_check_given(const struct layer_set *set, const struct layer_want *want,
			 struct file *file, struct err *err)
{
	char shown[CHAIN_NAME_SHOWN];
	bool twice = false;
	int fd = file->fd;

	if (!file->is_given)
		return 0;
	for (unsigned i = 0; i < want->above->n_layers; i++)
		twice |= want->above->layers[i]->file->fd == fd ||
			 want->above->layers[i]->data->fd == fd;
	for (size_t i = 0; i < set->n; i++)
		twice |= set->entries[i].layer->file->fd == fd ||
			 set->entries[i].layer->data->fd == fd;
	if (!twice)
		return 0;
	file->fd = -1;
	return err_set(err, -EINVAL,
		       "descriptor %d was given for '%s', but is that of another file in use: give "
		       "each file one of its own",
		       fd, chain_name_show(file->name, shown));
}
