/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The map is all that may be opened: a name that is not in it is refused, and
 * one in it that no image names is a mistake that is told.
 *
 * A verb may look at an image before it opens it, so each answer is a copy of the
 * descriptor. Copies share their description with each other and with the process that
 * opened the file: its flags and its locks. Locks on it would outlive a killed
 * process, and would not tell two processes apart that got the same descriptor. So
 * they are on a description of their own where that can be had: not in a sandbox,
 * nor of a file that this user may not open.
 */
#include "tools/cli/fd_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/say.h"
#include "tools/words/exit_code.h"

static int fd_map_parse(const char *command, const char *text, size_t *name_len, int *fd)
{
	const char *equals = strrchr(text, '=');
	unsigned long number;
	char *end;

	if (!equals || equals == text)
		return say_usage(command, "--fd-map: '%s' is not NAME=N", text);
	number = strtoul(equals + 1, &end, 10);
	if (equals[1] < '0' || equals[1] > '9' || *end || number > 1 << 20)
		return say_usage(command, "--fd-map: '%s': '%s' is not the number of a descriptor",
				 text, equals + 1);
	if (fcntl((int)number, F_GETFD) < 0)
		return say_usage(command,
				 "--fd-map: '%s': descriptor %lu is not open: pass it to this "
				 "process (in a shell: %lu<>FILE)",
				 text, number, number);
	*name_len = (size_t)(equals - text);
	*fd = (int)number;
	return 0;
}

static int fd_map_check_new(const struct fd_map *map, const char *command, const char *name, int fd)
{
	for (size_t i = 0; i < map->n; i++) {
		if (!strcmp(map->list[i].name, name))
			return say_usage(command, "--fd-map: '%s' is given twice", name);
		if (map->list[i].fd == fd)
			return say_usage(command,
					 "--fd-map: descriptor %d is given for '%s' and for '%s'",
					 fd, map->list[i].name, name);
	}
	return 0;
}

static int fd_map_add(struct fd_map *map, char *name, int fd)
{
	struct fd_map_entry *list = reallocarray(map->list, map->n + 1, sizeof(*list));

	if (!list || !name) {
		map->list = list ? list : map->list;
		say_error("out of memory");
		return EXIT_CODE_FAILED;
	}
	list[map->n++] = (struct fd_map_entry){ .name = name, .fd = fd };
	map->list = list;
	return 0;
}

int fd_map_take(struct fd_map *map, const char *command, const char *text)
{
	size_t len = 0;
	char *name;
	int code, fd = -1;

	code = fd_map_parse(command, text, &len, &fd);
	if (code)
		return code;
	name = strndup(text, len);
	code = name ? fd_map_check_new(map, command, name, fd) : 0;
	if (!code)
		code = fd_map_add(map, name, fd);
	if (code)
		free(name);
	return code;
}

static bool fd_map_is_called(const struct fd_map_entry *entry, const char *name)
{
	return !strcmp(entry->name, name) || (entry->path && !strcmp(entry->path, name));
}

static struct fd_map_entry *fd_map_find(const struct fd_map *map, const char *name)
{
	for (size_t i = 0; i < map->n; i++)
		if (fd_map_is_called(&map->list[i], name))
			return &map->list[i];
	return NULL;
}

static void fd_map_remove(struct fd_map *map, struct fd_map_entry *entry)
{
	close(entry->fd);
	free(entry->name);
	free(entry->path);
	*entry = map->list[--map->n];
}

static size_t fd_map_unused(const struct fd_map *map)
{
	size_t n = 0;

	for (size_t i = 0; i < map->n; i++)
		n += map->list[i].by && !map->list[i].is_needed;
	return n;
}

int fd_map_hand(struct fd_map *map, const char *name, int fd, const void *by)
{
	struct fd_map_entry *old = fd_map_find(map, name);
	bool is_taken = old && (!old->by || old->is_needed);
	char *copy = is_taken ? NULL : strdup(name);
	int rc = is_taken ? -EEXIST : copy ? 0 : -ENOMEM;

	if (!rc && old)
		fd_map_remove(map, old);
	if (!rc && fd_map_unused(map) >= FD_MAP_MAX_UNUSED)
		rc = -EMFILE;
	if (!rc && fd_map_add(map, copy, fd))
		rc = -ENOMEM;
	if (rc) {
		free(copy);
		close(fd);
		return rc;
	}
	map->list[map->n - 1].used = true;
	map->list[map->n - 1].by = by;
	return 0;
}

int fd_map_take_back(struct fd_map *map, const char *name)
{
	struct fd_map_entry *entry = fd_map_find(map, name);

	if (!entry)
		return -ENOENT;
	if (!entry->by || entry->is_needed)
		return -EBUSY;
	fd_map_remove(map, entry);
	return 0;
}

int fd_map_mode(const struct fd_map *map, const char *name)
{
	const struct fd_map_entry *entry = fd_map_find(map, name);
	int flags = entry ? fcntl(entry->fd, F_GETFL) : -1;

	return flags < 0 ? -ENOENT : flags & O_ACCMODE;
}

void fd_map_settle(struct fd_map *map, const void *gone,
		   bool (*is_needed)(const void *opaque, const char *name), const void *opaque)
{
	for (size_t i = map->n; i-- > 0;) {
		struct fd_map_entry *entry = &map->list[i];

		if (is_needed(opaque, entry->name) ||
		    (entry->path && is_needed(opaque, entry->path)))
			entry->is_needed = true;
		else if (entry->is_needed || (gone && entry->by == gone))
			fd_map_remove(map, entry);
	}
}

/* What an image records may be the name of another file in another directory: it comes last. */
static struct fd_map_entry *fd_map_find_asked(const struct fd_map *map,
					      const struct bpull_open_request *request)
{
	struct fd_map_entry *entry = fd_map_find(map, request->name);

	for (size_t i = 0; !entry && request->recorded && i < map->n; i++)
		if (!strcmp(map->list[i].name, request->recorded))
			entry = &map->list[i];
	return entry;
}

/* A copy would be no other description. */
static int fd_map_open_again(int fd)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

/* Without memory for the name it is known by its own. */
static void fd_map_note_asked(struct fd_map_entry *entry, const struct bpull_open_request *request)
{
	entry->used = true;
	/* A data file is no layer, by whose names it could be told that it is needed no more. */
	entry->is_needed |= !entry->by && request->what == BPULL_OPEN_IMAGE;
	if (fd_map_is_called(entry, request->name))
		return;
	free(entry->path);
	entry->path = strdup(request->name);
}

static int fd_map_give(void *opaque, const struct bpull_open_request *request)
{
	struct fd_map_entry *entry = fd_map_find_asked(opaque, request);
	int fd;

	if (!entry)
		return -ENOENT;
	fd_map_note_asked(entry, request);
	fd = request->need == BPULL_OPEN_LOCK ? fd_map_open_again(entry->fd)
					      : fcntl(entry->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

void fd_map_apply(struct fd_map *map, struct bpull_disk_options *options)
{
	if (!map->n)
		return;
	options->open_file = fd_map_give;
	options->open_opaque = map;
}

int fd_map_judge(const struct bpull_disk_options *options, struct bpull_error *error)
{
	const struct fd_map *map = options->open_opaque;

	if (options->open_file != fd_map_give)
		return 0;
	for (size_t i = 0; i < map->n; i++) {
		if (map->list[i].used)
			continue;
		*error = (struct bpull_error){ .code = -EINVAL };
		snprintf(error->message, sizeof(error->message),
			 "--fd-map: no image asked for '%s': leave it out, or write the name as "
			 "the image records it (see blockpull info)",
			 map->list[i].name);
		return -EINVAL;
	}
	return 0;
}

void fd_map_free(struct fd_map *map)
{
	for (size_t i = 0; i < map->n; i++) {
		free(map->list[i].name);
		free(map->list[i].path);
		if (map->list[i].by)
			close(map->list[i].fd);
	}
	free(map->list);
}
