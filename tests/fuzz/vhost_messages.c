/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Any messages to a session, through a socket, with descriptors of any kind, and
 * rings that are looked at behind each: no address leads out of memory, and at the end nothing
 * is left open. A record is number, flags, length, payload; the flags say which
 * descriptors come with it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/world.h"
#include "tools/vhost/blk.h"
#include "tools/vhost/blk_config.h"
#include "tools/vhost/channel.h"
#include "tools/vhost/queue.h"

#define MEMORY_LEN (64u * 1024)
#define STATE_LEN  16 /* of a device, as it comes through a pipe */

/* flags of a record: the low bits are the number of descriptors */
#define RECORD_FDS   3u
#define RECORD_SHORT 4u   /* they are of a file of one byte */
#define RECORD_EVENT 8u   /* of no file */
#define RECORD_ACK   16u  /* an answer is wanted */
#define RECORD_PIPE  32u  /* of a socket that holds the guest's first bytes, and then its end */
#define RECORD_PARTS 64u  /* it comes in two parts */
#define RECORD_MANY  128u /* of descriptors there are four times as many */
#define MAX_FDS      (4 * RECORD_FDS)

static int memory_fd, short_fd, event_fd;
static struct vhost_chain chain;

static void nothing(void *opaque, struct vhost_queue *queue)
{
	(void)opaque;
	(void)queue;
}

static void all_stopped(void *opaque)
{
	(void)opaque;
}

static const struct vhost_ops ops = { nothing, nothing, nothing, all_stopped };

static void open_files(void)
{
	static const uint8_t zeros[MEMORY_LEN];

	if (!memory_fd) {
		memory_fd = memfd_create("memory", MFD_CLOEXEC);
		short_fd = memfd_create("short", MFD_CLOEXEC);
		event_fd = eventfd(0, EFD_NONBLOCK);
		FUZZ_CHECK(!ftruncate(short_fd, 1), "no memory");
		signal(SIGPIPE, SIG_IGN); /* as serve has it */
	}
	FUZZ_CHECK(pwrite(memory_fd, zeros, sizeof(zeros), 0) == sizeof(zeros), "no memory");
}

/* What came back, with its descriptors. */
static void drop_answers(int fd)
{
	struct vhost_channel channel = { .fd = fd };
	const char *why;
	char bytes[4096];

	while (vhost_channel_receive(&channel, &why) != VHOST_NOTHING)
		vhost_channel_done(&channel);
	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void serve(struct vhost_session *s, struct vhost_queue *q)
{
	const struct blk_disk disk = { 1 << 20, s->features, false, BLK_MAX_SECTORS };
	struct blk_request r;
	uint16_t head;

	for (unsigned n = 0; n < 64 && vhost_queue_make_ready(s, q); n++) {
		bool is_again = q->n_again && vhost_queue_take_again(q, &head);

		if (!is_again && vhost_queue_take(q, &head) != 1)
			break;
		if (vhost_chain_read(&q->ring, &s->memory, head, &chain)) {
			vhost_queue_break(q);
			break;
		}
		blk_decode(&disk, &chain, &r);
		if (r.act == BLK_ID)
			blk_put_id(&r, "serial");
		for (unsigned i = 0; i < r.n_iov; i++)
			vhost_log_write(s, vhost_memory_addr_of(&s->memory, r.iov[i].iov_base),
					r.iov[i].iov_len);
		if (r.status_at)
			*r.status_at = r.status;
		vhost_queue_end(q, head, r.used_len);
	}
	if (q->is_prepared)
		vhost_queue_publish(s, q, 0);
}

/* One end; *other is open until the message was handled. */
static int open_pipe(int *other)
{
	char bytes[STATE_LEN];
	int ends[2];

	FUZZ_CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "no sockets");
	FUZZ_CHECK(pread(memory_fd, bytes, STATE_LEN, 0) == STATE_LEN &&
			   write(ends[1], bytes, STATE_LEN) == STATE_LEN,
		   "no memory");
	shutdown(ends[1], SHUT_WR);
	*other = ends[1];
	return ends[0];
}

static int open_fd(uint8_t flags, int *other)
{
	if (flags & RECORD_PIPE && *other < 0)
		return open_pipe(other);
	return fcntl(flags & RECORD_SHORT   ? short_fd
		     : flags & RECORD_EVENT ? event_fd
					    : memory_fd,
		     F_DUPFD_CLOEXEC, 0);
}

/* Descriptors come with the first byte. */
static void send_part(int fd, const void *bytes, size_t len, const int *fds, unsigned n_fds)
{
	struct iovec iov = { (void *)bytes, len };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						   .cmsg_type = SCM_RIGHTS,
						   .cmsg_len = CMSG_LEN(n_fds * sizeof(int)) };
		memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
	}
	FUZZ_CHECK(sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)len, "a socket takes no message");
}

/* As a frontend sends it, whole or in two parts. False: the connection is over. */
static bool receive(struct vhost_channel *channel, const uint8_t *bytes, size_t len, size_t first,
		    const int *fds, unsigned n_fds, int front_fd, const char **why)
{
	enum vhost_received got;

	send_part(front_fd, bytes, first, fds, n_fds);
	got = vhost_channel_receive(channel, why);
	if (got == VHOST_NOTHING && first < len) {
		send_part(front_fd, bytes + first, len - first, NULL, 0);
		got = vhost_channel_receive(channel, why);
	}
	if (got == VHOST_NO_SENSE) {
		FUZZ_CHECK(n_fds > VHOST_MAX_FDS || vhost_header_wrong(&channel->message.header),
			   "a message is none");
		return false;
	}
	FUZZ_CHECK(got == VHOST_MESSAGE && channel->message.n_fds == n_fds &&
			   !memcmp(&channel->message.header, bytes, VHOST_HEADER_LEN) &&
			   !memcmp(channel->message.payload.bytes, bytes + VHOST_HEADER_LEN,
				   len - VHOST_HEADER_LEN),
		   "it is not the message that was sent");
	return true;
}

static size_t say(struct vhost_session *s, const uint8_t *data, size_t size, const int *ends,
		  bool *goes_on)
{
	struct vhost_channel channel = { .fd = ends[0] };
	uint8_t flags = data[1], bytes[VHOST_HEADER_LEN + UINT8_MAX];
	size_t len = data[2] < size - 3 ? data[2] : size - 3, all = VHOST_HEADER_LEN + len;
	const struct vhost_header header = {
		data[0], VHOST_VERSION | (flags & RECORD_ACK ? VHOST_NEED_REPLY : 0), len
	};
	unsigned n_fds = (flags & RECORD_FDS) * (flags & RECORD_MANY ? 4 : 1);
	size_t first = flags & RECORD_PARTS ? 1 + data[0] % (all - 1) : all;
	const char *why = NULL;
	int other = -1, fds[MAX_FDS];

	memcpy(bytes, &header, VHOST_HEADER_LEN);
	memcpy(bytes + VHOST_HEADER_LEN, data + 3, len);
	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = open_fd(flags, &other);
	*goes_on = receive(&channel, bytes, all, first, fds, n_fds, ends[1], &why) &&
		   vhost_session_handle(s, &channel.message, ends[0], &why) == VHOST_GO_ON;
	FUZZ_CHECK(*goes_on || why, "a connection ends without a word");
	vhost_channel_done(&channel);
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
	if (other >= 0)
		close(other);
	return 3 + len;
}

#define N_FREE 16

/* The lowest numbers that no descriptor has. */
static void find_free(int *numbers)
{
	for (unsigned i = 0; i < N_FREE; i++)
		numbers[i] = dup(event_fd);
	for (unsigned i = 0; i < N_FREE; i++)
		close(numbers[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct blk_geometry geometry = { .len = 1 << 20, .n_queues = 2, .can_discard = true };
	struct vhost_session s;
	int ends[2], before[N_FREE], after[N_FREE];
	bool goes_on = true;

	open_files();
	find_free(before);
	FUZZ_CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "no sockets");
	FUZZ_CHECK(!vhost_session_open(&s, &geometry, &ops, NULL), "no memory");
	/* The first bytes are the guest's memory: rings, and an in-flight region. */
	if (size > 8) {
		size_t len = data[0] * 16u < size - 1 ? data[0] * 16u : size - 1;

		FUZZ_CHECK(pwrite(memory_fd, data + 1, len, 0) == (ssize_t)len, "no memory");
		data += 1 + len;
		size -= 1 + len;
	}
	while (size >= 3 && goes_on) {
		size_t used = say(&s, data, size, ends, &goes_on);

		drop_answers(ends[1]);
		for (unsigned i = 0; i < geometry.n_queues; i++)
			serve(&s, &s.queues[i]);
		data += used;
		size -= used;
	}
	vhost_session_close(&s);
	close(ends[0]);
	close(ends[1]);
	find_free(after);
	FUZZ_CHECK(!memcmp(before, after, sizeof(before)), "a descriptor is left open");
	return 0;
}
