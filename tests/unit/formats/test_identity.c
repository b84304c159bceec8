/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Whether an opened file is one that is in use already: formats/chain/identity.h. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "formats/chain/chain.h"
#include "formats/chain/identity.h"
#include "formats/chain/layer_entries.h"
#include "formats/chain/layer_set.h"
#include "formats/core/layer.h"
#include "io/err.h"
#include "io/file.h"

static char name_a[] = "a", name_b[] = "b", name_new[] = "new";

/* Two images, the first with a data file, which read through to what is opened. */
static struct file file_a = { .name = name_a, .dev = 1, .ino = 10, .fd = 3 };
static struct file data_a = { .name = name_a, .dev = 1, .ino = 11, .fd = 4 };
static struct file file_b = { .name = name_b, .dev = 1, .ino = 20, .fd = 5 };
static struct layer layer_a = { .file = &file_a, .data = &data_a };
static struct layer layer_b = { .file = &file_b, .data = &file_b };
static struct layer_entry entries[] = { { .layer = &layer_b } };
static struct chain above, nothing;
static struct layer_set set = { .entries = entries }, none;
static struct err err;

static struct file opened(dev_t dev, ino_t ino)
{
	return (struct file){ .name = name_new, .dev = dev, .ino = ino, .fd = 9 };
}

static void set_up(void)
{
	above.layers[0] = &layer_a;
	above.n_layers = 1;
	set.n = 1;
}

TestSuite(identity, .init = set_up);

Test(identity, device_and_inode_say_which_file_it_is)
{
	struct file a = opened(1, 2), b = opened(1, 2), other_dev = opened(2, 2),
		    other_ino = opened(1, 3);

	b.name = name_b;
	cr_assert(identity_is_same(&a, &b), "names lie");
	cr_assert_not(identity_is_same(&a, &other_dev));
	cr_assert_not(identity_is_same(&a, &other_ino));
}

Test(identity, a_source_is_what_its_identity_says)
{
	struct file a = opened(1, 2), b = opened(1, 2);
	char one[] = "one", same[] = "one", two[] = "two";

	a.of_source.identity = one;
	cr_assert_not(identity_is_same(&a, &b), "a file that has a source's numbers");
	b.of_source.identity = same;
	cr_assert(identity_is_same(&a, &b));
	b.of_source.identity = two;
	cr_assert_not(identity_is_same(&a, &b), "another source with the same numbers");
}

static void refused(const struct layer_want *want, struct file *file, int code, const char *says)
{
	cr_assert_eq(identity_check(&set, want, file, &err), code, "%s", err.message);
	cr_assert_not_null(strstr(err.message, "'new'"), "%s", err.message);
	cr_assert_not_null(strstr(err.message, says), "%s", err.message);
}

Test(identity, a_file_of_its_own_chain_is_a_loop)
{
	struct layer_want want = { .above = &above };
	struct file image = opened(1, 10), data = opened(1, 11), other = opened(1, 12);

	refused(&want, &image, -ELOOP, "the chain is a loop");
	refused(&want, &data, -ELOOP, "it is the data file of 'a'");
	want.is_data = true;
	refused(&want, &image, -ELOOP, "give the image a data file of its own");
	cr_assert_eq(identity_check(&set, &want, &other, &err), 0);
}

Test(identity, a_file_of_another_chain_is_shared_unless_one_writes)
{
	struct layer_want want = { .above = &nothing };
	struct file file = opened(1, 20);

	cr_assert_eq(identity_check(&set, &want, &file, &err), 0, "both only read");
	want.write = true;
	refused(&want, &file, -EBUSY, "can't be changed");
	want.write = false;
	layer_b.is_overlay = true;
	refused(&want, &file, -EBUSY, "is being written to");
	cr_assert_eq(err.remedy, ERR_REMEDY_CLOSE_DISK);
	cr_assert_eq(identity_check(&none, &want, &file, &err), 0);
}

Test(identity, a_descriptor_is_given_for_one_file)
{
	struct layer_want want = { .above = &above };

	for (int fd = 2; fd <= 6; fd++) {
		struct file file = opened(7, 7);
		bool in_use = fd >= 3 && fd <= 5;

		file.fd = fd;
		cr_assert_eq(identity_check_given(&set, &want, &file, &err), 0, "we opened it");
		file.is_given = true;
		cr_assert_eq(identity_check_given(&set, &want, &file, &err), in_use ? -EINVAL : 0,
			     "%d", fd);
		cr_assert_eq(file.fd, in_use ? -1 : fd, "closing it would end the other file");
	}
}
