/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the guest says is copied once. Here a word of its memory changes behind each instruction
 * that reads it: all of a request must be of one value or of the other. Two values in one request,
 * as where a word is judged and then read anew, are what a hostile guest is after.
 *
 * The memory is closed, so that each access is a fault; the instruction is done alone, and then the
 * memory is closed again. That is x86's. A process that races was tried and rejected: on a busy
 * machine it did not find what this finds each time.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <criterion/criterion.h>

#include "tools/vhost/blk.h"
#include "tools/vhost/blk_config.h"
#include "tools/vhost/chain.h"
#include "tools/vhost/memory.h"
#include "tools/vhost/ring.h"

#if defined(__x86_64__)

#define SIZE      8u
#define MEMORY    65536u
#define TRAP_FLAG 0x100

#define AVAIL_AT 4096u
#define TABLE_AT 8192u  /* indirect descriptors */
#define DATA_AT  16384u /* a request's header; what it writes is behind it */

struct header {
	uint32_t type, priority;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t n_sectors, flags;
};

static const struct blk_disk disk = { .len = 1 << 20,
				      .features = VHOST_BIT(VIRTIO_BLK_DISCARD),
				      .max_sectors = BLK_MAX_SECTORS };

static uint8_t *memory;
static struct vhost_memory map;
static struct vring ring;
static struct vhost_chain chain;
static struct blk_request r;

/* ---- the word that changes ---- */

/* A word, and from which address on an instruction that reads it may begin: what is copied as a
 * whole is read from its beginning on. */
struct word {
	void *at, *from;
	unsigned len;
	uint64_t values[2];
};

static struct word word;
static unsigned n_reads;
static bool is_read;

static void word_write(uint64_t value)
{
	memcpy(word.at, &value, word.len);
}

static void handle_fault(int number, siginfo_t *info, void *context)
{
	uint8_t *at = info->si_addr;

	if (at < memory || at >= memory + MEMORY) {
		signal(number, SIG_DFL);
		return;
	}
	is_read = at >= (uint8_t *)word.from && at < (uint8_t *)word.at + word.len;
	mprotect(memory, MEMORY, PROT_READ | PROT_WRITE);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void handle_step(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	if (is_read)
		word_write(word.values[++n_reads % 2]);
	is_read = false;
	mprotect(memory, MEMORY, PROT_NONE);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	cr_assert_eq(sigaction(number, &action, NULL), 0);
}

static void open_memory(void)
{
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(memory, MAP_FAILED);
	handle(SIGSEGV, handle_fault);
	handle(SIGTRAP, handle_step);
	map = (struct vhost_memory){ .n = 1, .regions[0] = { .len = MEMORY, .host = memory } };
	ring = (struct vring){ .desc = (void *)memory,
			       .avail = (void *)(memory + AVAIL_AT),
			       .size = SIZE };
}

/* Does `act` while the word changes, with either value first, and judges each time. The word is one
 * of `part`. */
static void change(void *part, void *at, unsigned len, uint64_t one, uint64_t other,
		   void (*act)(void), void (*judge)(void))
{
	unsigned n_all = 0;

	for (unsigned i = 0; i < 4; i++) {
		word = (struct word){ at, i % 2 ? part : at, len, { one, other } };
		if (i / 2)
			word = (struct word){ at, word.from, len, { other, one } };
		word_write(word.values[0]);
		n_reads = 0;
		mprotect(memory, MEMORY, PROT_NONE);
		act();
		mprotect(memory, MEMORY, PROT_READ | PROT_WRITE);
		n_all += n_reads;
		judge();
	}
	cr_assert_geq(n_all, 2, "it is not read");
}

#define CHANGE(part, field, one, other, act, judge) \
	change(part, &(part)->field, sizeof((part)->field), one, other, act, judge)

/* ---- chains ---- */

static int rc;

static void read_chain(void)
{
	rc = vhost_chain_read(&ring, &map, 0, &chain);
}

/* Vectors are in memory, and as long as the chain says. */
static void judge_chain(void)
{
	uint64_t lens[2] = { 0, 0 };

	for (unsigned i = 0; !rc && i < chain.n_in + chain.n_out; i++) {
		const struct iovec *v = &chain.iov[i];
		uint64_t at = (uint64_t)((uint8_t *)v->iov_base - memory);

		cr_assert(at < MEMORY && v->iov_len <= MEMORY - at, "it leads out of memory");
		lens[i >= chain.n_in] += v->iov_len;
	}
	if (rc)
		return;
	cr_assert_eq(lens[0], chain.in_len);
	cr_assert_eq(lens[1], chain.out_len);
}

/* What is counted as read must not be written to. */
static void judge_flags(void)
{
	cr_assert_eq(rc, 0);
	judge_chain();
	cr_assert_eq(chain.n_in + chain.n_out, 2);
	cr_assert_eq(chain.in_len, chain.n_out ? 16 : 16 + 512);
}

/* It ends with the second descriptor, or is none. */
static void judge_end(void)
{
	judge_chain();
	cr_assert(rc == -EPROTO || (!rc && chain.n_in == 1 && chain.n_out == 1));
}

static void describe(struct vring_desc *desc, uint64_t addr, uint32_t len, uint16_t flags)
{
	*desc = (struct vring_desc){ addr, len, flags, 1 };
}

/* Two descriptors in the ring's own table, or in one that a descriptor leads to. */
static struct vring_desc *open_table(bool is_indirect)
{
	struct vring_desc *table;

	open_memory();
	table = (void *)(memory + (is_indirect ? TABLE_AT : 0));
	if (is_indirect)
		describe(ring.desc, TABLE_AT, 2 * sizeof(*table), VRING_INDIRECT);
	describe(&table[0], DATA_AT, 16, VRING_NEXT);
	describe(&table[1], DATA_AT + 16, 512, VRING_WRITE);
	return table;
}

static void change_descriptors(bool is_indirect)
{
	struct vring_desc *table = open_table(is_indirect);

	CHANGE(&table[1], len, 512, MEMORY, read_chain, judge_chain);
	CHANGE(&table[1], addr, DATA_AT, UINT64_MAX - 600, read_chain, judge_chain);
	table = open_table(is_indirect);
	CHANGE(&table[1], flags, VRING_WRITE, 0, read_chain, judge_flags);
	table = open_table(is_indirect);
	CHANGE(&table[1], flags, VRING_WRITE, VRING_WRITE | VRING_INDIRECT, read_chain,
	       judge_chain);
	table = open_table(is_indirect);
	CHANGE(&table[0], next, 1, is_indirect ? 2 : SIZE, read_chain, judge_end);
}

Test(vhost_once, descriptors_of_a_ring_are_read_once)
{
	change_descriptors(false);
}

Test(vhost_once, descriptors_of_an_indirect_table_are_read_once)
{
	change_descriptors(true);
}

Test(vhost_once, the_place_of_an_indirect_table_is_read_once)
{
	open_table(true);
	/* One that goes on behind its end. */
	CHANGE(&ring.desc[0], len, 2 * sizeof(struct vring_desc), sizeof(struct vring_desc),
	       read_chain, judge_end);
	open_table(true);
	CHANGE(&ring.desc[0], addr, TABLE_AT, UINT64_MAX - 40, read_chain, judge_chain);
}

static uint16_t head;

static void take_head(void)
{
	ring.last_avail = 0;
	rc = vring_take(&ring, &head);
}

static void judge_head(void)
{
	cr_assert(rc == -EPROTO || (rc == 1 && head == 3));
}

static void judge_taken(void)
{
	cr_assert(rc == -EPROTO || (rc == 1 && ring.last_avail == 1));
}

Test(vhost_once, what_is_available_is_read_once)
{
	open_memory();
	ring.avail->idx = 1;
	CHANGE(ring.avail, heads[0], 3, SIZE, take_head, judge_head);
	ring.avail->heads[0] = 3;
	CHANGE(ring.avail, idx, 1, SIZE + 1, take_head, judge_taken);
}

/* ---- requests ---- */

/* A header of 16 bytes, so many to be read behind it, and 513 to be written. */
static struct header *open_request(uint32_t type, uint32_t in_len)
{
	struct header *h;

	open_memory();
	h = (void *)(memory + DATA_AT);
	*h = (struct header){ .type = type };
	describe(&ring.desc[0], DATA_AT, sizeof(*h) + in_len, VRING_NEXT);
	describe(&ring.desc[1], 2 * DATA_AT, 513, VRING_WRITE);
	return h;
}

static void decode(void)
{
	read_chain();
	blk_decode(&disk, &chain, &r);
}

static void judge_place(void)
{
	cr_assert(r.act == BLK_READ ? r.off == 4096 : r.status == BLK_IOERR);
}

/* A read writes to what the guest gave for that, and a write reads the rest. */
static void judge_type(void)
{
	bool reads = r.act == BLK_READ;

	cr_assert(reads || r.act == BLK_WRITE);
	cr_assert_eq(r.len, reads ? 512 : 1024);
	cr_assert_eq(r.used_len, reads ? 513 : 1);
	cr_assert_eq((uint8_t *)r.iov[0].iov_base - memory, reads ? 2 * DATA_AT : DATA_AT + 16);
}

static void judge_range(void)
{
	if (r.act == BLK_DISCARD)
		cr_assert(r.n_ranges == 1 && r.ranges[0].off == 4096 && r.ranges[0].len == 4096);
	else
		cr_assert_eq(r.act, BLK_ANSWER);
}

Test(vhost_once, the_header_of_a_request_is_read_once)
{
	struct header *h = open_request(0, 1024);

	CHANGE(h, sector, 8, UINT64_MAX / 512, decode, judge_place);
	h = open_request(0, 1024);
	CHANGE(h, type, 0, 1, decode, judge_type);
}

Test(vhost_once, the_ranges_of_a_discard_are_read_once)
{
	struct header *h = open_request(11, sizeof(struct range));
	struct range *range = (void *)(h + 1);

	*range = (struct range){ 8, 8, 0 };
	CHANGE(range, n_sectors, 8, UINT32_MAX, decode, judge_range);
	range->n_sectors = 8;
	CHANGE(range, sector, 8, UINT64_MAX / 512, decode, judge_range);
	range->sector = 8;
	CHANGE(range, flags, 0, 1, decode, judge_range);
}

#endif
