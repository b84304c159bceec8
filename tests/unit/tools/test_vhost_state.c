/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The device's state, which goes to another process through a pipe, and what else
 * may come out of that pipe: it is refused, changes nothing, and is not waited for.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "tests/unit/tools/vhost_rig.h"

#define STATE_LEN 16u
#define WCE_AT    32u /* in the configuration */
#define MAX_LEN   65536u

static void start(struct rig *rig)
{
	rig_open(rig);
	cr_assert(rig_protocol(rig, VHOST_PROTOCOL_OFFERED));
}

static void set_write_back(struct rig *rig, uint8_t on)
{
	struct vhost_config_message m = { .off = WCE_AT, .len = 1, .bytes = { on } };

	cr_assert(rig_say(rig, VHOST_SET_CONFIG, 0, &m, VHOST_CONFIG_HEAD + 1, NULL, 0));
	cr_assert_eq(rig->session.write_back, on);
}

/* The connection is never ended by these. True: it was taken. */
static bool set_fd(struct rig *rig, uint32_t direction, uint32_t phase, int fd)
{
	const struct vhost_state_message m = { direction, phase };

	cr_assert(rig_say(rig, VHOST_SET_DEVICE_STATE_FD, 0, &m, sizeof(m), &fd, 1));
	cr_assert_eq(rig->answer.payload.u64 & ~UINT64_C(0xff), VHOST_STATE_NOFD);
	return rig->answer.payload.u64 == VHOST_STATE_NOFD;
}

static bool is_good(struct rig *rig)
{
	cr_assert(rig_say(rig, VHOST_CHECK_DEVICE_STATE, 0, NULL, 0, NULL, 0));
	return !rig->answer.payload.u64;
}

/* What SAVE writes. */
static void save(struct rig *rig, uint8_t *state)
{
	uint8_t more[STATE_LEN + 1];
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	cr_assert(set_fd(rig, VHOST_STATE_SAVE, 0, ends[1]) && is_good(rig));
	close(ends[1]);
	cr_assert_eq(read(ends[0], more, sizeof(more)), STATE_LEN, "and then its end");
	memcpy(state, more, STATE_LEN);
	close(ends[0]);
}

/* Sends these bytes as a state; the end follows them, or does not. */
static bool load(struct rig *rig, const uint8_t *state, size_t len, bool ends_there)
{
	int ends[2];
	bool good;

	cr_assert_eq(pipe(ends), 0);
	cr_assert(set_fd(rig, VHOST_STATE_LOAD, 0, ends[0]));
	cr_assert_eq(write(ends[1], state, len), (ssize_t)len);
	if (ends_there)
		close(ends[1]);
	good = is_good(rig);
	if (!ends_there)
		close(ends[1]);
	close(ends[0]);
	return good;
}

Test(vhost_state, it_goes_to_another_process)
{
	uint8_t state[STATE_LEN];
	struct rig rig;

	for (uint8_t on = 0; on < 2; on++) {
		start(&rig);
		set_write_back(&rig, on);
		save(&rig, state);
		rig_die(&rig);
		cr_assert(rig_protocol(&rig, VHOST_PROTOCOL_OFFERED));
		set_write_back(&rig, !on);
		cr_assert(load(&rig, state, STATE_LEN, true));
		cr_assert_eq(rig.session.write_back, on);
		cr_assert(load(&rig, state, 0, true), "an empty state says nothing");
		cr_assert_eq(rig.session.write_back, on);
		rig_close(&rig);
	}
}

/* What was asked for is done after each of these, as before. */
static void refused(struct rig *rig, const uint8_t *state, size_t len, bool ends_there)
{
	cr_assert(!load(rig, state, len, ends_there), "%zu bytes, the first %02x", len, state[0]);
	cr_assert(rig->session.write_back, "it was refused, and changed something");
	cr_assert_eq(rig->session.state_fd, -1);
}

Test(vhost_state, each_byte_is_looked_at)
{
	uint8_t state[STATE_LEN];
	struct rig rig;

	start(&rig);
	set_write_back(&rig, 0);
	save(&rig, state);
	set_write_back(&rig, 1);
	for (unsigned i = 0; i < STATE_LEN; i++) {
		for (unsigned change = 1; change < 256; change++) {
			bool is_the_other = i == 8 && change == 1;

			state[i] ^= change;
			if (!is_the_other)
				refused(&rig, state, STATE_LEN, true);
			state[i] ^= change;
		}
	}
	cr_assert(load(&rig, state, STATE_LEN, true));
	cr_assert(!rig.session.write_back);
	rig_close(&rig);
}

Test(vhost_state, its_length_is_its_own)
{
	static uint8_t state[MAX_LEN];
	struct rig rig;

	start(&rig);
	set_write_back(&rig, 0);
	save(&rig, state);
	set_write_back(&rig, 1);
	for (unsigned len = 1; len < 3 * STATE_LEN; len++)
		if (len != STATE_LEN)
			refused(&rig, state, len, true);
	refused(&rig, state, MAX_LEN, true);
	rig_close(&rig);
}

Test(vhost_state, a_pipe_without_an_end_is_not_waited_for)
{
	uint8_t state[2 * STATE_LEN];
	struct rig rig;

	start(&rig);
	set_write_back(&rig, 0);
	save(&rig, state);
	set_write_back(&rig, 1);
	refused(&rig, state, 0, false);
	refused(&rig, state, STATE_LEN - 1, false);
	refused(&rig, state, STATE_LEN, false);
	refused(&rig, state, STATE_LEN + 1, false);
	rig_close(&rig);
}

Test(vhost_state, the_wrong_end_of_a_pipe_is_refused)
{
	struct rig rig;
	int ends[2];

	start(&rig);
	cr_assert_eq(pipe(ends), 0);
	cr_assert(!set_fd(&rig, VHOST_STATE_SAVE, 0, ends[0]));
	cr_assert(set_fd(&rig, VHOST_STATE_LOAD, 0, ends[1]) && !is_good(&rig));
	cr_assert(!set_fd(&rig, VHOST_STATE_LOAD + 1, 0, ends[0]), "a direction that is none");
	cr_assert(!set_fd(&rig, UINT32_MAX, 0, ends[1]));
	cr_assert(!set_fd(&rig, VHOST_STATE_SAVE, 1, ends[1]), "a phase that is none");
	cr_assert(!set_fd(&rig, VHOST_STATE_LOAD, 1, ends[0]));
	close(ends[0]);
	close(ends[1]);
	rig_close(&rig);
}

Test(vhost_state, a_pipe_that_takes_nothing_is_refused)
{
	static uint8_t bytes[MAX_LEN];
	struct rig rig;
	int ends[2];

	signal(SIGPIPE, SIG_IGN);
	start(&rig);
	cr_assert_eq(pipe(ends), 0);
	cr_assert_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	while (write(ends[1], bytes, sizeof(bytes)) > 0)
		;
	cr_assert_eq(fcntl(ends[1], F_SETFL, 0), 0);
	cr_assert(!set_fd(&rig, VHOST_STATE_SAVE, 0, ends[1]), "it is full");
	close(ends[0]);
	cr_assert(!set_fd(&rig, VHOST_STATE_SAVE, 0, ends[1]), "it has no reader");
	close(ends[1]);
	rig_close(&rig);
}

/* A read of some of these would have no end, and of others none that is near. */
Test(vhost_state, what_is_no_pipe_is_refused)
{
	static const char *const names[] = { "/dev/zero", "/dev/null", "/", "/proc/self/maps" };
	struct rig rig;
	int fd;

	start(&rig);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		fd = open(names[i], O_RDONLY | O_CLOEXEC);
		cr_assert_geq(fd, 0);
		cr_assert(!set_fd(&rig, VHOST_STATE_LOAD, 0, fd), "%s", names[i]);
		cr_assert(!set_fd(&rig, VHOST_STATE_SAVE, 0, fd), "%s", names[i]);
		close(fd);
	}
	fd = memfd_create("state", MFD_CLOEXEC);
	cr_assert(!set_fd(&rig, VHOST_STATE_SAVE, 0, fd));
	close(fd);
	fd = eventfd(0, EFD_CLOEXEC);
	cr_assert(!set_fd(&rig, VHOST_STATE_LOAD, 0, fd));
	close(fd);
	rig_close(&rig);
}

Test(vhost_state, the_last_descriptor_is_the_one_that_counts)
{
	uint8_t state[STATE_LEN];
	int first[2], second[2];
	struct rig rig;

	start(&rig);
	set_write_back(&rig, 0);
	save(&rig, state);
	cr_assert_eq(pipe(first), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, second), 0, "a socket is as good");
	cr_assert(set_fd(&rig, VHOST_STATE_LOAD, 0, first[0]));
	cr_assert(set_fd(&rig, VHOST_STATE_LOAD, 0, second[0]));
	set_write_back(&rig, 1);
	cr_assert_eq(write(second[1], state, STATE_LEN), STATE_LEN);
	close(second[1]);
	cr_assert(is_good(&rig));
	cr_assert(!rig.session.write_back);
	close(first[0]);
	cr_assert_lt(fcntl(first[0], F_GETFD), 0);
	signal(SIGPIPE, SIG_IGN);
	cr_assert_lt(write(first[1], state, 1), 0, "the session has closed it");
	cr_assert(set_fd(&rig, VHOST_STATE_LOAD, 0, second[0]));
	cr_assert(!set_fd(&rig, VHOST_STATE_SAVE, 1, second[0]));
	cr_assert_eq(rig.session.state_fd, -1, "what is refused takes the one before with it");
	close(first[1]);
	close(second[0]);
	rig_close(&rig);
}

/* ---- other versions ---- */

#define MAGIC 0x73766c62u

/* As a version wrote it when the guest had turned the cache off. Hosts of one machine's are of one
 * order of bytes. */
static const uint8_t *state_of(uint32_t magic, uint32_t version)
{
	static uint8_t state[3 * STATE_LEN];
	const uint32_t words[] = { magic, version };

	memcpy(state, words, sizeof(words));
	return state;
}

Test(vhost_state, version_1_is_read_for_ever)
{
	uint8_t state[STATE_LEN];
	struct rig rig;

	start(&rig);
	cr_assert(load(&rig, state_of(MAGIC, 1), STATE_LEN, true));
	cr_assert(!rig.session.write_back);
	save(&rig, state);
	cr_assert_arr_eq(state, state_of(MAGIC, 1), STATE_LEN, "another layout: another version");
	rig_close(&rig);
}

Test(vhost_state, a_newer_one_is_refused_and_why_is_said)
{
	struct rig rig;

	start(&rig);
	for (size_t len = STATE_LEN; len <= 3 * STATE_LEN; len += STATE_LEN) {
		refused(&rig, state_of(MAGIC, 2), len, true);
		cr_assert(rig.why && strstr(rig.why, "newer blockpull"), "%s", rig.why);
	}
	refused(&rig, state_of(MAGIC + 1, 2), STATE_LEN, true);
	cr_assert(rig.why && strstr(rig.why, "none that blockpull writes"), "%s", rig.why);
	cr_assert(load(&rig, state_of(MAGIC, 1), STATE_LEN, true));
	cr_assert_null(rig.why);
	rig_close(&rig);
}
