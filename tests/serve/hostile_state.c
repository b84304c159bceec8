/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The device's state through the socket: what tests/unit/tools/test_vhost_state.c
 * tries byte by byte, here on the server as it runs, which must not wait, end, or
 * die of a pipe that no process reads.
 */
#include "tests/serve/hostile.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define STATE_LEN 16u
#define MAX_LEN   65536u

static void state_pipe(int *ends)
{
	if (pipe2(ends, O_CLOEXEC))
		front_fail("no pipe");
}

/* True: the backend takes it. */
static bool state_set(struct front *front, uint32_t direction, uint32_t phase, int fd)
{
	const struct vhost_state_message m = { direction, phase };
	struct vhost_message answer;

	if (!front_send(front, VHOST_SET_DEVICE_STATE_FD, 0, &m, sizeof(m), &fd, 1) ||
	    !front_receive(front, VHOST_SET_DEVICE_STATE_FD, &answer, NULL) ||
	    answer.header.len != 8)
		front_fail("a state's descriptor ended the connection");
	return answer.payload.u64 == VHOST_STATE_NOFD;
}

static bool state_check(struct front *front)
{
	struct vhost_message answer;

	if (!front_send(front, VHOST_CHECK_DEVICE_STATE, 0, NULL, 0, NULL, 0) ||
	    !front_receive(front, VHOST_CHECK_DEVICE_STATE, &answer, NULL) ||
	    answer.header.len != 8)
		front_fail("a state ended the connection");
	return !answer.payload.u64;
}

static void state_save(struct front *front, uint8_t *state)
{
	int ends[2];

	state_pipe(ends);
	if (!state_set(front, VHOST_STATE_SAVE, 0, ends[1]) || !state_check(front))
		front_fail("no state is saved");
	close(ends[1]);
	if (read(ends[0], state, STATE_LEN + 1) != STATE_LEN)
		front_fail("a state has another length");
	close(ends[0]);
}

/* The end follows the bytes, or does not. */
static bool state_load(struct front *front, const uint8_t *state, size_t len, bool ends_there)
{
	bool is_good;
	int ends[2];

	state_pipe(ends);
	if (!state_set(front, VHOST_STATE_LOAD, 0, ends[0]))
		front_fail("a pipe is refused");
	if (write(ends[1], state, len) != (ssize_t)len)
		front_fail("a state can't be written");
	if (ends_there)
		close(ends[1]);
	is_good = state_check(front);
	if (!ends_there)
		close(ends[1]);
	close(ends[0]);
	return is_good;
}

static void state_refuse(struct front *front, const uint8_t *state, size_t len, bool ends_there)
{
	if (state_load(front, state, len, ends_there))
		front_fail("a state of %zu bytes is taken, %s", len,
			   ends_there ? "which is none" : "which has no end");
}

static void state_refuse_fd(struct front *front, uint32_t direction, uint32_t phase, int fd)
{
	if (state_set(front, direction, phase, fd) &&
	    (direction == VHOST_STATE_SAVE || state_check(front)))
		front_fail("direction %u, phase %u: a descriptor is taken", direction, phase);
}

static void state_contents(struct front *front)
{
	static uint8_t state[MAX_LEN];

	state_save(front, state);
	if (!state_load(front, state, STATE_LEN, true) || !state_load(front, state, 0, true))
		front_fail("a state is refused");
	for (unsigned i = 0; i < STATE_LEN; i++) {
		state[i] ^= 0xff;
		state_refuse(front, state, STATE_LEN, true);
		state[i] ^= 0xff;
	}
	state_refuse(front, state, STATE_LEN - 1, true);
	state_refuse(front, state, STATE_LEN + 1, true);
	state_refuse(front, state, MAX_LEN, true);
	state_refuse(front, state, 0, false);
	state_refuse(front, state, STATE_LEN, false);
}

static void state_descriptors(struct front *front)
{
	int ends[2], zero = open("/dev/zero", O_RDWR | O_CLOEXEC);

	state_pipe(ends);
	state_refuse_fd(front, VHOST_STATE_SAVE, 0, ends[0]);
	state_refuse_fd(front, VHOST_STATE_LOAD, 0, ends[1]);
	state_refuse_fd(front, VHOST_STATE_LOAD + 1, 0, ends[0]);
	state_refuse_fd(front, VHOST_STATE_SAVE, 1, ends[1]);
	state_refuse_fd(front, VHOST_STATE_LOAD, 0, zero);
	state_refuse_fd(front, VHOST_STATE_SAVE, 0, zero);
	state_refuse_fd(front, VHOST_STATE_LOAD, 0, front->memory_fd);
	close(ends[0]);
	state_refuse_fd(front, VHOST_STATE_SAVE, 0, ends[1]);
	close(ends[1]);
	close(zero);
}

void hostile_state(struct hostile *h)
{
	uint8_t state[STATE_LEN + 1];
	struct front front;
	int ends[2];

	hostile_start(h, &front);
	state_contents(&front);
	state_descriptors(&front);
	state_save(&front, state);
	state_pipe(ends);
	state_set(&front, VHOST_STATE_LOAD, 0, ends[0]);
	front_close(&front); /* between the two messages */
	close(ends[0]);
	close(ends[1]);
	hostile_judge(h);
}
