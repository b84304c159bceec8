/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The cache of tables beside a model that forgets nothing: loads, changes, commits in part,
 * failing reads, any budget.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "io/base.h"
#include "tests/support/fail_alloc.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/random.h"
#include "tests/unit/formats/table_load.h"

#define N_SEEDS    300
#define N_STEPS    600
#define N_FILES    2
#define N_TABLES   40 /* in each file */
#define MAX_WRITES 4096
#define KEPT       16 /* clean tables the cache never evicts */

/* ---- The model ---- */

struct model_table {
	uint64_t host_off;
	uint32_t len;
	bool born; /* it is on disk, or was made by table_new() */
	bool fresh;
	enum stage stage;
	uint64_t dirty;
	unsigned n_writing;
	uint8_t now[TABLE_MAX_LEN];
};

struct model_write {
	struct staged_write *write;
	struct model_table *table;
	uint8_t *bytes;
	unsigned commit;
};

struct model {
	uint64_t seed, rng;
	struct table_cache *cache;
	size_t budget;
	struct file *files[N_FILES];
	struct model_table tables[N_FILES][N_TABLES];
	struct model_write writes[MAX_WRITES];
	unsigned n_writes, n_commits;
	bool added; /* the last step put a table into the cache */
};

static uint64_t roll(struct model *m, uint64_t below)
{
	return random_below(&m->rng, below);
}

static unsigned n_sectors(const struct model_table *mt)
{
	return (unsigned)div_round_up(mt->len, TABLE_SECTOR_LEN);
}

static uint32_t sector_len(const struct model_table *mt, unsigned i)
{
	return MIN(TABLE_SECTOR_LEN, mt->len - i * TABLE_SECTOR_LEN);
}

static void fill(struct model *m, uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)roll(m, 256);
}

static void model_init(struct model *m, uint64_t seed)
{
	*m = (struct model){ .seed = seed, .rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1 };
	m->budget = roll(m, 3) ? roll(m, 200000) : 0;
	m->cache = table_cache_new(m->budget);
	for (int f = 0; f < N_FILES; f++) {
		uint64_t off = 65536;

		for (int t = 0; t < N_TABLES; t++) {
			struct model_table *mt = &m->tables[f][t];

			mt->host_off = off;
			mt->len = (uint32_t)(roll(m, 8) ? 8 + 8 * roll(m, 200)
							: 8 + 8 * roll(m, TABLE_MAX_LEN / 8));
			mt->born = roll(m, 4);
			off += round_up(mt->len, 512) + 512 * roll(m, 3);
		}
		/* The last table may end behind the end of the file. */
		struct model_table *last = &m->tables[f][N_TABLES - 1];
		uint64_t end = last->host_off + roll(m, last->len + 1);
		m->files[f] = mem_file_new("mem", end);
		fill(m, mem_file_inode(m->files[f])->bytes, end);
		for (int t = 0; t < N_TABLES; t++) {
			struct model_table *mt = &m->tables[f][t];

			if (mt->born)
				file_read_padded(m->files[f], mt->now, mt->len, mt->host_off);
		}
	}
}

/* The table as the cache has it, loading it one way or the other; NULL where a load failed. */
static struct table *want_table(struct model *m, int f, struct model_table *mt)
{
	struct table *table;
	struct table_need need;
	int rc = table_get(m->cache, m->files[f], mt->host_off, mt->len, &table, &need);

	if (rc == TABLE_NEED) {
		cr_assert(need.file == m->files[f] && need.host_off == mt->host_off &&
				  need.len == mt->len,
			  "seed %" PRIu64, m->seed);
		cr_assert(!mt->dirty && !mt->fresh && !mt->n_writing,
			  "seed %" PRIu64 ": a table that must stay was evicted", m->seed);
		if (roll(m, 2)) {
			rc = table_load_now(m->cache, &need);
			cr_assert_eq(rc, 0, "seed %" PRIu64, m->seed);
		} else {
			table = table_load_begin(m->cache, &need);
			cr_assert_eq(table_get(m->cache, m->files[f], mt->host_off, mt->len, &table,
					       &need),
				     TABLE_NEED, "seed %" PRIu64, m->seed);
			cr_assert_eq(table_load_now(m->cache, &need), -EALREADY);
			table = table_find(m->cache, m->files[f], mt->host_off);
			file_read_padded(m->files[f], table->bytes, table->len, table->host_off);
			int error = roll(m, 8) ? 0 : -EIO;
			table_load_end(m->cache, table, error);
			if (error) {
				cr_assert_null(table_find(m->cache, m->files[f], mt->host_off));
				return NULL;
			}
		}
		rc = table_get(m->cache, m->files[f], mt->host_off, mt->len, &table, &need);
	}
	cr_assert_eq(rc, 0, "seed %" PRIu64, m->seed);
	cr_assert_arr_eq(table->bytes, mt->now, mt->len, "seed %" PRIu64, m->seed);
	return table;
}

static void change(struct model *m, struct model_table *mt, struct table *table)
{
	uint32_t off = (uint32_t)roll(m, mt->len);
	uint32_t len = 1 + (uint32_t)roll(m, roll(m, 3) ? MIN(8u, mt->len - off) : mt->len - off);

	if (!mt->dirty && !mt->fresh)
		mt->stage = (enum stage)roll(m, STAGE_HEADER);
	fill(m, mt->now + off, len);
	memcpy(table->bytes + off, mt->now + off, len);
	for (unsigned i = off / TABLE_SECTOR_LEN; i <= (off + len - 1) / TABLE_SECTOR_LEN; i++)
		mt->dirty |= UINT64_C(1) << i;
	table_mark_dirty(m->cache, table, off, len, mt->stage);
}

static void step_touch(struct model *m)
{
	int f = (int)roll(m, N_FILES);
	struct model_table *mt = &m->tables[f][roll(m, N_TABLES)];
	struct table *table;

	m->added = !table_find(m->cache, m->files[f], mt->host_off);
	if (mt->born) {
		table = want_table(m, f, mt);
	} else {
		mt->stage = (enum stage)roll(m, STAGE_HEADER);
		table = table_new(m->cache, m->files[f], mt->host_off, mt->len, mt->stage);
		cr_assert_not_null(table);
		memset(mt->now, 0, mt->len);
		mt->born = mt->fresh = true;
		/* The disk holds garbage there, or zeros; then nothing need be written. */
		if (roll(m, 2)) {
			mt->dirty = UINT64_MAX >> (64 - n_sectors(mt));
			table_mark_dirty(m->cache, table, 0, mt->len, mt->stage);
		} else {
			file_write(m->files[f], mt->now, mt->len, mt->host_off);
		}
	}
	if (table && roll(m, 3) == 0)
		change(m, mt, table);
}

static struct model_table *table_at(struct model *m, const struct file *file, uint64_t host_off)
{
	int f = file == m->files[0] ? 0 : 1;

	for (int t = 0; t < N_TABLES; t++) {
		struct model_table *mt = &m->tables[f][t];

		if (host_off >= mt->host_off && host_off < mt->host_off + mt->len)
			return mt;
	}
	return NULL;
}

/* One staged write: a whole run of dirty sectors of one table as they are now. */
static void check_write(struct model *m, struct staged_write *write, enum stage stage)
{
	struct model_table *mt = table_at(m, write->file, write->host_off);
	uint32_t off = (uint32_t)(write->host_off - mt->host_off), end = off + write->len;

	cr_assert(off % TABLE_SECTOR_LEN == 0 && end <= mt->len, "seed %" PRIu64, m->seed);
	cr_assert(end % TABLE_SECTOR_LEN == 0 || end == mt->len, "seed %" PRIu64, m->seed);
	cr_assert_eq(stage, mt->fresh ? STAGE_REFCOUNT : mt->stage, "seed %" PRIu64, m->seed);
	cr_assert_arr_eq(write->bytes, mt->now + off, write->len, "seed %" PRIu64, m->seed);
	/* Neighbours that are dirty, too, would belong to the same write. (Sectors are taken out
	 * of the model's mask only when all writes are checked.) */
	unsigned first = off / TABLE_SECTOR_LEN, after = (unsigned)div_round_up(end, 512);
	cr_assert(first == 0 || !(mt->dirty >> (first - 1) & 1), "seed %" PRIu64, m->seed);
	cr_assert(after >= n_sectors(mt) || !(mt->dirty >> after & 1), "seed %" PRIu64, m->seed);
	for (unsigned i = first; i < after; i++)
		cr_assert(mt->dirty >> i & 1, "seed %" PRIu64 ": a clean sector is staged",
			  m->seed);

	struct model_write *mw = &m->writes[m->n_writes++];
	cr_assert(m->n_writes < MAX_WRITES);
	*mw = (struct model_write){ .write = write, .table = mt, .commit = m->n_commits };
	mw->bytes = malloc(write->len);
	memcpy(mw->bytes, write->bytes, write->len);
	mt->n_writing++;
}

static uint64_t model_dirty_len(const struct model *m, int f)
{
	uint64_t len = 0;

	for (int t = 0; t < N_TABLES; t++)
		for (unsigned i = 0; i < n_sectors(&m->tables[f][t]); i++)
			if (m->tables[f][t].dirty >> i & 1)
				len += sector_len(&m->tables[f][t], i);
	return len;
}

static void step_stage(struct model *m)
{
	int f = (int)roll(m, N_FILES);
	uint64_t dirty_len = model_dirty_len(m, f), staged_len = 0;
	struct staged staged = { 0 };

	fail_alloc_after = roll(m, 3) ? -1 : (long)roll(m, 6);
	int rc = table_cache_stage(m->cache, m->files[f], &staged);
	fail_alloc_after = -1;
	if (rc < 0) {
		cr_assert_eq(rc, -ENOMEM);
		for (int stage = 0; stage < N_STAGES; stage++)
			cr_assert(!staged.head[stage] && !staged.n[stage]);
		return; /* that nothing was lost is seen by all later steps */
	}
	for (int stage = 0; stage < N_STAGES; stage++) {
		unsigned n = 0;

		for (struct staged_write *w = staged.head[stage]; w; w = w->next, n++) {
			check_write(m, w, (enum stage)stage);
			staged_len += w->len;
		}
		cr_assert_eq(n, staged.n[stage]);
	}
	cr_assert_eq(staged_len, dirty_len, "seed %" PRIu64 ": not all was staged", m->seed);
	for (int t = 0; t < N_TABLES; t++) {
		struct model_table *mt = &m->tables[f][t];

		mt->fresh = false;
		mt->dirty = 0;
	}
	m->n_commits++;
}

/* One write of the oldest commit reaches the disk; commits follow each other. */
static void step_write(struct model *m)
{
	unsigned n = 0;

	while (n < m->n_writes && m->writes[n].commit == m->writes[0].commit)
		n++;
	if (!n)
		return;
	unsigned i = (unsigned)roll(m, n);
	struct model_write mw = m->writes[i];

	cr_assert_arr_eq(mw.write->bytes, mw.bytes, mw.write->len,
			 "seed %" PRIu64 ": a later change got into a commit (I6)", m->seed);
	cr_assert_eq(file_write(mw.write->file, mw.bytes, mw.write->len, mw.write->host_off), 0);
	memmove(&m->writes[i], &m->writes[i + 1], (--m->n_writes - i) * sizeof(mw));
	free(mw.bytes);
	mw.table->n_writing--;
	staged_write_done(mw.write);
}

static void check_all(struct model *m)
{
	size_t used = 0, changed = 0;
	unsigned n_clean = 0;

	for (int f = 0; f < N_FILES; f++)
		cr_assert_eq(table_cache_dirty_len(m->cache, m->files[f]), model_dirty_len(m, f),
			     "seed %" PRIu64, m->seed);
	for (int f = 0; f < N_FILES; f++) {
		for (int t = 0; t < N_TABLES; t++) {
			struct model_table *mt = &m->tables[f][t];
			struct table *table = table_find(m->cache, m->files[f], mt->host_off);

			if (!table) {
				cr_assert(!mt->dirty && !mt->fresh && !mt->n_writing,
					  "seed %" PRIu64, m->seed);
				continue;
			}
			cr_assert_eq(table->n_writing, mt->n_writing, "seed %" PRIu64, m->seed);
			cr_assert_eq(table->dirty_sectors, mt->dirty, "seed %" PRIu64, m->seed);
			cr_assert_arr_eq(table->bytes, mt->now, mt->len, "seed %" PRIu64, m->seed);
			used += sizeof(*table) + table->len;
			if (!mt->dirty && !mt->fresh && !mt->n_writing)
				n_clean++;
			else
				changed += sizeof(*table) + table->len;
		}
	}
	/* What loads have failed is in neither. */
	cr_assert_eq(table_cache_changed_len(m->cache), changed, "seed %" PRIu64, m->seed);
	/* The table just loaded became clean after room was made for it. */
	if (m->added)
		cr_assert(used <= m->budget || n_clean <= KEPT + 1,
			  "seed %" PRIu64 ": %zu bytes, %u clean tables, budget %zu", m->seed, used,
			  n_clean, m->budget);
}

static void run_model(struct model *m)
{
	for (int i = 0; i < N_STEPS; i++) {
		unsigned what = (unsigned)roll(m, 40);

		m->added = false;
		if (what < 26)
			step_touch(m);
		else if (what < 28)
			step_stage(m);
		else if (what < 39)
			step_write(m);
		else
			table_cache_drop_clean(m->cache, m->files[roll(m, N_FILES)]);
		check_all(m);
	}
	while (m->n_writes)
		step_write(m);
	/* With all written, the disk alone must hold what the last commits took out. */
	for (int f = 0; f < N_FILES; f++) {
		table_cache_drop_clean(m->cache, m->files[f]);
		for (int t = 0; t < N_TABLES; t++) {
			struct model_table *mt = &m->tables[f][t];

			if (mt->born)
				while (!want_table(m, f, mt))
					;
		}
	}
	check_all(m);
	for (int f = 0; f < N_FILES; f++) {
		table_cache_forget(m->cache, m->files[f]);
		cr_assert_eq(table_cache_dirty_len(m->cache, m->files[f]), 0);
		for (int t = 0; t < N_TABLES; t++)
			cr_assert_null(table_find(m->cache, m->files[f], m->tables[f][t].host_off));
		file_close(m->files[f]);
	}
	table_cache_free(m->cache);
}

Test(table_cache, agrees_with_a_model_that_forgets_nothing)
{
	struct model *m = malloc(sizeof(*m));

	for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
		model_init(m, seed);
		run_model(m);
	}
	free(m);
}
