/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * minivmm: a virtual machine in one file, whose disk is an image that is pulled
 * while the guest uses it. docs/embedding.md walks through it.
 *
 *   minivmm IMAGE [BYTES_PER_SECOND]
 *
 * Two threads, as in a real VMM: one runs the processor, the other polls the
 * engine beside the machine's own descriptors, and all calls of the library are
 * its. They share the guest's memory, in which requests lie, and two eventfds:
 * the doorbell and what stands for the interrupt. A thread of the engine's own
 * (BPULL_ENGINE_THREAD) was rejected here: blocking calls need one thread for
 * each request in flight.
 *
 * Guests are hostile: a slot is copied before it is looked at, and its buffer
 * must lie in guest memory. That the range lies on the disk the library checks.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tools/vmm/minivmm.h"

#define EXIT_NO_KVM 6
#define MAX_EVENTS  16

extern const uint8_t minivmm_guest[], minivmm_guest_end[];

/* As the guest writes it; GUEST_SLOTS has N_SLOTS of them. */
struct slot {
	uint8_t state, op;
	uint16_t unused;
	uint32_t buf; /* guest-physical */
	uint32_t len; /* bytes */
	uint32_t sector;
};
_Static_assert(sizeof(struct slot) == SLOT_BYTES, "the guest counts on it");

struct machine {
	uint8_t *ram;
	int vcpu_fd;
	struct kvm_run *run;
	int doorbell_fd;  /* the guest rang, or is off */
	int interrupt_fd; /* a request is over */
	int off;          /* 0; 1: off, all well; -1: off, and it failed. Atomic */
	/* The disk's side, of the main thread alone. */
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	bool taken[N_SLOTS]; /* in flight: the guest can't ask twice */
	int n_in_flight;
	bool job_over, job_failed;
};

static void minivmm_signal_fd(int fd)
{
	uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one));
}

static void minivmm_drain_fd(int fd)
{
	uint64_t n;

	(void)!read(fd, &n, sizeof(n));
}

/* ---- the processor's thread ---- */

static void minivmm_power_off(struct machine *m, bool well)
{
	__atomic_store_n(&m->off, well ? 1 : -1, __ATOMIC_RELEASE);
	minivmm_signal_fd(m->doorbell_fd);
}

/* The guest executed OUT. */
static void minivmm_port_written(struct machine *m)
{
	uint32_t value = 0;

	memcpy(&value, (uint8_t *)m->run + m->run->io.data_offset,
	       m->run->io.size < sizeof(value) ? m->run->io.size : sizeof(value));
	switch (m->run->io.port) {
	case PORT_DOORBELL: minivmm_signal_fd(m->doorbell_fd); break;
	case PORT_REPORT: printf("guest: sum %08" PRIx32 "\n", value); break;
	case PORT_CONSOLE: putchar((int)(value & 0x7f)); break;
	case PORT_POWER_OFF: minivmm_power_off(m, !value); break;
	default: break; /* nothing there */
	}
}

static void *minivmm_run_processor(void *opaque)
{
	struct machine *m = opaque;

	while (!__atomic_load_n(&m->off, __ATOMIC_ACQUIRE)) {
		if (ioctl(m->vcpu_fd, KVM_RUN, 0) < 0) {
			if (errno == EINTR)
				continue;
			perror("minivmm: KVM_RUN");
			minivmm_power_off(m, false);
		} else if (m->run->exit_reason == KVM_EXIT_HLT) {
			/* What is over since the guest looked is counted: this returns at once
			 * then. */
			minivmm_drain_fd(m->interrupt_fd);
		} else if (m->run->exit_reason == KVM_EXIT_IO) {
			if (m->run->io.direction == KVM_EXIT_IO_OUT)
				minivmm_port_written(m);
		} else {
			fprintf(stderr, "minivmm: the processor stopped, reason %u\n",
				m->run->exit_reason);
			minivmm_power_off(m, false);
		}
	}
	return NULL;
}

/* ---- the disk, all in the main thread ---- */

static struct slot *minivmm_guest_slot(struct machine *m, unsigned i)
{
	return (struct slot *)(m->ram + GUEST_SLOTS) + i;
}

static void minivmm_answer(struct machine *m, struct slot *slot, int error)
{
	__atomic_store_n(&slot->state, error ? STATE_FAILED : STATE_DONE, __ATOMIC_RELEASE);
	minivmm_signal_fd(m->interrupt_fd);
}

/* Reads and writes go straight between the image and the guest's memory. */
static void minivmm_submit(struct machine *m, unsigned i)
{
	struct slot *slot = minivmm_guest_slot(m, i), ask = *slot;
	uint64_t guest_off = (uint64_t)ask.sector * SECTOR_BYTES;
	struct iovec iov = { m->ram, 0 };

	if (ask.op != OP_FLUSH) {
		if (ask.len > GUEST_RAM_BYTES || ask.buf > GUEST_RAM_BYTES - ask.len) {
			minivmm_answer(m, slot, -EFAULT);
			return;
		}
		iov = (struct iovec){ m->ram + ask.buf, ask.len };
	}
	switch (ask.op) {
	case OP_READ: bpull_read(m->disk, &iov, 1, guest_off, slot); break;
	case OP_WRITE: bpull_write(m->disk, &iov, 1, guest_off, 0, slot); break;
	case OP_FLUSH: bpull_flush(m->disk, slot); break;
	default: minivmm_answer(m, slot, -EINVAL); return;
	}
	m->taken[i] = true;
	m->n_in_flight++;
}

static void minivmm_look_at_slots(struct machine *m)
{
	minivmm_drain_fd(m->doorbell_fd);
	for (unsigned i = 0; i < N_SLOTS; i++)
		if (!m->taken[i] && __atomic_load_n(&minivmm_guest_slot(m, i)->state,
						    __ATOMIC_ACQUIRE) == STATE_ASKED)
			minivmm_submit(m, i);
}

static void minivmm_finish(struct machine *m, const struct bpull_event *event)
{
	struct slot *slot = event->user_data;

	if (event->error)
		fprintf(stderr, "minivmm: the guest's request failed: %s\n",
			strerror(-event->error));
	m->taken[slot - minivmm_guest_slot(m, 0)] = false;
	m->n_in_flight--;
	minivmm_answer(m, slot, event->error);
}

/* Without options that ask for it a job is never READY and never stopped: its one event is its
 * end. */
static void minivmm_tell_of_job(struct machine *m, const struct bpull_event *event)
{
	m->job_over = true;
	m->job_failed = event->status != BPULL_JOB_COMPLETED;
	if (m->job_failed)
		fprintf(stderr, "minivmm: the pull failed: %s\n", event->message);
	else
		printf("pull: completed: the image stands alone\n");
}

static void minivmm_take_events(struct machine *m)
{
	struct bpull_event events[MAX_EVENTS];
	int n = bpull_engine_process(m->engine, events, MAX_EVENTS);

	for (int i = 0; i < n; i++)
		if (events[i].type == BPULL_EVENT_IO)
			minivmm_finish(m, &events[i]);
		else if (events[i].type == BPULL_EVENT_JOB)
			minivmm_tell_of_job(m, &events[i]);
}

/* Until the guest is off, and the pull over. */
static void minivmm_main_loop(struct machine *m)
{
	struct pollfd fds[] = { { .fd = bpull_engine_fd(m->engine), .events = POLLIN },
				{ .fd = m->doorbell_fd, .events = POLLIN } };
	bool told = false;

	for (;;) {
		bool off = __atomic_load_n(&m->off, __ATOMIC_ACQUIRE);

		if (off && !told) {
			struct bpull_job_info info = { .size = sizeof(info) };

			bpull_job_get_info(m->disk, &info);
			printf("guest: off, with %" PRIu64 " of %" PRIu64 " bytes pulled\n",
			       info.cur, info.end);
			told = true;
		}
		if (off && m->job_over && !m->n_in_flight)
			return;
		if (poll(fds, 2, -1) < 0 && errno != EINTR) {
			perror("minivmm: poll");
			exit(1);
		}
		if (fds[1].revents)
			minivmm_look_at_slots(m);
		minivmm_take_events(m);
	}
}

static int minivmm_open_disk(struct machine *m, const char *path, uint64_t bandwidth)
{
	struct bpull_disk_options disk = { .size = sizeof(disk), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_job_options job = { .size = sizeof(job), .bandwidth = bandwidth };
	struct bpull_error error;

	if (bpull_engine_open(NULL, &m->engine, &error) ||
	    bpull_disk_open(m->engine, path, &disk, &m->disk, &error) ||
	    bpull_job_start(m->disk, &job, &error)) {
		fprintf(stderr, "minivmm: %s\n", error.message);
		return 1;
	}
	return 0;
}

/* ---- the machine ---- */

static int minivmm_no_kvm(const char *what)
{
	fprintf(stderr, "minivmm: %s: %s; a processor that KVM can use is needed\n", what,
		strerror(errno));
	return EXIT_NO_KVM;
}

/* The processor begins at GUEST_CODE, in real mode, which is how it wakes up. */
static int minivmm_set_registers(int vcpu_fd)
{
	struct kvm_regs regs = { .rip = GUEST_CODE, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs))
		return -1;
	sregs.cs.base = sregs.cs.selector = 0;
	return ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) || ioctl(vcpu_fd, KVM_SET_REGS, &regs);
}

static int minivmm_build(struct machine *m)
{
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_RAM_BYTES };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, run_len;

	if (kvm < 0)
		return minivmm_no_kvm("/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return minivmm_no_kvm("KVM_CREATE_VM");
	m->ram = mmap(NULL, GUEST_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (m->ram == MAP_FAILED)
		return minivmm_no_kvm("mmap");
	region.userspace_addr = (uintptr_t)m->ram;
	memcpy(m->ram + GUEST_CODE, minivmm_guest, minivmm_guest_end - minivmm_guest);
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		return minivmm_no_kvm("KVM_SET_USER_MEMORY_REGION");
	m->vcpu_fd = ioctl(vm, KVM_CREATE_VCPU, 0);
	run_len = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (m->vcpu_fd < 0 || run_len < 0)
		return minivmm_no_kvm("KVM_CREATE_VCPU");
	m->run = mmap(NULL, run_len, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu_fd, 0);
	if (m->run == MAP_FAILED || minivmm_set_registers(m->vcpu_fd))
		return minivmm_no_kvm("the processor");
	m->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->interrupt_fd = eventfd(0, EFD_CLOEXEC);
	return m->doorbell_fd < 0 || m->interrupt_fd < 0 ? minivmm_no_kvm("eventfd") : 0;
}

int main(int argc, char **argv)
{
	struct machine m = { 0 };
	pthread_t processor;
	uint32_t n_chunks;
	int rc;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: minivmm IMAGE [BYTES_PER_SECOND]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	rc = minivmm_build(&m);
	if (!rc)
		rc = minivmm_open_disk(&m, argv[1], argc > 2 ? strtoull(argv[2], NULL, 0) : 0);
	if (rc)
		goto out;
	n_chunks = bpull_disk_size(m.disk) / CHUNK_BYTES;
	memcpy(m.ram + GUEST_BOOT, &n_chunks, sizeof(n_chunks));
	rc = pthread_create(&processor, NULL, minivmm_run_processor, &m);
	if (rc)
		goto out;
	minivmm_main_loop(&m);
	pthread_join(processor, NULL);
	rc = m.off < 0 || m.job_failed;
out:
	bpull_disk_close(m.disk);
	bpull_engine_close(m.engine);
	return rc;
}
