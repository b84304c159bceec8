/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/serve/backend.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTION "--socket-path="
#define THEN   "--then"

void backend_open(struct backend *backend, char **argv)
{
	*backend = (struct backend){ .commands = { argv }, .n_commands = 1 };
	for (char **word = argv; *word; word++) {
		if (!strncmp(*word, OPTION, strlen(OPTION)))
			backend->socket = *word + strlen(OPTION);
		if (strcmp(*word, THEN) != 0)
			continue;
		if (backend->n_commands == BACKEND_MAX_COMMANDS)
			front_fail("there are more commands than can be taken in turn");
		*word = NULL;
		backend->commands[backend->n_commands++] = ++word;
	}
	if (!backend->socket)
		front_fail("the backend's command has no %sPATH", OPTION);
}

void backend_start(struct backend *backend)
{
	char **argv = backend->commands[backend->n_starts++ % backend->n_commands];

	backend->pid = fork();
	if (backend->pid < 0)
		front_fail("fork fails");
	if (backend->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execvp(argv[0], argv);
	_exit(127);
}

int backend_end(struct backend *backend, int number)
{
	int status = 0;

	kill(backend->pid, number);
	if (waitpid(backend->pid, &status, 0) != backend->pid)
		front_fail("the backend can't be waited for");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The old process's socket may be there still, with no process behind it: then the first message
 * fails, and it is tried again. */
void backend_attach(struct backend *backend, struct front *front, const struct order *order)
{
	for (int i = 0; i < 50; i++) {
		front_disconnect(front);
		if (!front_connect(front, backend->socket, FRONT_PATIENCE_MS))
			front_fail("the backend does not listen");
		for (unsigned q = 0; q < front->n_queues; q++)
			front->queues[q].base = front->queues[q].used_idx;
		if (order_connect(front, order) && order_start(front, order))
			return;
		usleep(10000);
	}
	front_fail("the backend refuses, again and again");
}
