/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Each state that a changed header may be in after a cut: its extensions, its link, its mark. */
#ifndef BLOCKPULL_TESTS_MARK_STATES_H
#define BLOCKPULL_TESTS_MARK_STATES_H

#include "formats/core/layer.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "tests/support/files/cut_log.h"
#include "tests/support/images/build_image.h"

/* What all states must agree on. */
struct expected {
	const char *backing_name; /* NULL: none */
	enum image_format backing_format;
	uint8_t exts[4096]; /* types, lengths and data, without the mark */
	size_t exts_len;
	bool may_be_marked, may_be_plain;
	uint64_t n_marked, n_plain;
};

/* Independent of formats/: the extensions but the mark, one behind the other. */
size_t mark_other_exts(const uint8_t *image, size_t cluster_len, uint8_t *out);
bool mark_state_ok(struct file *state, void *opaque);
/* Sets or clears the mark; judges every cut. 0 or what it was refused with, nothing changed. */
int mark_change(struct file *file, bool mixed, struct expected *expected, const char *what);

/* How the extensions end. */
enum tail {
	TAIL_MARKER,
	TAIL_NAME,       /* the backing file's name begins in place of the marker */
	TAIL_NO_PADDING, /* and in place of the last one's padding */
};

bool mark_take_marker_away(uint8_t *image, size_t len, enum tail tail);
void mark_expect_of(struct expected *expected, const struct build_how *how, const uint8_t *image);
struct file *mark_file_of(const struct build_image *image);
/* Set, clear, set again. How the first went. */
int mark_there_and_back(const struct build_how *how, enum tail tail);

#endif
