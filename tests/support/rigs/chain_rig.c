/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See chain_rig.h. */
#include "tests/support/rigs/chain_rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "formats/qcow2/image/disk.h"
#include "formats/qed/disk.h"
#include "io/base.h"

#define GUEST_LEN 32768u

/* Not leaks_assert_none(): Criterion overlooks an assertion that fails after the test's body. */
#ifdef __SANITIZE_ADDRESS__
int __lsan_do_recoverable_leak_check(void);
#else
static int __lsan_do_recoverable_leak_check(void)
{
	return 0;
}
#endif

struct chain_rig chain_rig;

void chain_rig_begin(void)
{
	mem_fs_init(&chain_rig.fs);
	chain_rig.cache = table_cache_new(1 << 20);
	chain_rig.set = layer_set_new(&chain_rig.fs.opener, chain_rig.cache);
}

void chain_rig_end(void)
{
	layer_set_free(chain_rig.set); /* checks that no layer is left */
	table_cache_free(chain_rig.cache);
	mem_fs_destroy(&chain_rig.fs);
	if (__lsan_do_recoverable_leak_check())
		abort();
}

/* ---- images ---- */

struct mem_inode *chain_rig_add_qed(const char *name, const char *backing, uint64_t more_features)
{
	struct mem_inode *inode = mem_fs_add(&chain_rig.fs, name, 8192);
	uint8_t *h = inode->bytes;

	memcpy(h, "QED", 4);
	put_le32(h + QED_H_CLUSTER_LEN, 4096);
	put_le32(h + QED_H_TABLE_CLUSTERS, 1);
	put_le32(h + QED_H_HEADER_CLUSTERS, 1);
	put_le64(h + QED_H_FEATURES, more_features | (backing ? QED_F_BACKING_FILE : 0));
	put_le64(h + QED_H_L1_OFF, 4096);
	put_le64(h + QED_H_GUEST_LEN, GUEST_LEN);
	if (backing) {
		put_le32(h + QED_H_BACKING_OFF, QED_HEADER_LEN);
		put_le32(h + QED_H_BACKING_LEN, (uint32_t)strlen(backing));
		memcpy(h + QED_HEADER_LEN, backing, strlen(backing));
	}
	return inode;
}

struct mem_inode *chain_rig_add_qcow2(const char *name, const char *backing, const char *format)
{
	struct mem_inode *inode = mem_fs_add(&chain_rig.fs, name, 3 * 512);
	uint8_t *h = inode->bytes;

	put_be32(h + QCOW2_H_MAGIC, QCOW2_MAGIC);
	put_be32(h + QCOW2_H_VERSION, 3);
	put_be32(h + QCOW2_H_CLUSTER_BITS, 9);
	put_be64(h + QCOW2_H_SIZE, GUEST_LEN);
	put_be32(h + QCOW2_H_L1_SIZE, 1);
	put_be64(h + QCOW2_H_L1_OFF, 1024);
	put_be64(h + QCOW2_H_REFTABLE_OFF, 512);
	put_be32(h + QCOW2_H_REFTABLE_CLUSTERS, 1);
	put_be32(h + QCOW2_H_REFCOUNT_ORDER, 4);
	put_be32(h + QCOW2_H_LEN, 104);
	if (format) {
		put_be32(h + 104, 0xe2792aca);
		put_be32(h + 108, (uint32_t)strlen(format));
		memcpy(h + 112, format, strlen(format));
	}
	if (backing) {
		put_be64(h + QCOW2_H_BACKING_OFF, 256);
		put_be32(h + QCOW2_H_BACKING_LEN, (uint32_t)strlen(backing));
		memcpy(h + 256, backing, strlen(backing));
	}
	return inode;
}

/* ---- opening ---- */

int chain_rig_open_how(const struct chain_open *how, struct chain **out)
{
	chain_rig.err = (struct err){ 0 };
	int rc = chain_open(chain_rig.set, how, out, &chain_rig.err);

	cr_assert_eq(rc, chain_rig.err.code, "%d, but the error says %d: %s", rc,
		     chain_rig.err.code, chain_rig.err.message);
	return rc;
}

int chain_rig_open(const char *name, bool write, struct chain **out)
{
	return chain_rig_open_how(&(struct chain_open){ .name = name, .write = write }, out);
}

void chain_rig_says(const char *a, const char *b)
{
	cr_assert(strstr(chain_rig.err.message, a), "'%s' is not in: %s", a, chain_rig.err.message);
	cr_assert(strstr(chain_rig.err.message, b), "'%s' is not in: %s", b, chain_rig.err.message);
}

void chain_rig_refused(const char *name, int code, const char *a, const char *b)
{
	struct chain *chain;

	cr_assert_eq(chain_rig_open(name, true, &chain), code, "%s: %s", name,
		     chain_rig.err.message);
	chain_rig_says(a, b);
}

/* ---- callbacks ---- */

void chain_rig_count_opened(void *opaque, struct file *file)
{
	((struct chain_rig_told *)opaque)->n_opened++;
}

void chain_rig_count_closing(void *opaque, struct file *file)
{
	struct chain_rig_told *told = opaque;

	cr_assert_not_null(file->name, "it is still open");
	told->n_closing++;
}

void chain_rig_count_no_locks(void *opaque, const char *name)
{
	((struct chain_rig_told *)opaque)->n_no_locks++;
}
