/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Names that the program resolves: sources, and files that lie elsewhere by now. The library knows
 * no network, so a name of one means what the program says.
 *
 * An image that comes over a network may name no file of this machine: it is another machine's
 * word, and the files beside the overlay are not there for it.
 */
#include "formats/chain/found.h"

#include <errno.h>
#include <stdlib.h>

#include "formats/chain/name.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/source/expect.h"

/* As chain_finder.find; without a finder nothing is known of any name. */
static int ask_finder(const struct chain_finder *finder, const char *name, const char *recorded,
		      struct chain_found *found, struct err *err)
{
	return finder->find ? finder->find(finder->opaque, name, recorded, found, err) : 1;
}

int chain_find_image(const struct chain_finder *finder, const char *name, enum image_format *format,
		     struct chain_found *found, struct err *err)
{
	char shown[CHAIN_NAME_SHOWN];
	int rc;

	*found = (struct chain_found){ 0 };
	rc = ask_finder(finder, name, NULL, found, err);
	if (rc)
		return MIN(rc, 0);
	if (*format == IMAGE_UNKNOWN)
		*format = found->format;
	if (!found->is_source || *format != IMAGE_UNKNOWN)
		return 0;
	chain_found_drop(found);
	return err_set(err, -ENOTSUP,
		       "'%s' is read from another machine, and its format is not guessed from what "
		       "comes from there: it must be named",
		       chain_name_show(name, shown));
}

int chain_find_backing(const struct chain_finder *finder, const struct layer *above,
		       const char *above_name, struct chain_found *found, struct err *err)
{
	char shown[CHAIN_NAME_SHOWN], other[CHAIN_NAME_SHOWN];
	struct err cause = { 0 };
	int rc;

	*found = (struct chain_found){ 0 };
	if (chain_name_has_control(above->backing.name))
		return 0; /* chain_name_path() refuses such a name as a path */
	rc = ask_finder(finder, above->backing.name, above->backing.name, found, &cause);
	if (rc < 0)
		return err_wrap(err, rc, &cause, "backing file", chain_name_show(above_name, shown),
				"");
	if (!rc)
		return 0;
	if (!above->file->is_source)
		return 0;
	return err_set(err, -EPERM,
		       "'%s' is read from another machine and names '%s' as its backing file: such "
		       "an image may not choose files of this one; say what the name leads to",
		       chain_name_show(above_name, shown),
		       chain_name_show(above->backing.name, other));
}

void chain_found_drop(struct chain_found *found)
{
	if (found->is_source && found->source.ops.close)
		found->source.ops.close(found->source.opaque);
	if (found->is_source)
		source_expect_free(found->source.expect);
	found->is_source = false;
	free(STEAL(found->path));
}
