/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Records outlive their sources, and are never taken out of the list: a program asks by numbers,
 * and these stay. A base that is opened again goes on in its old record. The callback is called
 * without the lock, so that it may ask.
 */
#include "tools/nbd/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/clock/monotonic.h"
#include "tools/nbd/dial.h"

#define NS_PER_MS 1000000ull
/* Of a struct of a caller: as it was in the first version, and as none will ever be. */
#define FIRST_SIZE sizeof(struct bpull_nbd_source)
#define LAST_SIZE  4096

void records_init(struct records *records)
{
	memset(records, 0, sizeof(*records));
	pthread_mutex_init(&records->lock, NULL);
	records->last = &records->first;
}

void records_free(struct records *records)
{
	while (records->first) {
		struct record *record = records->first;

		records->first = record->next;
		free(record->uri);
		free(record);
	}
	pthread_mutex_destroy(&records->lock);
}

static struct record *record_new(struct records *records, const char *uri)
{
	struct record *new = calloc(1, sizeof(*new));

	if (!new || !(new->uri = strdup(uri))) {
		free(new);
		return NULL;
	}
	new->records = records;
	new->index = records->n++;
	*records->last = new;
	records->last = &new->next;
	return new;
}

struct record *records_add(struct records *records, const char *uri)
{
	struct record *record;

	pthread_mutex_lock(&records->lock);
	record = records->first;
	while (record && (record->is_open || strcmp(record->uri, uri) != 0))
		record = record->next;
	if (!record)
		record = record_new(records, uri);
	if (record) {
		record->is_open = true;
		record->state = BPULL_NBD_OPENING;
		record->since_ns = monotonic_ns();
		record->error = 0;
		record->message[0] = '\0';
	}
	pthread_mutex_unlock(&records->lock);
	return record;
}

void record_tell(struct record *record, enum bpull_nbd_state state, int error, const char *message)
{
	struct records *records = record->records;
	bool is_new;

	pthread_mutex_lock(&records->lock);
	is_new = record->state != state;
	if (is_new)
		record->since_ns = monotonic_ns();
	record->state = state;
	record->error = error;
	snprintf(record->message, sizeof(record->message), "%s", message ? message : "");
	pthread_mutex_unlock(&records->lock);
	if (is_new && records->changed)
		records->changed(records->opaque, record->index);
}

bool record_is_connected(struct record *record)
{
	bool is_connected;

	pthread_mutex_lock(&record->records->lock);
	is_connected = record->state == BPULL_NBD_CONNECTED;
	pthread_mutex_unlock(&record->records->lock);
	return is_connected;
}

void record_count(struct record *record, uint64_t bytes, uint64_t n_requests)
{
	pthread_mutex_lock(&record->records->lock);
	record->bytes_read += bytes;
	record->n_requests += n_requests;
	pthread_mutex_unlock(&record->records->lock);
}

void record_connections(struct record *record, uint32_t n, bool is_reconnect)
{
	pthread_mutex_lock(&record->records->lock);
	record->n_connections = n;
	record->n_reconnects += is_reconnect;
	pthread_mutex_unlock(&record->records->lock);
}

void record_length(struct record *record, uint64_t length)
{
	pthread_mutex_lock(&record->records->lock);
	record->length = length;
	pthread_mutex_unlock(&record->records->lock);
}

void record_close(struct record *record)
{
	record_connections(record, 0, false);
	record_tell(record, BPULL_NBD_CLOSED, 0, NULL);
	pthread_mutex_lock(&record->records->lock);
	record->is_open = false;
	pthread_mutex_unlock(&record->records->lock);
}

static void record_fill(const struct record *record, struct bpull_nbd_source *source)
{
	snprintf(source->uri, sizeof(source->uri), "%s", record->uri);
	source->state = record->state;
	source->error = record->error;
	snprintf(source->message, sizeof(source->message), "%s", record->message);
	source->state_ms = (monotonic_ns() - record->since_ns) / NS_PER_MS;
	source->length = record->length;
	source->connections = record->n_connections;
	source->bytes_read = record->bytes_read;
	source->requests = record->n_requests;
	source->reconnects = record->n_reconnects;
}

int records_get(struct records *records, unsigned index, struct bpull_nbd_source *source)
{
	struct bpull_nbd_source filled = { 0 };
	size_t size = source->size;
	const struct record *record;

	if (size < FIRST_SIZE || size > LAST_SIZE)
		return -EINVAL;
	pthread_mutex_lock(&records->lock);
	record = records->first;
	while (record && record->index != index)
		record = record->next;
	if (record)
		record_fill(record, &filled);
	pthread_mutex_unlock(&records->lock);
	if (!record)
		return -ENOENT;
	filled.size = size;
	memset(source, 0, size);
	memcpy(source, &filled, size < sizeof(filled) ? size : sizeof(filled));
	return 0;
}
