/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Edit distance in which swapping two neighbours counts once, as that is how
 * fingers slip. Near enough is a third of the word, at most three edits: a
 * wrong guess is worse than none.
 *
 * Accepting the guess was rejected: these commands change people's disks.
 */
#include "tools/words/suggest.h"

#include <stdbool.h>
#include <string.h>

#define SUGGEST_WORD_MAX 32

static size_t suggest_min(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t suggest_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t row[SUGGEST_WORD_MAX + 1][SUGGEST_WORD_MAX + 1];
	for (size_t i = 0; i <= a_len; i++) {
		for (size_t j = 0; j <= b_len; j++) {
			bool swapped;
			size_t edit;

			if (!i || !j) {
				row[i][j] = i + j;
				continue;
			}
			edit = row[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			edit = suggest_min(edit, row[i - 1][j] + 1);
			edit = suggest_min(edit, row[i][j - 1] + 1);
			swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
			row[i][j] = swapped ? suggest_min(edit, row[i - 2][j - 2] + 1) : edit;
		}
	}
	return row[a_len][b_len];
}

void suggest_offer(struct suggest *suggest, const char *typed, const char *candidate)
{
	size_t typed_len = strlen(typed), candidate_len = strlen(candidate);
	size_t limit;
	size_t distance;

	if (typed_len > SUGGEST_WORD_MAX || candidate_len > SUGGEST_WORD_MAX)
		return;
	limit = suggest_min(1 + candidate_len / 4, 3);
	distance = suggest_distance(typed, typed_len, candidate, candidate_len);
	if (distance > limit || distance >= candidate_len)
		return;
	if (suggest->best && distance >= suggest->best_distance)
		return;
	suggest->best = candidate;
	suggest->best_distance = distance;
}
