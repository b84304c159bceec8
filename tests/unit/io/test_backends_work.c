/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What both backends do beside reads and writes: work on their workers, for who waits; being
 * opened by one thread and used by others.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/support/rigs/backend.h"

struct job {
	struct io_req req;
	int answer;
	pthread_t thread;
	bool signals_blocked;
};

static int job_work(struct io_req *req)
{
	struct job *job = req->owner;
	sigset_t mask;
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	job->signals_blocked = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGALRM);
	job->thread = pthread_self();
	return job->answer;
}

/* Its value is its own affair: EINTR from work is no reason to run it twice. */
BACKEND_TEST(work_runs_elsewhere_and_returns_its_value)
{
	enum {
		N = 200
	};
	static const int answers[] = { 0, 5, -EIO, -EINTR, -EAGAIN };
	static struct job jobs[N];

	for (unsigned i = 0; i < N; i++) {
		jobs[i].answer = answers[i % 5];
		io_req_work(&jobs[i].req, job_work);
		jobs[i].req.owner = &jobs[i];
		io_submit(b->io, &jobs[i].req);
	}
	io_kick(b->io);
	backend_wait(b);
	for (unsigned i = 0; i < N; i++) {
		cr_assert_eq(jobs[i].req.result, jobs[i].answer, "job %u", i);
		if (b->sim)
			continue;
		cr_assert_not(pthread_equal(jobs[i].thread, pthread_self()));
		cr_assert(jobs[i].signals_blocked);
	}
}

/* Neither is it written to, nor is anything lost that ends meanwhile. */
BACKEND_TEST(the_descriptor_is_left_alone_while_the_owner_looks_by_itself)
{
	struct job job = { .answer = 7 };
	struct io_req *out[1];

	if (b->sim)
		return;
	io_set_notify(b->io, false);
	io_req_work(&job.req, job_work);
	job.req.owner = &job;
	io_submit(b->io, &job.req);
	io_kick(b->io);
	cr_assert_not(backend_readable(b, 100));
	io_set_notify(b->io, true);
	cr_assert(backend_readable(b, 60000));
	cr_assert_eq(io_reap(b->io, out, 1), 1);
	cr_assert_eq(job.req.result, 7);
}

/* No wake-up without reason for ever, none missing: the difference between a VMM that sleeps and
 * one that burns a core. */
BACKEND_TEST(the_descriptor_sleeps_when_there_is_nothing)
{
	static char bufs[50][512];
	struct file *file = backend_file(b, "disk", NULL, 512 * 50, true);
	struct io_req reqs[50] = { 0 }, *out[50];
	struct job job = { .answer = 1 };

	cr_assert_not(backend_readable(b, 0));
	for (unsigned max = 1; max <= 50; max += 7) {
		for (unsigned i = 0; i < 50; i++) {
			io_req_read(&reqs[i], file, bufs[i], 512, i * 512);
			io_submit(b->io, &reqs[i]);
		}
		io_req_work(&job.req, job_work);
		job.req.owner = &job;
		io_submit(b->io, &job.req);
		io_kick(b->io);
		while (b->io->n_in_flight) {
			cr_assert(backend_readable(b, 20000), "%u left", b->io->n_in_flight);
			io_reap(b->io, out, max);
		}
		io_reap(b->io, out, max); /* may clear what the last round left announced */
		cr_assert_not(backend_readable(b, 20), "readable with nothing in flight");
		cr_assert_eq(io_reap(b->io, out, max), 0);
	}
	file_close(file);
}

struct visitor {
	struct backend *b;
	struct file *file;
	struct io_req req;
};

static void *visit(void *arg)
{
	struct visitor *v = arg;
	backend_run(v->b, &v->req, 1);
	return NULL;
}

/* Opened by one thread, used by others one after the other, closed by the first. */
BACKEND_TEST(the_owner_may_change)
{
	static char buf[4096];
	struct visitor v = { .b = b, .file = backend_file(b, "disk", "abc", 3, true) };
	b->io->ops->add_file(b->io, v.file);
	for (unsigned i = 0; i < 4; i++) {
		pthread_t thread;
		if (i % 2)
			io_req_read(&v.req, v.file, buf, sizeof(buf), 0);
		else
			io_req_write(&v.req, v.file, "xyz", 3, 0);
		cr_assert_eq(pthread_create(&thread, NULL, visit, &v), 0);
		pthread_join(thread, NULL);
		cr_assert_eq(v.req.result, 3);
	}
	cr_assert_eq(memcmp(buf, "xyz", 3), 0);
	b->io->ops->forget_file(b->io, v.file);
	file_close(v.file);
}

BACKEND_TEST(opened_and_closed_unused)
{
	cr_assert_eq(b->io->n_in_flight, 0);
	io_kick(b->io);
}
