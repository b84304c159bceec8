/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Internal errors and extents as the public structs have them. */
#include "engine/core/export.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/blockpull.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "io/err.h"

int error_export(const struct err *err, struct bpull_error *out)
{
	if (out) {
		out->code = err->code;
		out->remedy = (enum bpull_remedy)err->remedy;
		memcpy(out->message, err->message, sizeof(out->message));
		memcpy(out->remedy_name, err->remedy_name, sizeof(out->remedy_name));
	}
	return err->code;
}

int error_fill(struct bpull_error *out, int code, const char *format, ...)
{
	va_list args;

	if (out) {
		out->code = code;
		out->remedy = BPULL_REMEDY_NONE;
		out->remedy_name[0] = '\0';
		va_start(args, format);
		vsnprintf(out->message, sizeof(out->message), format, args);
		va_end(args);
	}
	return code;
}

struct bpull_extent extent_export(const struct chain *chain, const struct extent *e)
{
	struct bpull_extent out = {
		.start = e->guest_off,
		.length = e->len,
		.depth = e->depth,
		.present = e->kind != EXTENT_UNALLOCATED && e->depth < chain->n_layers,
		.zero = e->kind == EXTENT_ZERO || e->kind == EXTENT_UNALLOCATED,
		.data = e->kind == EXTENT_DATA || e->kind == EXTENT_COMPRESSED,
		.compressed = e->kind == EXTENT_COMPRESSED,
		.has_offset = e->has_host && e->kind != EXTENT_COMPRESSED,
	};

	if (!out.present)
		out.depth = e->deepest;
	if (out.has_offset)
		out.offset = e->host_off;
	return out;
}

bool extent_merge(struct bpull_extent *last, const struct bpull_extent *next)
{
	if (last->depth != next->depth || last->present != next->present ||
	    last->zero != next->zero || last->data != next->data ||
	    last->compressed != next->compressed || last->has_offset != next->has_offset)
		return false;
	if (last->has_offset && last->offset + last->length != next->offset)
		return false;
	last->length += next->length;
	return true;
}
