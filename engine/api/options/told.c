/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Formats that a program gives for single backing files, passed on to the chain.
 * Names are resolved here, because formats/ knows no file system. formats/ compares
 * them with the files that it has opened.
 */
#include "engine/api/options/told.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/api/options/options.h"
#include "engine/blockpull.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"

bool told_are_known(const struct bpull_disk_options *options)
{
	if (options->n_backing_formats && !options->backing_formats)
		return false;
	for (size_t i = 0; i < options->n_backing_formats; i++) {
		const struct bpull_backing_format *f = &options->backing_formats[i];
		if (!f->file || !*f->file || f->format == BPULL_FORMAT_UNKNOWN ||
		    f->format > OPTIONS_LAST_FORMAT || f->reserved[0] || f->reserved[1])
			return false;
	}
	return true;
}

static int told_build(const struct bpull_disk_options *options, struct chain_open *how,
		      struct err *err)
{
	size_t n = options->n_backing_formats;

	how->told = calloc(n + 1, sizeof(*how->told));
	if (!how->told)
		return err_set(err, -ENOMEM, "out of memory");
	how->n_told = n;
	for (size_t i = 0; i < n; i++) {
		const struct bpull_backing_format *f = &options->backing_formats[i];
		char *real = options->open_file ? NULL : realpath(f->file, NULL);

		if (!real && !options->open_file && errno == ENOMEM)
			return err_set(err, -ENOMEM, "out of memory");
		how->told[i] = (struct chain_told){
			.name = f->file,
			.real = real,
			.format = (enum image_format)f->format,
			.optional = f->optional,
		};
	}
	return 0;
}

static void note_used(const struct bpull_disk_options *options, const struct chain_open *how)
{
	for (size_t i = 0; i < how->n_told; i++)
		if (how->told[i].depth)
			options->backing_formats[i].used = 1;
}

static void told_free(struct chain_open *how)
{
	for (size_t i = 0; i < how->n_told; i++)
		free((char *)how->told[i].real);
	free(how->told);
	how->told = NULL;
	how->n_told = 0;
}

int told_open_chain(struct layer_set *layers, const struct bpull_disk_options *options,
		    struct chain_open *how, struct chain **out, struct err *err)
{
	int rc = told_build(options, how, err);

	if (!rc)
		rc = chain_open(layers, how, out, err);
	if (!rc)
		note_used(options, how);
	told_free(how);
	return rc;
}
