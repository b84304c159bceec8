/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A bit a version and byte. Finding the legal results by trying all orders of
 * the requests was rejected: 16 in flight have more orders than there is time.
 */
#include "tests/machine/model.h"

#include <stdlib.h>
#include <string.h>

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

void model_begin(struct model *m, const uint8_t *first, uint64_t len)
{
	*m = (struct model){ .first = first, .len = len, .n_versions = 1, .now = 1 };
	m->legal = need(malloc(len * sizeof(*m->legal)));
	m->n_changing = need(calloc(len, sizeof(*m->n_changing)));
	m->after_cut = need(malloc(len * sizeof(*m->after_cut)));
	m->uncertain = need(calloc(len, sizeof(*m->uncertain)));
	for (uint64_t i = 0; i < len; i++)
		m->legal[i] = m->after_cut[i] = 1;
	m->versions[0].ended = 1;
}

void model_end(struct model *m)
{
	free(m->legal);
	free(m->n_changing);
	free(m->after_cut);
	free(m->uncertain);
}

unsigned model_write_begin(struct model *m, uint64_t off, uint64_t len, uint8_t value, bool is_hint)
{
	unsigned v = m->n_versions++;

	if (v >= MODEL_MAX_VERSIONS)
		abort();
	m->versions[v] =
		(struct model_version){ .value = value, .is_hint = is_hint, .begun = ++m->now };
	for (uint64_t i = off; i < off + len; i++) {
		m->legal[i] |= UINT64_C(1) << v;
		m->after_cut[i] |= UINT64_C(1) << v;
		m->n_changing[i]++;
	}
	return v;
}

/* The versions that were over before it began. */
static uint64_t older(const struct model *m, unsigned version)
{
	uint64_t found = 0;

	for (unsigned v = 0; v < m->n_versions; v++)
		if (v != version && m->versions[v].ended &&
		    m->versions[v].ended < m->versions[version].begun)
			found |= UINT64_C(1) << v;
	return found;
}

void model_write_durable(struct model *m, unsigned version, uint64_t off, uint64_t len)
{
	uint64_t gone = older(m, version);

	for (uint64_t i = off; i < off + len && !m->versions[version].is_hint; i++)
		m->after_cut[i] &= ~gone;
}

void model_write_failed(struct model *m, unsigned version, uint64_t off, uint64_t len)
{
	m->versions[version].is_hint = true;
	for (uint64_t i = off; i < off + len; i++)
		m->uncertain[i] |= UINT64_C(1) << version;
	model_write_end(m, version, off, len);
}

void model_write_abandoned(struct model *m, unsigned version, uint64_t off, uint64_t len)
{
	m->versions[version].is_hint = true;
	model_write_end(m, version, off, len);
}

void model_flush_begin(struct model *m, struct model_flush *f)
{
	f->begun = ++m->now;
	f->legal = need(malloc(m->len * sizeof(*f->legal)));
	for (uint64_t i = 0; i < m->len; i++)
		f->legal[i] = m->legal[i] | m->uncertain[i];
}

void model_flush_end(struct model *m, struct model_flush *f)
{
	uint64_t newer = 0;

	for (unsigned v = 0; v < m->n_versions; v++)
		if (m->versions[v].begun > f->begun)
			newer |= UINT64_C(1) << v;
	for (uint64_t i = 0; i < m->len; i++)
		m->after_cut[i] &= f->legal[i] | newer;
	free(f->legal);
	f->legal = NULL;
}

/* What was over before it began can't be what is there now. */
void model_write_end(struct model *m, unsigned version, uint64_t off, uint64_t len)
{
	struct model_version *me = &m->versions[version];
	uint64_t gone = older(m, version);

	me->ended = ++m->now;
	for (uint64_t i = off; i < off + len; i++) {
		if (!me->is_hint) {
			m->legal[i] &= ~gone;
			m->uncertain[i] &= ~gone;
		}
		m->n_changing[i]--;
	}
}

void model_read_begin(struct model *m, struct model_read *r, uint64_t off, uint64_t len)
{
	*r = (struct model_read){ .off = off, .len = len, .begun = ++m->now };
	r->legal = need(malloc((len + 1) * sizeof(*r->legal)));
	memcpy(r->legal, m->legal + off, len * sizeof(*r->legal));
}

void model_read_sees(struct model_read *r, unsigned version, uint64_t off, uint64_t len)
{
	uint64_t lo = off > r->off ? off : r->off;
	uint64_t hi = off + len < r->off + r->len ? off + len : r->off + r->len;

	for (uint64_t i = lo; i < hi; i++)
		r->legal[i - r->off] |= UINT64_C(1) << version;
}

static uint8_t value_of(const struct model *m, unsigned v, uint64_t byte)
{
	return v ? m->versions[v].value : m->first[byte];
}

/* The versions of `set` that have this value there. */
static uint64_t having(const struct model *m, uint64_t set, uint64_t byte, uint8_t value)
{
	uint64_t found = 0;

	for (; set; set &= set - 1) {
		unsigned v = (unsigned)__builtin_ctzll(set);

		if (value_of(m, v, byte) == value)
			found |= UINT64_C(1) << v;
	}
	return found;
}

/*
 * The same, where many bytes in a row have the same set and the same value. What version 0 has is
 * each byte's own, so the memo is of the others.
 */
struct having_memo {
	uint64_t set, found;
	uint8_t value;
};

static uint64_t having_again(const struct model *m, struct having_memo *memo, uint64_t set,
			     uint64_t byte, uint8_t value)
{
	uint64_t others = set & ~UINT64_C(1);

	if (others != memo->set || value != memo->value)
		*memo = (struct having_memo){ .set = others,
					      .found = having(m, others, byte, value),
					      .value = value };
	return memo->found | (set & (m->first[byte] == value));
}

/* No request touched the byte while the read was in flight. */
static bool was_still(const struct model *m, const struct model_read *r, uint64_t byte)
{
	uint64_t seen = r->legal[byte - r->off];

	if (m->n_changing[byte])
		return false;
	for (; seen; seen &= seen - 1) {
		const struct model_version *v = &m->versions[__builtin_ctzll(seen)];

		if (v->ended > r->begun || v->begun > r->begun)
			return false;
	}
	return true;
}

bool model_read_end(struct model *m, struct model_read *r, const uint8_t *got, uint64_t *bad)
{
	struct having_memo memo = { 0 };
	bool ok = true;

	for (uint64_t i = 0; ok && i < r->len; i++) {
		uint64_t byte = r->off + i;
		uint64_t found = having_again(m, &memo, r->legal[i], byte, got[i]);

		if (!found) {
			*bad = byte;
			ok = false;
		} else if (was_still(m, r, byte) && !m->uncertain[byte]) {
			m->legal[byte] &= found;
		}
	}
	free(r->legal);
	r->legal = NULL;
	m->now++;
	return ok;
}

bool model_is_legal(const struct model *m, uint64_t byte, uint8_t value)
{
	return having(m, m->legal[byte], byte, value);
}

uint64_t model_illegal_after_cut(const struct model *m, const uint8_t *got)
{
	struct having_memo memo = { 0 };

	/* Most bytes are the first version's, and those are found without a memo. */
	for (uint64_t byte = 0; byte < m->len; byte++)
		if ((!(m->after_cut[byte] & 1) || got[byte] != m->first[byte]) &&
		    !having_again(m, &memo, m->after_cut[byte], byte, got[byte]))
			return byte;
	return m->len;
}

uint64_t model_restarted(struct model *m, const uint8_t *got, bool durable)
{
	uint64_t bad = model_illegal_after_cut(m, got);
	struct having_memo memo = { 0 };

	for (uint64_t byte = 0; bad == m->len && byte < m->len; byte++) {
		m->legal[byte] = having_again(m, &memo, m->after_cut[byte], byte, got[byte]);
		if (!durable)
			continue;
		m->after_cut[byte] = m->legal[byte];
		m->uncertain[byte] = 0;
	}
	m->now++;
	return bad;
}
