/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A file that gets its name when it is finished. */
#ifndef BLOCKPULL_NEW_FILE_H
#define BLOCKPULL_NEW_FILE_H

struct err;
struct file;
struct file_opener;
struct new_file;
struct shown;

/* An empty file under a temporary name beside `path`, which must be free, open for writing and its
 * owner's alone. `like`: the file whose mode it gets when it is finished; NULL: what the umask
 * leaves. *file is the caller's to close. 0 or -errno with a sentence. Blocking, as all below. */
int new_file_create(struct file_opener *opener, const char *path, const struct file *like,
		    struct new_file **out, struct file **file, struct err *err);
/* The same without a name until it is published: nothing is left when the process is killed.
 * -EOPNOTSUPP, from new_file_publish() too: this directory has no such files, or they can't be
 * named. */
int new_file_create_unnamed(struct file_opener *opener, const char *path, const struct file *like,
			    struct new_file **out, struct file **file, struct err *err);
/* The path that the file is to have, as text for a sentence. */
const char *new_file_show(const struct new_file *nf, struct shown *shown);
/* Sets the name that messages on the file tell to the path that it is to have. 0 or -ENOMEM. */
int new_file_set_name(const struct new_file *nf, struct file *file);
/* The temporary path that the file has; NULL: it has none, or was published or removed. */
const char *new_file_temp_path(const struct new_file *nf);

/* Makes the file, of which all is written, durable and gives it its path. 0; or -errno with a
 * sentence, and no file is left under that path. */
int new_file_publish(struct new_file *nf, struct file *file, struct err *err);
/* Removes it, unless it was published. */
void new_file_abandon(struct new_file *nf);
/* Removes one that was published: it is not wanted after all. */
void new_file_withdraw(struct new_file *nf);
/* new_file_abandon(), and frees *nf. NULL is allowed. */
void new_file_free(struct new_file *nf);

#endif
