/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Mutations that know where the fields of a qcow2 or QED image are: half of the time
 * one field gets a value that means something (an offset that is in use, a limit,
 * another field's value, one bit more), else libFuzzer does as it likes. Without
 * this hardly an input in thousands gets past the header.
 */
#include <string.h>

#include "tests/fuzz/world.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

struct fields {
	uint8_t *image;
	size_t len;
	bool big_endian;
	uint64_t state;
};

static uint64_t draw(struct fields *f, uint64_t n)
{
	f->state = f->state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (f->state >> 33) % n;
}

static uint64_t get(const struct fields *f, size_t at, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)f->image[at + i] << 8 * (f->big_endian ? n - 1 - i : i);
	return v;
}

static void set(struct fields *f, size_t at, unsigned n, uint64_t v)
{
	for (unsigned i = 0; i < n; i++)
		f->image[at + i] = (uint8_t)(v >> 8 * (f->big_endian ? n - 1 - i : i));
}

/* Where an 8-byte entry may be: the header, or a table whose offset the header, or an entry,
 * has. */
static size_t choose_place(struct fields *f, unsigned *n)
{
	static const uint8_t qcow2_at[] = { 4,  8,  16, 20, 24, 32, 36, 40,  48,
					    56, 60, 64, 72, 80, 88, 96, 100, 104 };
	static const uint8_t qcow2_n[] = { 4, 8, 4, 4, 8, 4, 4, 8, 8, 4, 4, 8, 8, 8, 8, 4, 4, 1 };
	static const uint8_t qed_at[] = { 4, 8, 12, 16, 24, 32, 40, 48, 56, 60 };
	static const uint8_t qed_n[] = { 4, 4, 4, 8, 8, 8, 8, 8, 4, 4 };
	uint64_t i, at;

	*n = 8;
	if (!draw(f, 3)) {
		i = draw(f, f->big_endian ? sizeof(qcow2_at) : sizeof(qed_at));
		*n = f->big_endian ? qcow2_n[i] : qed_n[i];
		return f->big_endian ? qcow2_at[i] : qed_at[i];
	}
	at = f->big_endian ? get(f, draw(f, 2) ? 40 : draw(f, 2) ? 48 : 64, 8) : get(f, 40, 8);
	/* Down a level or two. */
	for (unsigned depth = 0; depth < 2 && draw(f, 3) && at < f->len - 8; depth++) {
		uint64_t next = get(f, at + draw(f, 4) * 8 % (f->len - at - 7), 8) &
				UINT64_C(0x00fffffffffffe00);

		if (next && next + 8 < f->len)
			at = next;
	}
	if (at > f->len - 8)
		at = 0;
	at += draw(f, 8) * 8;
	return at <= f->len - 8 ? at : 0;
}

static uint64_t choose_value(struct fields *f, uint64_t old, unsigned n)
{
	uint64_t other = f->len > 16 ? get(f, draw(f, f->len / 8 - 1) * 8, 8) : 0;
	uint64_t cluster = UINT64_C(1) << (9 + draw(f, 8));

	switch (draw(f, 16)) {
	case 0: return 0;
	case 1: return old + 1;
	case 2: return old - 1;
	case 3: return old ^ UINT64_C(1) << draw(f, 8 * n);
	case 4: return UINT64_MAX >> draw(f, 64);
	case 5: return UINT64_C(1) << draw(f, 64);
	case 6: return other;
	case 7: return get(f, 40, 8) | (old & UINT64_C(0xff00000000000000));
	case 8: return get(f, f->big_endian ? 48 : 16, 8);
	case 9: return round_down((uint64_t)f->len, cluster) | UINT64_C(1) << 63;
	case 10: return draw(f, f->len / 512 + 2) * 512 | UINT64_C(1) << 63;
	case 11: return draw(f, f->len / 512 + 2) * 512;
	case 12: return old + cluster;
	case 13: return old - cluster;
	case 14: return draw(f, 300);
	default: return UINT64_C(1) << 62 | draw(f, f->len + 1) | draw(f, 64) << 55;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	struct fields f = { .state = seed, .image = data + FUZZ_SKIP };

	if (size < FUZZ_SKIP + 128 || !draw(&f, 4))
		return LLVMFuzzerMutate(data, size, max_size);
	f.len = size - FUZZ_SKIP;
	f.big_endian = !memcmp(f.image, "QFI", 3);
	for (uint64_t n_fields = 1 + draw(&f, 3) * draw(&f, 2); n_fields--;) {
		unsigned n;
		size_t at = choose_place(&f, &n);

		set(&f, at, n, choose_value(&f, get(&f, at, n), n));
	}
	return size;
}
