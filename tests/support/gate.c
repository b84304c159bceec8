/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/support/gate.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "io/file/opener.h"
#include "io/posix/file.h"
#include "io/posix/opener.h"

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool shut, stands, go_on;
	enum gate_call call;
	const char *name_end;
	unsigned n_left;
} gate = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static bool ends_so(const char *name, const char *end)
{
	size_t len = strlen(name), end_len = strlen(end);

	return len >= end_len && !strcmp(name + len - end_len, end);
}

static void pass(enum gate_call call, const char *name)
{
	pthread_mutex_lock(&gate.mutex);
	if (gate.shut && gate.call == call && ends_so(name, gate.name_end) && !--gate.n_left) {
		gate.shut = false;
		gate.stands = true;
		pthread_cond_broadcast(&gate.changed);
		while (!gate.go_on)
			pthread_cond_wait(&gate.changed, &gate.mutex);
		gate.stands = gate.go_on = false;
		pthread_cond_broadcast(&gate.changed);
	}
	pthread_mutex_unlock(&gate.mutex);
}

void gate_shut(enum gate_call call, const char *name_end, unsigned n)
{
	pthread_mutex_lock(&gate.mutex);
	gate.shut = true;
	gate.call = call;
	gate.name_end = name_end;
	gate.n_left = n;
	pthread_mutex_unlock(&gate.mutex);
}

void gate_wait(void)
{
	pthread_mutex_lock(&gate.mutex);
	while (!gate.stands)
		pthread_cond_wait(&gate.changed, &gate.mutex);
	pthread_mutex_unlock(&gate.mutex);
}

void gate_open(void)
{
	pthread_mutex_lock(&gate.mutex);
	gate.go_on = true;
	pthread_cond_broadcast(&gate.changed);
	while (gate.stands)
		pthread_cond_wait(&gate.changed, &gate.mutex);
	pthread_mutex_unlock(&gate.mutex);
}

static ssize_t read_at(struct file *file, void *buf, size_t len, uint64_t off)
{
	pass(GATE_READ, file->name);
	return posix_file_ops.read_at(file, buf, len, off);
}

static void close_file(struct file *file)
{
	pass(GATE_CLOSE, file->name);
	posix_file_ops.close(file);
}

static int truncate_file(struct file *file, uint64_t len)
{
	pass(GATE_TRUNCATE, file->name);
	return posix_file_ops.truncate(file, len);
}

static struct file_ops ops;

static int open_file(struct file_opener *opener, const struct file_open *how, struct file **out,
		     struct err *err)
{
	int rc;

	pass(how->lock_wait_ms ? GATE_LOCK_WAIT : GATE_OPEN, how->name);
	rc = file_opener_posix()->open(file_opener_posix(), how, out, err);
	if (!rc)
		(*out)->ops = &ops;
	return rc;
}

struct file_opener *gate_opener(void)
{
	static struct file_opener opener = { .open = open_file };

	ops = posix_file_ops;
	ops.read_at = read_at;
	ops.close = close_file;
	ops.truncate = truncate_file;
	return &opener;
}
