/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The format of a backing file: what the image above it records, or else what
 * the user says, or else, where that image's specification demands a probe
 * (QED, which can record raw only), what the file looks like.
 *
 * A guest can write any header into its raw disk. A probed file is therefore
 * used only where it stands alone: then the worst is that the guest reads its
 * own disk in another way. One that names further files would let the guest
 * choose files of the host, and is followed only by the user's word. Probing
 * raw templates alone was rejected: a QED overlay of a qcow2 template is QED's
 * own ordinary case.
 *
 * The choice is made from the opened file, so that the file which was looked at
 * is the one that is used, whatever its name leads to by now.
 */
#include "formats/chain/format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "formats/chain/chain.h"
#include "formats/chain/name.h"
#include "formats/chain/open.h"
#include "formats/core/foreign.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

#define SHORT_NAME 160 /* bytes of a name in a sentence that holds four */

static const char *short_name(const char *name, char shown[SHORT_NAME])
{
	return err_escape(name, strlen(name), shown, SHORT_NAME);
}

/* The format that the image above records; IMAGE_UNKNOWN: none. */
static int recorded_format(const struct chain_choice *choice, enum image_format *out,
			   struct err *err)
{
	const struct layer *above = choice->above;
	const char *recorded = above->backing.format_name, *known;
	char shown[CHAIN_NAME_SHOWN], other[4 * sizeof(above->backing.format_name)];

	*out = above->backing.format != IMAGE_UNKNOWN ? above->backing.format : choice->named;
	if (choice->named != IMAGE_UNKNOWN && *out != choice->named)
		return err_set(err, -EINVAL,
			       "'%s' records that its backing file is %s, and the name that it "
			       "records says %s; mend the record with qemu-img rebase -u",
			       chain_name_show(choice->above_name, shown), format_name(*out),
			       format_name(choice->named));
	if (*out != IMAGE_UNKNOWN || !*recorded)
		return 0;
	/* The names of QEMU's drivers for plain files and devices, put there for raw. */
	if (!strcmp(recorded, "file") || !strcmp(recorded, "host_device")) {
		*out = IMAGE_RAW;
		return 0;
	}
	known = foreign_by_name(recorded);
	return err_set(err, -ENOTSUP,
		       "'%s' says its backing file has the format '%s'%s%s%s, which is not "
		       "supported; convert that file to qcow2 or raw first (qemu-img convert)",
		       chain_name_show(choice->above_name, shown),
		       err_escape(recorded, strlen(recorded), other, sizeof(other)),
		       known ? " (" : "", known ? known : "", known ? ")" : "");
}

int chain_can_choose(const struct chain_choice *choice, struct err *err)
{
	const struct chain_open *how = choice->how;
	enum image_format recorded;
	char shown[CHAIN_NAME_SHOWN];
	int rc = recorded_format(choice, &recorded, err);

	if (rc || recorded != IMAGE_UNKNOWN || how->backing_format != IMAGE_UNKNOWN || how->n_told)
		return rc;
	if (!choice->is_source && (how->trust_formats || choice->above->backing.probe))
		return 0;
	err_set(err, -ENOTSUP,
		"'%s' does not record the format of its backing file, and guessing it from the "
		"contents would trust the guest or program that wrote them; it must be named",
		chain_name_show(choice->above_name, shown));
	return err_remedy(err, -ENOTSUP, ERR_REMEDY_BACKING_FORMAT, NULL);
}

/* A name is the one recorded, the one this chain opens, or any other that leads to the same
 * file. */
static bool names_file(const struct chain_told *told, const struct chain_choice *choice,
		       const struct file *file)
{
	return !strcmp(told->name, choice->above->backing.name) ||
	       !strcmp(told->name, choice->path) ||
	       (told->real && file->real_name && !strcmp(told->real, file->real_name));
}

/* What the user says of this very file; IMAGE_UNKNOWN: nothing. */
static int told_format(const struct chain_choice *choice, const struct file *file,
		       enum image_format *out, struct err *err)
{
	const struct chain_open *how = choice->how;
	char shown[CHAIN_NAME_SHOWN], other[CHAIN_NAME_SHOWN];

	*out = IMAGE_UNKNOWN;
	for (size_t i = 0; i < how->n_told; i++) {
		struct chain_told *told = &how->told[i];

		if (!names_file(told, choice, file))
			continue;
		if (told->depth)
			return err_set(err, -EINVAL,
				       "'%s', whose format is given, may be either of two backing "
				       "files of '%s'; name the one that is meant by its full path",
				       chain_name_show(told->name, shown),
				       chain_name_show(how->name, other));
		if (*out != IMAGE_UNKNOWN && *out != told->format)
			return err_set(err, -EINVAL,
				       "'%s' is said to be %s and to be %s; say "
				       "one of them",
				       chain_name_show(choice->path, shown), format_name(*out),
				       format_name(told->format));
		*out = told->format;
		told->depth = choice->depth;
	}
	return 0;
}

/* Refuses the format that was told for all files, raw, for one that looks like an image: a QED
 * image that is opened for writing records it for good, so it must be told for this very file. */
static int check_common_word(const struct chain_choice *choice, struct file *file,
			     enum image_format format, struct err *err)
{
	char path[SHORT_NAME], above[SHORT_NAME], remedy[SHORT_NAME + 8];
	enum image_format looks;

	if (format != IMAGE_RAW || !choice->above->backing.probe ||
	    format_probe(file, &looks, NULL) < 0 || looks == IMAGE_RAW)
		return 0;
	short_name(choice->path, path);
	snprintf(remedy, sizeof(remedy), "%.*s=%s", SHORT_NAME, path, format_name(looks));
	err_set(err, -EPERM,
		"'%s', the backing file of '%s', looks like a %s image, and the format raw "
		"is given for all files: it must be given for this one",
		path, short_name(choice->above_name, above), format_name(looks));
	return err_remedy(err, -EPERM, ERR_REMEDY_TRUST_BACKING, remedy);
}

int chain_choose_format(void *opaque, struct file *file, enum image_format *out, struct err *err)
{
	struct chain_choice *choice = opaque;
	const struct chain_open *how = choice->how;
	char shown[CHAIN_NAME_SHOWN], other[CHAIN_NAME_SHOWN];
	enum image_format told;
	int rc = recorded_format(choice, out, err);

	if (!rc)
		rc = told_format(choice, file, &told, err);
	if (rc)
		return rc;
	choice->from = CHAIN_FORMAT_RECORDED;
	if (*out != IMAGE_UNKNOWN && told != IMAGE_UNKNOWN && told != *out)
		return err_set(err, -EINVAL,
			       "'%s' records that its backing file '%s' is %s, and it "
			       "is said to be %s; leave that out, or mend the record with "
			       "qemu-img rebase -u",
			       chain_name_show(choice->above_name, shown),
			       chain_name_show(choice->path, other), format_name(*out),
			       format_name(told));
	if (*out != IMAGE_UNKNOWN)
		return 0;
	choice->from = CHAIN_FORMAT_TOLD;
	*out = told != IMAGE_UNKNOWN ? told : how->backing_format;
	if (*out != IMAGE_UNKNOWN)
		return told == IMAGE_UNKNOWN ? check_common_word(choice, file, *out, err) : 0;
	choice->from = CHAIN_FORMAT_PROBED;
	if (!choice->is_source && (how->trust_formats || choice->above->backing.probe))
		return format_probe(file, out, err);
	chain_name_show(choice->path, other);
	err_set(err, -ENOTSUP,
		"'%s' does not record that file's format, and those of other files only are "
		"given; that of '%s' must be named",
		chain_name_show(choice->above_name, shown), other);
	return err_remedy(err, -ENOTSUP, ERR_REMEDY_BACKING_FORMAT, other);
}

int chain_check_trust(const struct chain_choice *choice, const struct layer *layer, struct err *err)
{
	const char *format = format_name(layer_format(layer)), *further;
	char path[SHORT_NAME], above[SHORT_NAME], name[SHORT_NAME];
	char remedy[SHORT_NAME + 8];

	if (choice->from != CHAIN_FORMAT_PROBED || choice->how->trust_formats ||
	    !(layer->has_backing || layer->has_data_file))
		return 0;
	further = layer->has_backing ? layer->backing.name : layer->data_name;
	short_name(choice->path, path);
	snprintf(remedy, sizeof(remedy), "%.*s=%s", SHORT_NAME, path, format);
	err_set(err, -EPERM,
		"'%s', the backing file of '%s', which can't record its format, looks like a %s "
		"image that names '%s' as its %s file; a guest may have written that into its raw "
		"disk",
		path, short_name(choice->above_name, above), format,
		short_name(further ? further : "", name), layer->has_backing ? "backing" : "data");
	return err_remedy(err, -EPERM, ERR_REMEDY_TRUST_BACKING, remedy);
}

int chain_check_told(const struct chain_open *how, struct err *err)
{
	char shown[CHAIN_NAME_SHOWN], other[CHAIN_NAME_SHOWN];

	for (size_t i = 0; i < how->n_told; i++) {
		const struct chain_told *told = &how->told[i];

		if (told->depth || told->optional)
			continue;
		if (how->no_backing)
			return err_set(err, -EINVAL,
				       "no backing file is opened here, so '%s', whose format is "
				       "given, can't be one",
				       chain_name_show(told->name, shown));
		err_set(err, -EINVAL, "'%s', whose format is given, is no backing file of '%s'",
			chain_name_show(told->name, shown), chain_name_show(how->name, other));
		return err_remedy(err, -EINVAL, ERR_REMEDY_LIST_CHAIN, NULL);
	}
	return 0;
}
