/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One exit code for many images. Of a list it tells a scheduler what to do: a
 * failure that another try may mend (locked, no space, an I/O error) comes
 * before one that needs a person (corrupt, different, refused), so that a list
 * is tried again as long as that is of use, and ends with what is left. The
 * numbers of failures were rejected as a code: scripts know ours.
 */
#include "tools/pull/outcome.h"

#include "tools/cli/say.h"
#include "tools/words/exit_code.h"

/* One line for all of them: there may be hundreds. */
void outcome_end_untried(struct pull_image *images, unsigned n_images, int signal, bool json)
{
	unsigned n_untried = 0;

	for (unsigned i = 0; i < n_images; i++) {
		if (images[i].state != PULL_UNTRIED)
			continue;
		n_untried++;
		pull_image_stop(&images[i], signal);
		if (json)
			pull_image_json(&images[i], NULL, NULL);
	}
	if (n_untried)
		say_error("%u of %u images were not begun", n_untried, n_images);
}

static bool outcome_may_mend(int code)
{
	return code == EXIT_CODE_FAILED || code == EXIT_CODE_BUSY || code == EXIT_CODE_NO_SPACE;
}

/* A stop outweighs what failed before it: the caller asked for it and waits for that answer. */
int outcome_code(const struct pull_image *images, unsigned n_images, bool by_remedy)
{
	int first = 0, mendable = 0;

	for (unsigned i = 0; i < n_images; i++) {
		int code = images[i].code;
		if (code > EXIT_CODE_SIGNAL)
			return code;
		if (!first)
			first = code;
		if (!mendable && outcome_may_mend(code))
			mendable = code;
	}
	return by_remedy && mendable ? mendable : first;
}
