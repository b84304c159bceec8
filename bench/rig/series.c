/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A window's worst position begins or ends at a sample, so two indices that
 * only move forward see all that matter. Fixed windows (0-1 s, 1-2 s, ...) were
 * rejected: a burst across their border halves itself.
 */
#include "bench/rig/series.h"

#include <stdbool.h>
#include <string.h>

#include "bench/rig/timed.h"

struct series *series_new(size_t cap)
{
	struct series *s = timed_shared(sizeof(*s) + cap * sizeof(s->samples[0]));

	if (s)
		s->cap = cap;
	return s;
}

void series_begin(struct series *s, uint64_t now_ns)
{
	s->begin_ns = now_ns;
	s->n = 1;
	s->samples[0] = (struct sample){ 0 };
}

void series_add(struct series *s, uint64_t now_ns, uint64_t bytes)
{
	if (s->n == s->cap) {
		for (size_t i = 0; i < s->n / 2; i++)
			s->samples[i] = s->samples[2 * i];
		s->n /= 2;
	}
	s->samples[s->n++] = (struct sample){ now_ns - s->begin_ns, bytes };
}

/* The next sample of a part is not earlier and not less than the one before it. */
static bool series_goes_on(const struct series *s, size_t i)
{
	return i < s->n && s->samples[i].at_ns >= s->samples[i - 1].at_ns &&
	       s->samples[i].bytes >= s->samples[i - 1].bytes;
}

void series_sum(struct series *sum, struct series *const *parts, unsigned n)
{
	size_t at[SERIES_MAX_PARTS];
	uint64_t begin_ns = UINT64_MAX, total = 0;

	for (unsigned i = 0; i < n; i++) {
		at[i] = 1;
		if (parts[i]->begin_ns < begin_ns)
			begin_ns = parts[i]->begin_ns;
	}
	series_begin(sum, begin_ns);
	for (;;) {
		uint64_t next_ns = UINT64_MAX;
		unsigned next = 0;

		for (unsigned i = 0; i < n; i++) {
			if (!series_goes_on(parts[i], at[i]))
				continue;
			if (parts[i]->begin_ns + parts[i]->samples[at[i]].at_ns < next_ns) {
				next_ns = parts[i]->begin_ns + parts[i]->samples[at[i]].at_ns;
				next = i;
			}
		}
		if (next_ns == UINT64_MAX)
			return;
		total += parts[next]->samples[at[next]].bytes -
			 parts[next]->samples[at[next] - 1].bytes;
		at[next]++;
		series_add(sum, next_ns, total);
	}
}

uint64_t series_at(const struct series *s, uint64_t at_ns)
{
	size_t low = 0, high = s->n;

	/* The last sample at or before at_ns. */
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (s->samples[mid].at_ns <= at_ns)
			low = mid;
		else
			high = mid;
	}
	return s->n ? s->samples[low].bytes : 0;
}

static void series_window_look(const struct series *s, uint64_t begin_ns, uint64_t window_ns,
			       struct series_window *out)
{
	uint64_t bytes = series_at(s, begin_ns + window_ns) - series_at(s, begin_ns);

	if (bytes < out->min_bytes) {
		out->min_bytes = bytes;
		out->min_at_ns = begin_ns;
	}
	if (bytes > out->max_bytes) {
		out->max_bytes = bytes;
		out->max_at_ns = begin_ns;
	}
}

int series_windows(const struct series *s, uint64_t from_ns, uint64_t window_ns,
		   struct series_window *out)
{
	uint64_t end_ns = s->n ? s->samples[s->n - 1].at_ns : 0;

	*out = (struct series_window){ .min_bytes = UINT64_MAX };
	for (size_t i = 0; i < s->n; i++) {
		uint64_t at_ns = s->samples[i].at_ns;

		/* Beginning at a sample, and ending at one. */
		if (at_ns >= from_ns && at_ns + window_ns <= end_ns)
			series_window_look(s, at_ns, window_ns, out);
		if (at_ns >= from_ns + window_ns)
			series_window_look(s, at_ns - window_ns, window_ns, out);
	}
	return out->min_bytes != UINT64_MAX;
}

uint64_t series_longest_gap_ns(const struct series *s)
{
	uint64_t longest = 0;

	for (size_t i = 1; i < s->n; i++)
		if (s->samples[i].at_ns - s->samples[i - 1].at_ns > longest)
			longest = s->samples[i].at_ns - s->samples[i - 1].at_ns;
	return longest;
}

struct json_object *series_json(const struct series *s, uint64_t step_ns)
{
	struct json_object *points = json_object_new_array();
	uint64_t end_ns = s->n ? s->samples[s->n - 1].at_ns : 0;

	for (uint64_t at_ns = 0, to_ns; at_ns < end_ns; at_ns = to_ns) {
		struct json_object *point = json_object_new_array();
		uint64_t bytes;

		/* A last piece shorter than half a step would show as a spike. */
		to_ns = at_ns + step_ns + step_ns / 2 < end_ns ? at_ns + step_ns : end_ns;
		bytes = series_at(s, to_ns) - series_at(s, at_ns);

		json_object_array_add(point, json_object_new_double(to_ns / 1e9));
		json_object_array_add(point, json_object_new_double(bytes * 1e9 / (to_ns - at_ns)));
		json_object_array_add(points, point);
	}
	return points;
}
