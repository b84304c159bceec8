/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See convoy_rig.h. */
#include "tests/unit/engine/convoys/convoy_rig.h"

#include <criterion/criterion.h>

#include "engine/core/convoy.h"
#include "engine/core/convoy_kept.h"
#include "engine/core/kept.h"

struct convoys rig_new_convoys(void)
{
	return (struct convoys){ .max_len = 2 * WINDOW };
}

struct convoy_place rig_at(uint64_t lap, uint64_t guest_off)
{
	return (struct convoy_place){ lap, guest_off };
}

void rig_join(struct convoys *convoys, struct convoy_member *m, struct convoy_place want)
{
	struct convoy_place begin;

	convoy_join(convoys, m, 7, 0, LEN, &begin);
	cr_assert_eq(begin.lap, want.lap);
	cr_assert_eq(begin.guest_off, want.guest_off);
	m->place = begin;
}

bool rig_lets_go(const struct convoys *convoys, const struct convoy_member *m, uint64_t lap,
		 uint64_t guest_off)
{
	struct convoy_place place = rig_at(lap, guest_off);

	return convoy_lets_go(convoys, m, &place);
}

const uint8_t rig_bytes[KEPT_MAX_LEN];

void rig_keep(struct kept_set *set, uint64_t guest_off, uint32_t len)
{
	struct kept *kept = kept_claim(set, 7, guest_off, len, 0);

	cr_assert_not_null(kept);
	kept_fill(set, kept, rig_bytes);
}

void rig_three(struct convoys *convoys, struct convoy_member m[3])
{
	for (unsigned i = 0; i < 3; i++) {
		rig_join(convoys, &m[i], rig_at(0, 0));
		convoy_note_run(&m[i], (i == 2 ? 500 : 10) * MS);
	}
	m[0].place = m[1].place = rig_at(0, WINDOW);
	m[0].is_held = m[1].is_held = true;
}

void rig_end_three(struct convoys *convoys, struct convoy_member m[3])
{
	for (unsigned i = 0; i < 3; i++)
		convoy_leave(convoys, &m[i]);
	convoys_close(convoys);
}
