/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Two readers of one image must find the same disk: QEMU and we are given the same names, and a
 * server that speaks as much NBD as it takes to be told an export's name says where QEMU went.
 * Skipped where qemu-img is missing.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <endian.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"
#include "tests/unit/tools/nbd_rig.h"

TestSuite(nbd_qemu, .init = scratch_make, .fini = scratch_remove);

/* Where the server listens: two ports, and sockets of these names. */
static const char *const socket_names[] = { "s", "a b", "a;b=c", "a&b", "\u00fc", "a:b" };
#define N_LISTENERS (2 + N_OF(socket_names))

static struct {
	struct pollfd listeners[N_LISTENERS];
	uint16_t ports[2];
	pthread_mutex_t lock;
	int n_told;        /* connections that named an export */
	size_t at;         /* the last one's listener */
	char export[8192]; /* and what it asked for */
} server = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void listen_on(size_t i, const void *address, socklen_t len)
{
	const struct sockaddr *name = address;
	int fd = socket(name->sa_family, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, name, len) || listen(fd, 8))
		cr_assert(i == 1, "listener %zu", i); /* IPv6 may be missing */
	server.listeners[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
}

static void listen_on_port(size_t i, const void *address, socklen_t len)
{
	struct sockaddr_storage bound;
	socklen_t bound_len = sizeof(bound);

	listen_on(i, address, len);
	if (!getsockname(server.listeners[i].fd, (struct sockaddr *)&bound, &bound_len))
		server.ports[i] = ntohs(i ? ((struct sockaddr_in6 *)&bound)->sin6_port
					  : ((struct sockaddr_in *)&bound)->sin_port);
}

static bool take_bytes(int fd, void *bytes, size_t len)
{
	return !len || recv(fd, bytes, len, MSG_WAITALL) == (ssize_t)len;
}

/* The option that names an export ends it: 1 in the old way, 6 and 7 with a length in front. */
static void take_options(size_t listener, int fd)
{
	struct {
		uint64_t magic;
		uint32_t option, len;
	} head;
	char data[8192] = "";
	size_t skipped;

	while (take_bytes(fd, &head, sizeof(head)) && be32toh(head.len) < sizeof(data) &&
	       take_bytes(fd, data, be32toh(head.len))) {
		uint32_t option = be32toh(head.option), refused[5];

		if (option == 1 || option == 6 || option == 7) {
			skipped = option == 1 ? 0 : 4;
			pthread_mutex_lock(&server.lock);
			server.n_told++;
			server.at = listener;
			snprintf(server.export, sizeof(server.export), "%.*s",
				 (int)(option == 1 ? be32toh(head.len)
						   : (uint32_t)data[2] << 8 | (uint8_t)data[3]),
				 data + skipped);
			pthread_mutex_unlock(&server.lock);
			return;
		}
		/* Not supported. */
		memcpy(refused,
		       (uint32_t[]){ htobe32(0x3e889), htobe32(0x045565a9), head.option,
				     htobe32(0x80000001), 0 },
		       sizeof(refused));
		if (send(fd, refused, sizeof(refused), MSG_NOSIGNAL) < 0)
			return;
	}
}

static void *serve(void *unused)
{
	static const char hello[] = "NBDMAGICIHAVEOPT\0\3";
	uint32_t flags;

	while (poll(server.listeners, N_LISTENERS, -1) > 0) {
		for (size_t i = 0; i < N_LISTENERS; i++) {
			int fd = server.listeners[i].revents & POLLIN
					 ? accept(server.listeners[i].fd, NULL, NULL)
					 : -1;

			if (fd < 0)
				continue;
			if (send(fd, hello, 18, MSG_NOSIGNAL) == 18 &&
			    take_bytes(fd, &flags, sizeof(flags)))
				take_options(i, fd);
			close(fd);
		}
	}
	return NULL;
}

static void start_server(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	pthread_t thread;

	cr_assert(!chdir(scratch_dir()));
	listen_on_port(0, &in, sizeof(in));
	listen_on_port(1, &in6, sizeof(in6));
	for (size_t i = 0; i < N_OF(socket_names); i++) {
		struct sockaddr_un un = { .sun_family = AF_UNIX };

		strcpy(un.sun_path, socket_names[i]);
		listen_on(2 + i, &un, sizeof(un));
	}
	cr_assert(!pthread_create(&thread, NULL, serve, NULL));
}

/* PORT4 and PORT6 in a name are the server's; both readers get the result. */
static void fill_in(const char *from, char name[1024])
{
	size_t len = 0;

	while (*from) {
		bool is_port = !strncmp(from, "PORT", 4);

		len += (size_t)(is_port ? snprintf(name + len, 1024 - len, "%u",
						   server.ports[from[4] == '6'])
					: snprintf(name + len, 1024 - len, "%c", *from));
		from += is_port ? 5 : 1;
	}
}

#define JSON(file) "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"nbd\"," file "}}"

static const char *const names[] = {
	"nbd://127.0.0.1:PORT4",
	"nbd://127.0.0.1:PORT4/",
	"nbd://LOCALHOST:PORT4/X",
	"nbd://127.0.0.1:PORT4/a/b",
	"nbd://127.0.0.1:PORT4/a//b",
	"nbd://127.0.0.1:PORT4//x",
	"nbd://127.0.0.1:PORT4/%2Fx",
	"nbd://127.0.0.1:PORT4/../x/.",
	"nbd://127.0.0.1:PORT4/a%20b%3fc%23d%25e",
	"nbd://127.0.0.1:PORT4/%C3%bc",
	"nbd://127.0.0.1:PORT4/~a_b-c.d:e@f=g+h!$'()*,;&",
	"nbd+tcp://127.0.0.1:PORT4/x",
	"nbd://[::ffff:127.0.0.1]:PORT4/x",
	"nbd://[::1]:PORT6/x",
	"nbd://[0:0:0:0:0:0:0:1]:PORT6/x",
	"nbd:[::1]:PORT6:exportname=x",
	"nbd:127.0.0.1:PORT4",
	"nbd:127.0.0.1:PORT4:exportname=a b",
	"nbd:127.0.0.1:PORT4:exportname=/x",
	"nbd:127.0.0.1:PORT4:exportname=a:exportname=b",
	"nbd:127.0.0.1:PORT4:exportname=%41",
	"nbd:127.0.0.1:PORT4:exportname=\u00fc",
	"nbd+unix:///?socket=s",
	"nbd+unix://?socket=s",
	"nbd+unix:////x?socket=s",
	"nbd+unix:///a/b?socket=a%20b",
	"nbd+unix:///x?socket=a%3bb=c",
	"nbd+unix:///x?socket=a%26b",
	"nbd+unix:///x?socket=%C3%BC",
	"nbd:unix:s",
	"nbd:unix:a:b",
	"nbd:unix:a:b:exportname=x:y",
	"nbd:unix:a b:exportname=/x",
	"nbd:unix:a;b=c",
	JSON("\"server\":{\"type\":\"inet\",\"host\":\"127.0.0.1\",\"port\":\"PORT4\"},"
	     "\"export\":\"a%41/\\u00fc\\\"\""),
	JSON("\"server\":{\"type\":\"inet\",\"host\":\"::1\",\"port\":PORT6}"),
	JSON("\"server.type\":\"unix\",\"server\":{\"path\":\"a b\"},\"export\":\"/x\""),
	"json:{\"driver\":\"raw\",\"file.driver\":\"nbd\",\"file.server.type\":\"unix\","
	"\"file.server.path\":\"s\",\"file.export\":\"x\"}",
};

/* A quote in a name would end the shell's word. */
static void ask_qemu(const char *name)
{
	char word[4096], *at = word;

	for (const char *c = name; *c; c++)
		at += *c == '\'' ? sprintf(at, "'\\''") : sprintf(at, "%c", *c);
	*at = 0;
	qemu_img_run(NULL, 0, "qemu-img info '%s'", word);
}

static void judge(const char *name, const struct nbd_place *place)
{
	size_t at;

	pthread_mutex_lock(&server.lock);
	at = server.at;
	cr_assert(server.n_told > 0, "%s: QEMU went nowhere", name);
	server.n_told = 0;
	cr_assert_str_eq(server.export, place->export_name, "%s: %s, %s", name, server.export,
			 place->export_name);
	pthread_mutex_unlock(&server.lock);
	cr_assert((at >= 2) == place->is_unix, "%s", name);
	if (place->is_unix)
		cr_assert_str_eq(place->socket_path, scratch(socket_names[at - 2]), "%s", name);
	else
		cr_assert(place->port == server.ports[at] && !strchr(place->host, ':') == !at, "%s",
			  name);
}

Test(nbd_qemu, qemu_goes_where_we_go)
{
	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	start_server();
	for (size_t i = 0; i < N_OF(names); i++) {
		char name[1024], uri[1024];
		struct nbd_place place;

		if (strstr(names[i], "PORT6") && !server.ports[1])
			continue;
		fill_in(names[i], name);
		snprintf(uri, sizeof(uri), "%s", rig_uri_here(name, scratch_dir()));
		place = rig_place(uri);
		ask_qemu(name);
		judge(name, &place);
		/* And where the canonical text says. */
		ask_qemu(uri);
		judge(uri, &place);
		nbd_place_free(&place);
	}
}
