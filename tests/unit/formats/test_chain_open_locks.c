/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Opening chains: layers that chains share, and locks, of this process and of others. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "formats/chain/chain.h"
#include "formats/chain/turn.h"
#include "formats/core/layer.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/rigs/chain_rig.h"

Test(chain_open, chains_share_a_template)
{
	struct mem_inode *base = mem_fs_add(&chain_rig.fs, "base", 4096);
	struct chain_rig_told told = { 0 };
	struct chain_open how = { .write = true,
				  .file_opened = chain_rig_count_opened,
				  .opaque = &told };
	struct chain *a, *b, *c;

	chain_rig_add_qcow2("a", "base", "raw");
	chain_rig_add_qcow2("b", "alias", "raw");
	chain_rig_add_qcow2("c", "base", "raw");
	mem_fs_link(&chain_rig.fs, "alias", "/mem/base", base);
	how.name = "a";
	cr_assert_eq(chain_rig_open_how(&how, &a), 0, "%s", chain_rig.err.message);
	how.name = "b";
	cr_assert_eq(chain_rig_open_how(&how, &b), 0, "%s", chain_rig.err.message);
	cr_assert_eq(a->layers[1], b->layers[1]);
	cr_assert_eq(a->layers[1]->n_users, 2);
	cr_assert_eq(base->n_open, 1);
	cr_assert_eq(told.n_opened, 3);

	chain_close(a, chain_rig_count_closing, &told);
	cr_assert_eq(told.n_closing, 1, "the template is still in use");
	cr_assert_eq(chain_rig_open("b", false, &c), -EBUSY, "the other overlay is still known");
	chain_rig_says("'b' is being written to", "this process");
	cr_assert_eq(base->n_shared, 1);
	chain_close(b, chain_rig_count_closing, &told);
	cr_assert_eq(told.n_closing, 3);
	cr_assert_eq(base->n_open, 0);

	/* Changed in between: what is cached of the old one does not hold. */
	how.name = "a";
	cr_assert_eq(chain_rig_open_how(&how, &a), 0);
	base->mtime_ns++;
	how.name = "c";
	cr_assert_eq(chain_rig_open_how(&how, &c), 0);
	cr_assert_neq(a->layers[1], c->layers[1]);
	chain_close(a, NULL, NULL);
	chain_close(c, NULL, NULL);
}

Test(chain_open, an_overlay_belongs_to_one_chain)
{
	struct chain *chain, *other;
	struct chain_open reader = { .name = "middle", .no_lock = true };

	mem_fs_add(&chain_rig.fs, "base", 4096);
	chain_rig_add_qcow2("middle", "base", "raw");
	chain_rig_add_qcow2("top", "middle", "qcow2");

	cr_assert_eq(chain_rig_open("middle", true, &chain), 0);
	chain_rig_refused("middle", -EBUSY, "'middle' is being written to", "this process");
	chain_rig_refused("top", -EBUSY, "'middle' is being written to", "backing file of 'top'");
	cr_assert_eq(chain_rig.err.remedy, ERR_REMEDY_CLOSE_DISK);
	cr_assert_eq(chain_rig_open("middle", false, &other), -EBUSY);
	cr_assert_eq(chain_rig_open_how(&reader, &other), -EBUSY, "what it caches would go stale");
	chain_close(chain, NULL, NULL);

	cr_assert_eq(chain_rig_open("top", true, &chain), 0);
	chain_rig_refused("middle", -EBUSY, "'middle' is in use in this process",
			  "can't be changed");
	chain_close(chain, NULL, NULL);

	cr_assert_eq(chain_rig_open("top", false, &chain), 0);
	cr_assert_eq(chain_rig_open("top", false, &other), 0, "readers share");
	cr_assert_eq(chain->layers[0], other->layers[0]);
	chain_rig_refused("top", -EBUSY, "'top'", "this process");
	chain_close(chain, NULL, NULL);
	chain_close(other, NULL, NULL);
}

Test(chain_open, an_image_read_as_two_formats_is_two_layers)
{
	struct chain *as_qcow2, *as_raw;

	chain_rig_add_qcow2("top", NULL, NULL);
	cr_assert_eq(chain_rig_open("top", false, &as_qcow2), 0);
	cr_assert_eq(chain_rig_open_how(&(struct chain_open){ .name = "top", .format = IMAGE_RAW },
					&as_raw),
		     0);
	cr_assert_neq(as_qcow2->layers[0], as_raw->layers[0]);
	cr_assert_eq(as_raw->layers[0]->guest_len, 3 * 512);
	chain_close(as_qcow2, NULL, NULL);
	chain_close(as_raw, NULL, NULL);
}

Test(chain_open, others_locks_are_respected_and_named)
{
	struct mem_inode *top = chain_rig_add_qcow2("top", NULL, NULL);
	struct chain_open look = { .name = "top", .no_lock = true };
	struct chain *chain, *locked;

	top->n_overlay = 1; /* another program's */
	chain_rig_refused("top", -EBUSY, "'top' is locked", "");
	cr_assert_eq(chain_rig_open("top", false, &chain), -EBUSY);
	/* No chain writes without locks, even if told to. */
	look.write = true;
	cr_assert_eq(chain_rig_open_how(&look, &chain), -EBUSY);
	look.write = false;
	cr_assert_eq(chain_rig_open_how(&look, &chain), 0);
	top->n_overlay = 0;
	/* A chain that wants locks gets a file that has them. */
	cr_assert_eq(chain_rig_open("top", false, &locked), 0);
	cr_assert_neq(chain->layers[0], locked->layers[0]);
	cr_assert_eq(top->n_shared, 1);
	chain_close(chain, NULL, NULL);
	cr_assert_eq(top->n_shared, 1);
	chain_close(locked, NULL, NULL);
}

Test(chain_open, a_file_system_without_locks_is_told_of_once)
{
	struct chain_rig_told told = { 0 };
	struct chain_open how = { .name = "top",
				  .write = true,
				  .no_locks_here = chain_rig_count_no_locks,
				  .opaque = &told };
	struct chain *chain, *other;

	chain_rig.fs.no_locks = true;
	chain_rig_add_qcow2("top", "middle", "qcow2");
	chain_rig_add_qcow2("middle", NULL, NULL);
	cr_assert_eq(chain_rig_open_how(&how, &chain), 0, "%s", chain_rig.err.message);
	cr_assert_eq(told.n_no_locks, 1);
	/* Within the engine it is found out all the same. */
	cr_assert_eq(chain_rig_open_how(&how, &other), -EBUSY);
	chain_rig_says("'top' is being written to", "this process");
	chain_close(chain, NULL, NULL);
}

/* ---- layers that change sides ---- */

Test(chain_open, a_base_turns_writable_and_back)
{
	struct chain *chain, *below, *other;
	struct err err;

	mem_fs_add(&chain_rig.fs, "base", 4096);
	chain_rig_add_qcow2("middle", "base", "raw");
	chain_rig_add_qcow2("top", "middle", "qcow2");
	chain_rig_add_qcow2("clone", "middle", "qcow2");
	cr_assert_eq(chain_rig_open("top", true, &chain), 0);
	below = chain_share_below(chain, 1);
	cr_assert_eq(below->n_layers, 2);
	cr_assert_eq(below->layers[0], chain->layers[1]);

	cr_assert_eq(chain_rig_open("clone", true, &other), 0);
	cr_assert_eq(chain_turn_writable(below, 0, 2, &err), -EBUSY);
	cr_assert(strstr(err.message, "middle"), "%s", err.message);
	chain_close(other, NULL, NULL);

	cr_assert_eq(chain_turn_writable(below, 0, 2, &err), 0, "%s", err.message);
	cr_assert(below->layers[0]->is_overlay && below->layers[0]->file->writable);
	chain_rig_refused("clone", -EBUSY, "'middle' is being written to", "backing file");
	cr_assert_eq(chain_turn_writable(chain, 1, 2, &err), -EBUSY, "once at a time");
	cr_assert_eq(err.remedy, ERR_REMEDY_CLOSE_DISK);

	cr_assert_eq(chain_turn_read_only(below, 0, &err), 0);
	cr_assert(!below->layers[0]->file->writable);
	below->layers[0]->is_overlay = false;
	cr_assert_eq(chain_rig_open("clone", true, &other), 0);
	chain_close(other, NULL, NULL);
	chain_close(below, NULL, NULL);
	cr_assert_eq(chain->layers[1]->n_users, 1);
	chain_close(chain, NULL, NULL);
}
