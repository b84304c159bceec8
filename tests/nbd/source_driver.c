/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Drives a source of libblockpull-nbd without an engine: it stands in the library's place. Commands
 * come from stdin, one a line, and each answer is a line on stdout, in the order in which answers
 * come:
 *
 *     option NAME VALUE         of what is opened next: allow, map, open, remote, guest, request,
 *                               connections, certificates, psk, user, broker (0 or 1)
 *     open NAME                 "open 0 LENGTH BLOCK", or "open RC SENTENCE"
 *     read ID OFF LEN ASKER     "read ID RC CRC32"; ASKER: job, guest, call
 *     extents ID OFF LEN ASKER  "extents ID RC N LENGTH:ZERO ..."
 *     load ID TOTAL WINDOW SIZE reads [0, TOTAL), WINDOW bytes at once: "load ID RC BYTES_PER_S
 *                               CRC32"
 *     state                     "state NAME=VALUE ..."
 *     seal                      "seal"
 *     fork                      a child leaves what it inherited, and stays until the driver ends:
 *                               "fork N DESCRIPTORS", sockets and eventfds it had, and has
 *     close                     "close MS"
 *
 * State changes are told as "changed STATE". CRC32 of a load is of all reads' sums, in their order.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "engine/blockpull.h"
#include "tools/nbd/blockpull-nbd.h"

#define LIST 16

struct load {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t in_flight;
	int rc;
};

struct bpull_source_ask {
	char id[32];
	void *buf;
	size_t len;
	struct load *load;
	uint32_t *sum;
	atomic_uint ends;
};

static struct {
	struct bpull_nbd_options options;
	char *allow[LIST], *map[LIST];
	bool broker;
	struct bpull_nbd *nbd;
	struct bpull_base base;
	struct bpull_source kept; /* opened before it, and set aside; its ops are NULL: none */
} driver = { .options.size = sizeof(driver.options) };

static const char *const states[] = { "opening", "connected", "reconnecting",
				      "away",    "gone",      "closed" };

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

static void ask_ends_once(struct bpull_source_ask *ask)
{
	if (atomic_fetch_add(&ask->ends, 1) != 0) {
		printf("twice %s\n", ask->id);
		abort();
	}
}

void bpull_source_read_done(struct bpull_source_ask *ask, int rc)
{
	uint32_t sum = rc ? 0 : crc32(0, ask->buf, ask->len);

	ask_ends_once(ask);
	if (ask->load) {
		pthread_mutex_lock(&ask->load->lock);
		*ask->sum = sum;
		ask->load->in_flight -= ask->len;
		if (rc && !ask->load->rc)
			ask->load->rc = rc;
		pthread_cond_signal(&ask->load->changed);
		pthread_mutex_unlock(&ask->load->lock);
	} else {
		printf("read %s %d %08x\n", ask->id, rc, sum);
	}
	free(ask->buf);
	free(ask);
}

void bpull_source_extents_done(struct bpull_source_ask *ask, int rc,
			       const struct bpull_source_extent *extents, size_t n)
{
	ask_ends_once(ask);
	flockfile(stdout);
	printf("extents %s %d %zu", ask->id, rc, n);
	for (size_t i = 0; i < n; i++)
		printf(" %" PRIu64 ":%u", extents[i].length, extents[i].is_zero);
	printf("\n");
	funlockfile(stdout);
	free(ask);
}

static void on_changed(void *opaque, unsigned index)
{
	struct bpull_nbd_source source = { .size = sizeof(source) };

	if (bpull_nbd_get_source(driver.nbd, index, &source) == 0)
		printf("changed %s\n", states[source.state]);
}

static struct bpull_source_ask *new_ask(const char *id, size_t len)
{
	struct bpull_source_ask *ask = calloc(1, sizeof(*ask));

	snprintf(ask->id, sizeof(ask->id), "%s", id);
	ask->len = len;
	if (len && posix_memalign(&ask->buf, 4096, len) != 0)
		abort();
	if (len)
		memset(ask->buf, 0xa5, len);
	return ask;
}

static enum bpull_source_asker asker_of(const char *name)
{
	if (strcmp(name, "guest") == 0)
		return BPULL_SOURCE_GUEST;
	return strcmp(name, "call") == 0 ? BPULL_SOURCE_CALL : BPULL_SOURCE_JOB;
}

static void list_add(char **list, size_t *n, const char *value)
{
	if (*n == LIST)
		abort();
	list[(*n)++] = strdup(value);
}

static bool set_number(const char *name, uint32_t value)
{
	struct bpull_nbd_options *o = &driver.options;
	struct {
		const char *name;
		uint32_t *at;
	} numbers[] = { { "open", &o->open_timeout_s },
			{ "remote", &o->remote_timeout_s },
			{ "guest", &o->guest_timeout_s },
			{ "request", &o->request_timeout_s },
			{ "connections", &o->connections } };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strcmp(name, numbers[i].name) == 0) {
			*numbers[i].at = value;
			return true;
		}
	return false;
}

static void set_option(const char *name, const char *value)
{
	struct bpull_nbd_options *o = &driver.options;

	if (strcmp(name, "allow") == 0)
		list_add(driver.allow, &o->n_allow, value);
	else if (strcmp(name, "map") == 0)
		list_add(driver.map, &o->n_map, value);
	else if (strcmp(name, "certificates") == 0)
		o->tls_certificates = strdup(value);
	else if (strcmp(name, "psk") == 0)
		o->tls_psk_file = strdup(value);
	else if (strcmp(name, "user") == 0)
		o->tls_user = strdup(value);
	else if (strcmp(name, "broker") == 0)
		driver.broker = atoi(value);
	else if (!set_number(name, strtoul(value, NULL, 10)))
		printf("no option %s\n", name);
}

static void do_open(const char *name)
{
	struct bpull_error error = { 0 };
	struct bpull_open_request request = { .size = sizeof(request),
					      .name = name,
					      .recorded = name,
					      .need = BPULL_OPEN_READ,
					      .what = BPULL_OPEN_IMAGE };
	const struct bpull_source *source = &driver.base.source;
	int rc = 0;

	driver.options.allow = (const char *const *)driver.allow;
	driver.options.map = (const char *const *)driver.map;
	driver.options.changed = on_changed;
	if (!driver.nbd) {
		rc = bpull_nbd_open(&driver.options, &driver.nbd, &error);
		if (rc == 0 && driver.broker)
			rc = bpull_nbd_start_broker(driver.nbd, &error);
	}
	memset(&driver.base, 0, sizeof(driver.base));
	driver.base.size = sizeof(driver.base);
	if (rc == 0)
		rc = bpull_nbd_find_base(driver.nbd, &request, &driver.base, &error);
	if (rc < 0)
		printf("open %d %s\n", rc, error.message);
	else if (!source->ops)
		printf("open %d file %s\n", rc, driver.base.path ? driver.base.path : "-");
	else
		printf("open 0 %" PRIu64 " %u %d\n", source->length, source->block_size,
		       driver.base.format);
	free(driver.base.path);
	driver.base.path = NULL;
}

static void do_load(const char *id, uint64_t total, size_t window, size_t size)
{
	const struct bpull_source *source = &driver.base.source;
	struct load load = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };
	size_t n = (total + size - 1) / size;
	uint32_t *sums = calloc(n, sizeof(*sums));
	uint64_t begin_ms = now_ms();

	for (size_t i = 0; i < n; i++) {
		uint64_t off = i * (uint64_t)size;
		size_t len = total - off < size ? total - off : size;
		struct bpull_source_ask *ask = new_ask(id, len);

		ask->load = &load;
		ask->sum = &sums[i];
		pthread_mutex_lock(&load.lock);
		while (load.in_flight + len > window)
			pthread_cond_wait(&load.changed, &load.lock);
		load.in_flight += len;
		pthread_mutex_unlock(&load.lock);
		source->ops->read(source->source, ask->buf, len, off, BPULL_SOURCE_JOB, ask);
	}
	pthread_mutex_lock(&load.lock);
	while (load.in_flight > 0)
		pthread_cond_wait(&load.changed, &load.lock);
	pthread_mutex_unlock(&load.lock);
	printf("load %s %d %" PRIu64 " %08lx\n", id, load.rc,
	       total * 1000 / (now_ms() - begin_ms + 1),
	       crc32(0, (const Bytef *)sums, n * sizeof(*sums)));
	free(sums);
}

static void do_state(void)
{
	struct bpull_nbd_source s = { .size = sizeof(s) };

	if (!driver.nbd || bpull_nbd_get_source(driver.nbd, 0, &s) != 0) {
		printf("state none\n");
		return;
	}
	printf("state state=%s error=%d connections=%u bytes=%" PRIu64 " requests=%" PRIu64
	       " reconnects=%" PRIu64 " n=%u uri=%s message=%s\n",
	       states[s.state], s.error, s.connections, s.bytes_read, s.requests, s.reconnects,
	       bpull_nbd_count(driver.nbd), s.uri, s.message);
}

/* Sockets and eventfds of this process. */
static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	unsigned n = 0;

	while ((entry = readdir(dir))) {
		char to[64] = "";

		if (readlinkat(dirfd(dir), entry->d_name, to, sizeof(to) - 1) > 0)
			n += !strncmp(to, "socket:", 7) || !strcmp(to, "anon_inode:[eventfd]");
	}
	closedir(dir);
	return n;
}

static void do_fork(void)
{
	const struct bpull_source *source = &driver.base.source;
	pid_t child = fork();
	unsigned had;

	if (child) {
		if (child < 0)
			abort();
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	had = count_descriptors();
	source->ops->leave(source->source);
	bpull_nbd_close(driver.nbd);
	printf("fork %u %u\n", had, count_descriptors());
	for (;;)
		pause();
}

static void do_keep(void)
{
	driver.kept = driver.base.source;
	driver.base.source.ops = NULL;
	printf("keep\n");
}

/* Closes what was set aside, and says whether it is the one that was opened since. */
static void do_drop(void)
{
	const struct bpull_source *source = &driver.base.source;
	bool same = source->ops && source->source == driver.kept.source;

	driver.kept.ops->close(driver.kept.source);
	driver.kept.ops = NULL;
	printf("drop %d\n", same);
}

static void do_close(void)
{
	uint64_t begin_ms = now_ms();

	if (driver.kept.ops)
		do_drop();
	if (driver.base.source.ops)
		driver.base.source.ops->close(driver.base.source.source);
	driver.base.source.ops = NULL;
	bpull_nbd_close(driver.nbd);
	driver.nbd = NULL;
	printf("close %" PRIu64 "\n", now_ms() - begin_ms);
}

static void do_line(char *line)
{
	const struct bpull_source *source = &driver.base.source;
	char word[32] = "", a[4096] = "", b[4096] = "", c[64] = "", d[64] = "";
	int n = sscanf(line, "%31s %4095s %4095s %63s %63s", word, a, b, c, d);
	uint64_t off = strtoull(b, NULL, 10), len = strtoull(c, NULL, 10);
	struct bpull_source_ask *ask;

	if (n == 3 && strcmp(word, "option") == 0) {
		set_option(a, b);
	} else if (n >= 2 && strcmp(word, "open") == 0) {
		do_open(line + 5);
	} else if (strcmp(word, "state") == 0) {
		do_state();
	} else if (strcmp(word, "seal") == 0) {
		bpull_nbd_seal(driver.nbd);
		printf("seal\n");
	} else if (strcmp(word, "fork") == 0) {
		do_fork();
	} else if (strcmp(word, "keep") == 0) {
		do_keep();
	} else if (strcmp(word, "drop") == 0) {
		do_drop();
	} else if (strcmp(word, "close") == 0) {
		do_close();
	} else if (!source->ops) {
		printf("not open\n");
	} else if (n == 5 && strcmp(word, "read") == 0) {
		ask = new_ask(a, len);
		source->ops->read(source->source, ask->buf, len, off, asker_of(d), ask);
	} else if (n == 5 && strcmp(word, "extents") == 0) {
		source->ops->extents(source->source, off, len, asker_of(d), new_ask(a, 0));
	} else if (n == 5 && strcmp(word, "load") == 0) {
		do_load(a, off, len, strtoull(d, NULL, 10));
	} else {
		printf("not understood: %s\n", line);
	}
}

int main(void)
{
	char line[8192];

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0])
			do_line(line);
	}
	do_close();
	return 0;
}
