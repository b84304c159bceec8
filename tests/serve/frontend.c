/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * frontend storm [OPTION...] -- BACKEND...   random requests, checked, while it dies
 * frontend orders [OPTION...] -- BACKEND...       each VMM's order and queues, one after another
 * frontend hostile [OPTION...] -- BACKEND...         what no frontend should do
 * frontend load [OPTION...] SOCKET           requests a second
 * frontend steer [OPTION...] SOCKET              does what stdin says (steer.c)
 * frontend cases [OPTION...] SOCKET          what QEMU's own test asks
 * frontend halt [OPTION...] SOCKET           stops rings with requests in flight
 *
 * BACKEND's command has --socket-path=PATH. What is wrong ends with exit code 1.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/serve/cases.h"
#include "tests/serve/halt.h"
#include "tests/serve/hostile.h"
#include "tests/serve/load.h"
#include "tests/serve/replay.h"
#include "tests/serve/steer.h"
#include "tests/serve/storm.h"

struct options {
	const char *order;
	unsigned n_queues, queue_size, depth, seconds, kill_ms, len;
	uint64_t disk_len;
	uint8_t first;
	int kill_number;
	uint64_t seed;
	bool writes, indirect, polled;
};

static void options_read(struct options *o, int argc, char **argv)
{
	int letter;

	*o = (struct options){ .order = "qemu",
			       .n_queues = 1,
			       .queue_size = 128,
			       .depth = 16,
			       .seconds = 5,
			       .len = 4096,
			       .disk_len = 16 << 20,
			       .kill_number = SIGKILL,
			       .seed = front_now_ns() };
	while ((letter = getopt(argc, argv, "+o:q:z:d:s:k:b:n:f:S:tiwp")) != -1) {
		switch (letter) {
		case 'o': o->order = optarg; break;
		case 'q': o->n_queues = atoi(optarg); break;
		case 'z': o->queue_size = atoi(optarg); break;
		case 'd': o->depth = atoi(optarg); break;
		case 's': o->seconds = atoi(optarg); break;
		case 'k': o->kill_ms = atoi(optarg); break;
		case 'b': o->len = atoi(optarg); break;
		case 'n': o->disk_len = strtoull(optarg, NULL, 10); break;
		case 'f': o->first = atoi(optarg); break;
		case 'S': o->seed = strtoull(optarg, NULL, 10); break;
		case 't': o->kill_number = SIGTERM; break;
		case 'i': o->indirect = true; break;
		case 'w': o->writes = true; break;
		case 'p': o->polled = true; break;
		default: front_fail("unknown option");
		}
	}
	if (!o->n_queues || o->n_queues > FRONT_MAX_QUEUES || !front_is_size(o->queue_size) ||
	    !order_find(o->order))
		front_fail("bad options");
}

static void open_front(struct front *front, const struct options *o)
{
	const struct front_shape shape = { o->n_queues, o->queue_size, o->queue_size,
					   FRONT_DATA_LEN };

	front_open(front, &shape);
	for (unsigned i = 0; i < o->n_queues; i++) {
		front->queues[i].indirect = o->indirect;
		front->queues[i].polled = o->polled;
	}
}

static int run_storm(const struct options *o, char **command)
{
	struct storm s = { .order = order_find(o->order),
			   .depth = o->depth,
			   .kill_ms = o->kill_ms,
			   .kill_number = o->kill_number,
			   .seconds = o->seconds };

	fprintf(stderr, "seed %llu\n", (unsigned long long)o->seed);
	backend_open(&s.backend, command);
	open_front(&s.front, o);
	world_open(&s.world, o->disk_len / WORLD_BLOCK, o->first, o->seed);
	storm_run(&s);
	world_close(&s.world);
	front_close(&s.front);
	return 0;
}

static int run_orders(const struct options *o, char **command)
{
	struct storm s = { .kill_number = SIGTERM };
	int code;

	fprintf(stderr, "seed %llu\n", (unsigned long long)o->seed);
	backend_open(&s.backend, command);
	backend_start(&s.backend);
	world_open(&s.world, o->disk_len / WORLD_BLOCK, o->first, o->seed);
	for (unsigned i = 0; i < n_order_shapes; i++) {
		replay(&s, &order_shapes[i]);
		printf("%s\n", order_shapes[i].order);
	}
	world_close(&s.world);
	code = backend_end(&s.backend, SIGTERM);
	if (code)
		front_fail("SIGTERM ended the backend with %d", code);
	return 0;
}

static int run_hostile(const struct options *o, char **command)
{
	struct hostile h = { .order = order_find(o->order), .seed = o->seed, .first = o->first };
	int code;

	fprintf(stderr, "seed %llu\n", (unsigned long long)o->seed);
	backend_open(&h.backend, command);
	backend_start(&h.backend);
	hostile_log(&h);
	hostile_state(&h);
	hostile_truncate(&h);
	hostile_noise(&h);
	hostile_rings(&h);
	code = backend_end(&h.backend, SIGTERM);
	if (code)
		front_fail("SIGTERM ended the backend with %d", code);
	return 0;
}

static int run_load(const struct options *o, const char *socket)
{
	const struct order *order = order_find(o->order);
	struct load load = { .writes = o->writes,
			     .depth = o->depth,
			     .len = o->len,
			     .disk_len = o->disk_len,
			     .seconds = o->seconds };
	struct front front;

	open_front(&front, o);
	if (!front_connect(&front, socket, FRONT_PATIENCE_MS) || !order_connect(&front, order) ||
	    !order_start(&front, order))
		front_fail("the backend refuses");
	load_run(&front, &load);
	if (!order_stop(&front, order))
		front_fail("the backend does not stop");
	printf("{\"iops\": %.0f, \"p50-us\": %.1f, \"p99-us\": %.1f, \"max-us\": %.1f}\n",
	       load.n_done * 1e9 / load.elapsed_ns, load.p50_ns / 1e3, load.p99_ns / 1e3,
	       load.max_ns / 1e3);
	front_close(&front);
	return 0;
}

static int run_steer(const struct options *o, const char *socket)
{
	struct front front;

	open_front(&front, o);
	steer_run(&front, order_find(o->order), socket);
	front_close(&front);
	return 0;
}

static int run_cases(const struct options *o, const char *socket)
{
	struct front front;

	open_front(&front, o);
	cases_run(&front, order_find(o->order), socket, o->first, o->disk_len);
	front_close(&front);
	return 0;
}

#define HALTS 40

static int run_halt(const struct options *o, const char *socket)
{
	struct front front;

	open_front(&front, o);
	printf("%u\n", halt_run(&front, order_find(o->order), socket, o->first, HALTS));
	front_close(&front);
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	struct options o;

	signal(SIGPIPE, SIG_IGN);
	if (argc < 3)
		front_fail("usage: storm|orders|hostile|load|steer|cases|halt [OPTION...] "
			   "COMMAND...|SOCKET");
	options_read(&o, argc - 1, argv + 1);
	argv += 1 + optind;
	if (!*argv)
		front_fail("a command or a socket is missing");
	if (!strcmp(verb, "storm"))
		return run_storm(&o, argv);
	if (!strcmp(verb, "orders"))
		return run_orders(&o, argv);
	if (!strcmp(verb, "hostile"))
		return run_hostile(&o, argv);
	if (!strcmp(verb, "load"))
		return run_load(&o, *argv);
	if (!strcmp(verb, "steer"))
		return run_steer(&o, *argv);
	if (!strcmp(verb, "cases"))
		return run_cases(&o, *argv);
	if (!strcmp(verb, "halt"))
		return run_halt(&o, *argv);
	front_fail("unknown verb '%s'", verb);
}
