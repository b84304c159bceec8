/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "io/file/file_rest.h"

#include <time.h>

#include "io/blocking.h"
#include "io/file.h"

/* Between two looks at a file of which it is not known yet whether it was changed. */
#define LOOK_NS 1000000

void file_rest(struct file *file)
{
	if (file->ops->rest)
		file->ops->rest(file);
}

int file_wake(struct file *file, unsigned lock_wait_ms, struct err *err)
{
	int rc = file->ops->wake ? WAITING(file->ops->wake(file, lock_wait_ms, err)) : 0;

	if (!rc)
		file_uncache(file);
	return rc;
}

int file_turn_begin(struct file *file, bool write, struct err *err)
{
	return file->writable == write || !file->ops->turn_begin
		       ? 0
		       : file->ops->turn_begin(file, write, err);
}

void file_turn_end(struct file *file, bool write)
{
	if (file->writable == write)
		return;
	if (file->ops->turn_end)
		file->ops->turn_end(file, write);
	else
		file->writable = write;
}

int file_turn(struct file *file, bool write, struct err *err)
{
	int rc = WAITING(file_turn_begin(file, write, err));

	if (!rc)
		file_turn_end(file, write);
	return rc;
}

void file_list_append(struct file **to, struct file *files)
{
	while (*to)
		to = &(*to)->next_closing;
	*to = files;
}

void file_close_all(struct file *files)
{
	while (files) {
		struct file *file = files;

		files = file->next_closing;
		file_close(file);
	}
}

void file_leave(struct file *file)
{
	if (file->ops->leave)
		file->ops->leave(file);
}

enum file_state file_look(struct file *file)
{
	return file->ops->look ? file->ops->look(file) : FILE_SAME;
}

bool file_changed(struct file *file)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };
	enum file_state state;

	while ((state = file_look(file)) == FILE_UNSURE) {
		blocking_begin();
		nanosleep(&pause, NULL);
		blocking_end();
	}
	return state == FILE_CHANGED;
}
