/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QMP over the program's stdin and stdout, of which no more is understood than a
 * job's life needs: lines are looked through for words.
 */
#include "bench/rig/qsd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/rig/complain.h"
#include "tools/words/exit_code.h"

#define QSD_NAME     "qemu-storage-daemon"
#define QSD_MAX_ARGS 64

struct qsd {
	pid_t child;
	FILE *to, *from;
	char line[8192]; /* the last one it said */
};

bool qsd_is_there(void)
{
	return !system("command -v " QSD_NAME " >/dev/null 2>&1");
}

static void qsd_exec(const char *const *arguments, int from, int to)
{
	const char *argv[QSD_MAX_ARGS] = { QSD_NAME };
	unsigned n = 1;

	while (*arguments && n < QSD_MAX_ARGS - 5)
		argv[n++] = *arguments++;
	argv[n++] = "--chardev";
	argv[n++] = "stdio,id=monitor";
	argv[n++] = "--monitor";
	argv[n++] = "chardev=monitor";
	dup2(from, 0);
	dup2(to, 1);
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

static int qsd_begin(struct qsd *q, const char *const *arguments)
{
	int in[2], out[2];

	if (pipe(in) || pipe(out))
		return complain_system("pipe");
	q->child = fork();
	if (q->child < 0)
		return complain_system("fork");
	if (!q->child) {
		close(in[1]);
		close(out[0]);
		qsd_exec(arguments, in[0], out[1]);
	}
	close(in[0]);
	close(out[1]);
	q->to = fdopen(in[1], "w");
	q->from = fdopen(out[0], "r");
	return q->to && q->from ? 0 : complain_system("pipe");
}

static void qsd_say(struct qsd *q, const char *command)
{
	fprintf(q->to, "%s\n", command);
	fflush(q->to);
}

/* Which of two words the next line has that has one; NULL: an error came, or the end. */
static const char *qsd_wait(struct qsd *q, const char *one, const char *other)
{
	while (fgets(q->line, sizeof(q->line), q->from)) {
		if (strstr(q->line, "\"error\":"))
			return NULL;
		if (strstr(q->line, one))
			return one;
		if (strstr(q->line, other))
			return other;
	}
	return NULL;
}

static bool qsd_job(struct qsd *q, const char *start)
{
	static const char ready[] = "BLOCK_JOB_READY", completed[] = "BLOCK_JOB_COMPLETED";
	const char *event;

	qsd_say(q, "{\"execute\":\"qmp_capabilities\"}");
	if (!qsd_wait(q, "\"return\"", "\"return\""))
		return false;
	qsd_say(q, start);
	event = qsd_wait(q, ready, completed);
	if (event == ready) {
		qsd_say(q, "{\"execute\":\"job-complete\",\"arguments\":{\"id\":\"j\"}}");
		event = qsd_wait(q, completed, completed);
	}
	return event == completed;
}

static int qsd_end(struct qsd *q)
{
	int status;

	qsd_say(q, "{\"execute\":\"quit\"}");
	while (fgets(q->line, sizeof(q->line), q->from))
		;
	fclose(q->to);
	fclose(q->from);
	if (waitpid(q->child, &status, 0) < 0)
		return complain_system("wait");
	return status ? complain(EXIT_CODE_FAILED, QSD_NAME ": it ended with status %#x",
				 (unsigned)status)
		      : 0;
}

int qsd_run_job(const char *const *arguments, const char *start)
{
	struct qsd q = { 0 };
	int code = qsd_begin(&q, arguments), end;

	if (!code && !qsd_job(&q, start))
		code = complain(EXIT_CODE_FAILED, QSD_NAME ": %s", q.line);
	end = q.to && q.from ? qsd_end(&q) : 0;
	return code ? code : end;
}
