/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a socket's name leads, on real files: links and ".." lead out of a directory, and the
 * policy must see where to. What was opened stays what it is, though the name changes.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/files/scratch.h"
#include "tests/unit/tools/nbd_rig.h"
#include "tools/nbd/names/policy.h"
#include "tools/nbd/names/socket.h"

TestSuite(nbd_socket, .init = scratch_make, .fini = scratch_remove);

/* A directory with in/ (allowed) and out/, each with a socket that listens. */
struct scene {
	int in, out;
	struct nbd_policy policy;
};

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	cr_assert(!bind(fd, (struct sockaddr *)&address, sizeof(address)), "%s", path);
	cr_assert(!listen(fd, 4));
	return fd;
}

static struct scene set_scene(void)
{
	struct scene scene = { 0 };
	struct bpull_error error;

	cr_assert(!chdir(scratch_dir()) && !mkdir("in", 0700) && !mkdir("out", 0700));
	scene.in = listen_at("in/s");
	scene.out = listen_at("out/s");
	cr_assert(!nbd_policy_add(&scene.policy, "nbd+unix:in", &error));
	cr_assert(nbd_policy_resolve(&scene.policy, 0) == 1);
	return scene;
}

static void clear_scene(struct scene *scene)
{
	close(scene->in);
	close(scene->out);
	nbd_policy_free(&scene->policy);
}

/* Whether the policy allows where the name leads; 2: it can't be opened, with this code. */
static int verdict(const struct scene *scene, const char *path, int *code)
{
	struct nbd_place place = { .is_unix = true, .socket_path = strdup(path) };
	struct bpull_error error;
	char *real;
	int fd, rc = nbd_socket_open(path, &real, &fd, &error), answer = 2;

	*code = rc;
	if (rc) {
		rig_judge_error(&error, rc, path);
		cr_assert(fd == -1);
		cr_assert(rc == -ENOENT || !real);
	} else {
		cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		close(fd);
	}
	if (real)
		answer = nbd_policy_allows_socket(&scene->policy, &place, real);
	free(real);
	nbd_place_free(&place);
	return answer;
}

Test(nbd_socket, where_a_name_leads_is_what_is_allowed)
{
	struct scene scene = set_scene();
	static const struct {
		const char *path;
		int answer, code;
	} cases[] = {
		{ "in/s", 1, 0 },
		{ "./in//s", 1, 0 },
		{ "out/../in/s", 1, 0 },
		{ "to_in", 1, 0 },
		{ "out/s", 0, 0 },
		{ "in/../out/s", 0, 0 },
		{ "in/to_out", 0, 0 },
		{ "in/dir_out/s", 0, 0 },
		{ "in/dir_out/../out/s", 0, 0 },
		{ "in/twice", 0, 0 },
		/* Not there now: where it would be is asked for. */
		{ "in/gone", 1, -ENOENT },
		{ "out/gone", 0, -ENOENT },
		{ "in/dir_out/gone", 0, -ENOENT },
		{ "in/../gone", 0, -ENOENT },
		{ "gone/s", 2, -ENOENT },
		/* No sockets. */
		{ "in/file", 2, -ENOTSOCK },
		{ "in", 2, -ENOTSOCK },
		{ "in/fifo", 2, -ENOTSOCK },
		{ "/dev/null", 2, -ENOTSOCK },
		{ "in/s/x", 2, -ENOTDIR },
		{ "in/loop", 2, -ELOOP },
	};

	cr_assert(!symlink("in/s", "to_in") && !symlink("../out/s", "in/to_out"));
	cr_assert(!symlink("../out", "in/dir_out") && !symlink("to_out", "in/twice"));
	cr_assert(!symlink("loop", "in/loop") && !mkfifo("in/fifo", 0600));
	close(open("in/file", O_CREAT | O_WRONLY, 0600));
	for (size_t i = 0; i < N_OF(cases); i++) {
		int code, answer = verdict(&scene, cases[i].path, &code);

		cr_assert(answer == cases[i].answer && code == cases[i].code, "%s: %d, %d",
			  cases[i].path, answer, code);
	}
	clear_scene(&scene);
}

/* A process's own descriptors are no names of sockets. */
Test(nbd_socket, links_of_proc_are_not_followed)
{
	struct scene scene = set_scene();
	int code, magic = open("in/s", O_PATH);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", scene.in);
	cr_assert(verdict(&scene, path, &code) == 2 && code == -ELOOP, "%d", code);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", magic);
	cr_assert(verdict(&scene, path, &code) == 2 && code == -ELOOP, "%d", code);
	cr_assert(verdict(&scene, "/proc/self/cwd/in/s", &code) == 2 && code == -ELOOP, "%d", code);
	close(magic);
	clear_scene(&scene);
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), rc;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	rc = connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	return rc ? -errno : 0;
}

/* Is a connection waiting there. */
static bool was_called(int listening)
{
	int fd;

	fcntl(listening, F_SETFL, O_NONBLOCK);
	fd = accept(listening, NULL, NULL);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

Test(nbd_socket, what_was_asked_for_is_what_is_connected_to)
{
	struct scene scene = set_scene();
	char way[NBD_SOCKET_WAY_CAP], *real;
	struct bpull_error error;
	int fd;

	cr_assert(!symlink("in/s", "link"));
	cr_assert(!nbd_socket_open("link", &real, &fd, &error), "%s", error.message);
	cr_assert(!unlink("link") && !symlink("out/s", "link"));
	cr_assert(!connect_to(nbd_socket_way(fd, way)));
	cr_assert(was_called(scene.in) && !was_called(scene.out));
	close(fd);
	free(real);
	clear_scene(&scene);
}

Test(nbd_socket, a_long_name_is_no_hindrance)
{
	struct scene scene = set_scene();
	char path[600], name[201], way[NBD_SOCKET_WAY_CAP], *real;
	struct bpull_error error;
	int fd;

	memset(name, 'a', 200);
	name[200] = 0;
	snprintf(path, sizeof(path), "in/%s", name);
	cr_assert(!mkdir(path, 0700));
	snprintf(path, sizeof(path), "in/%s/%s", name, name);
	cr_assert(!rename("in/s", path));
	cr_assert(!nbd_socket_open(path, &real, &fd, &error), "%s", error.message);
	cr_assert(strlen(real) > 400);
	cr_assert(!connect_to(nbd_socket_way(fd, way)));
	cr_assert(was_called(scene.in));
	close(fd);
	free(real);
	clear_scene(&scene);
}
