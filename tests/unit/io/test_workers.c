/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The pool of threads: buffered writes to one file take turns, so that a file whose writes do not
 * end has one thread and not all; whatever else there is runs beside.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "io/backends/workers.h"
#include "io/base.h"
#include "io/file.h"
#include "io/wake.h"
#include "tests/support/time_limit.h"

#define N 8u

TIME_LIMIT(60);
TestSuite(workers, .timeout = TIME_LIMIT_CLOCK(60));

static struct file slow = { .now.in_turn = true, .io_align = 1 };
static struct file quick = { .now.in_turn = true, .io_align = 1 };
static struct io_req reqs[N];
static struct workers *pool;

/* What the threads have done; a request of the slow file's goes on when it is let. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned n_inside, most_inside, n_let;
static struct io_req *begun[N];
static unsigned n_begun;

static void run(struct io_req *req)
{
	pthread_mutex_lock(&lock);
	begun[n_begun++] = req;
	if (req->file == &slow) {
		n_inside++;
		most_inside = MAX(most_inside, n_inside);
		pthread_cond_broadcast(&changed);
		while (!n_let)
			pthread_cond_wait(&changed, &lock);
		n_let--;
		n_inside--;
	}
	req->result = 0;
	pthread_mutex_unlock(&lock);
}

static void let(unsigned n)
{
	pthread_mutex_lock(&lock);
	n_let += n;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void put(unsigned i, enum io_kind kind, struct file *file)
{
	struct req_list one = { 0 };

	reqs[i] = (struct io_req){ .kind = kind, .file = file };
	req_list_push(&one, &reqs[i]);
	workers_put(pool, &one);
}

static struct io_req *take(void)
{
	struct pollfd pfd = { .fd = workers_wake_fd(pool), .events = POLLIN };
	struct io_req *out;

	while (!workers_take(pool, &out, 1)) {
		cr_assert_eq(poll(&pfd, 1, 30000), 1, "no request ends");
		wake_drain(pfd.fd);
	}
	return out;
}

static void wait_inside(unsigned n)
{
	pthread_mutex_lock(&lock);
	while (n_inside < n)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

Test(workers, a_file_whose_writes_hang_has_one_thread)
{
	cr_assert_eq(workers_new(2, -1, run, &pool), 0);
	for (unsigned i = 0; i < 4; i++)
		put(i, IO_WRITE, &slow);
	wait_inside(1);
	for (unsigned i = 4; i < N; i++)
		put(i, IO_WRITE, &quick);
	for (unsigned i = 4; i < N; i++)
		cr_assert_eq(take()->file, &quick);
	for (unsigned i = 0; i < 4; i++) {
		let(1);
		cr_assert_eq(take(), &reqs[i], "write %u is out of turn", i);
	}
	cr_assert_eq(most_inside, 1, "two at once would wait for each other");
	cr_assert(!slow.now.has_worker && !quick.now.has_worker);
	workers_free(pool);
}

/* Nor does a write hold what is no buffered write, of the same file. */
Test(workers, only_buffered_writes_take_turns)
{
	static struct file direct = { .now.in_turn = true, .io_align = 512 };
	static struct file begins = { .io_align = 1 };

	cr_assert_eq(workers_new(2, -1, run, &pool), 0);
	put(0, IO_WRITE, &slow);
	wait_inside(1);
	direct.now.has_worker = begins.now.has_worker = true; /* as if one were in hand */
	put(1, IO_WRITE, &direct);
	put(2, IO_WRITE, &begins);
	put(3, IO_READ, &quick);
	put(4, IO_SYNC, &quick);
	for (unsigned i = 1; i < 5; i++)
		cr_assert_eq(take(), &reqs[i]);
	put(5, IO_READ, &slow);
	wait_inside(2);
	let(2);
	take();
	take();
	workers_free(pool);
}

Test(workers, a_descriptor_that_was_given_stays_its_giver_s)
{
	int fd = wake_open();

	cr_assert_eq(workers_new(1, fd, run, &pool), 0);
	cr_assert_eq(workers_wake_fd(pool), fd);
	put(0, IO_WRITE, &quick);
	take();
	workers_free(pool);
	cr_assert_geq(fcntl(fd, F_GETFD), 0);
	cr_assert_eq(close(fd), 0);
}
