/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Nothing here sends: a piece says what is to be asked for next, and takes what came. What a
 * server answered is believed only where it lies in what it was asked for, once each; extents end
 * at the first that no server may tell.
 */
#include "tools/nbd/ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct ask *ask_new(struct bpull_source_ask *ask, enum bpull_source_asker asker,
			   uint64_t offset, uint64_t len, size_t n_pieces)
{
	struct ask *new = calloc(1, sizeof(*new) + n_pieces * sizeof(new->pieces[0]));

	if (!new)
		return NULL;
	new->ask = ask;
	new->asker = asker;
	new->offset = offset;
	new->len = len;
	new->n_pieces = new->n_left = n_pieces;
	for (size_t i = 0; i < n_pieces; i++)
		new->pieces[i].ask = new;
	return new;
}

struct ask *ask_new_read(struct bpull_source_ask *ask, enum bpull_source_asker asker, void *buf,
			 size_t len, uint64_t offset, uint32_t max_request)
{
	size_t n_pieces = len / max_request + !!(len % max_request);
	struct ask *new = ask_new(ask, asker, offset, len, n_pieces);

	if (!new)
		return NULL;
	new->is_read = true;
	for (size_t i = 0; i < n_pieces; i++) {
		struct ask_piece *piece = &new->pieces[i];
		size_t done = i * (size_t)max_request;

		piece->offset = offset + done;
		piece->len = len - done < max_request ? len - done : max_request;
		piece->buf = (uint8_t *)buf + done;
	}
	return new;
}

struct ask *ask_new_extents(struct bpull_source_ask *ask, enum bpull_source_asker asker,
			    uint64_t offset, uint64_t len)
{
	struct ask *new = ask_new(ask, asker, offset, len, 1);

	if (!new)
		return NULL;
	new->pieces[0].offset = offset;
	new->pieces[0].len = len;
	return new;
}

int ask_begin_sent(struct ask_piece *piece, uint32_t block_size, uint32_t max_len)
{
	uint64_t from = piece->offset + piece->done, end = piece->offset + piece->len;
	uint64_t at = from - from % block_size;

	free(piece->aside);
	piece->aside = NULL;
	if (piece->buf && end - at > max_len)
		end = at + max_len;
	piece->sent.offset = at;
	piece->sent.len = end - at + (block_size - end % block_size) % block_size;
	piece->sent.buf = piece->buf ? (uint8_t *)piece->buf + piece->done : NULL;
	if (!piece->buf || (at == from && piece->sent.len == end - at))
		return 0;
	piece->aside = malloc(piece->sent.len);
	piece->sent.buf = piece->aside;
	return piece->aside ? 0 : -ENOMEM;
}

bool ask_end_sent(struct ask_piece *piece)
{
	uint32_t skip = piece->offset + piece->done - piece->sent.offset;
	uint32_t left = piece->len - piece->done;
	uint32_t len = piece->sent.len - skip < left ? piece->sent.len - skip : left;

	if (!piece->buf)
		return true;
	if (piece->aside)
		memcpy((uint8_t *)piece->buf + piece->done, piece->aside + skip, len);
	free(piece->aside);
	piece->aside = NULL;
	piece->done += len;
	return piece->done == piece->len;
}

bool ask_take_part(struct ask_piece *piece, uint64_t offset, size_t len)
{
	struct ask_came *came = &piece->came;
	uint32_t at = offset - piece->sent.offset, end = at + len;
	unsigned i = 0;

	if (offset < piece->sent.offset || offset - piece->sent.offset > piece->sent.len ||
	    len > piece->sent.len - (offset - piece->sent.offset))
		return false;
	while (i < came->n && came->parts[i].end < at)
		i++;
	if (i < came->n && came->parts[i].end == at) { /* the next one, where all come in order */
		if (i + 1 < came->n && came->parts[i + 1].at < end)
			return false;
		came->parts[i].end = end;
		return true;
	}
	if (came->n == ASK_MAX_PARTS || (i < came->n && came->parts[i].at < end))
		return false;
	memmove(&came->parts[i + 1], &came->parts[i], (came->n - i) * sizeof(came->parts[0]));
	came->parts[i].at = at;
	came->parts[i].end = end;
	came->n++;
	return true;
}

bool ask_is_whole(const struct ask_piece *piece)
{
	uint32_t at = 0;

	for (unsigned i = 0; i < piece->came.n && piece->came.parts[i].at == at; i++)
		at = piece->came.parts[i].end;
	return at == piece->sent.len;
}

void ask_take_extents(struct ask_piece *piece, const uint32_t *entries, size_t n, uint32_t zero)
{
	struct ask *ask = piece->ask;
	uint64_t skip = ask->offset - piece->sent.offset, left = ask->len;

	n = n / 2 < ASK_MAX_EXTENTS ? n / 2 : ASK_MAX_EXTENTS;
	if (ask->extents || n == 0)
		return;
	ask->extents = calloc(n, sizeof(*ask->extents));
	for (size_t i = 0; ask->extents && i < n && left > 0; i++) {
		uint64_t len = entries[2 * i];
		uint64_t cut = len < skip ? len : skip;

		/* No server may say that; what follows is not believed. */
		if (len == 0)
			break;
		skip -= cut;
		len -= cut;
		if (len > left)
			len = left;
		left -= len;
		if (len == 0)
			continue;
		ask->extents[ask->n_extents].length = len;
		ask->extents[ask->n_extents++].is_zero = !!(entries[2 * i + 1] & zero);
	}
}

static void ask_end(struct ask *ask)
{
	if (ask->is_read)
		bpull_source_read_done(ask->ask, ask->rc);
	else
		bpull_source_extents_done(ask->ask, ask->rc, ask->extents,
					  ask->rc ? 0 : ask->n_extents);
	free(ask->extents);
	free(ask);
}

void ask_piece_over(struct ask_piece *piece, int rc)
{
	struct ask *ask = piece->ask;

	free(piece->aside);
	piece->aside = NULL;
	if (rc && !ask->rc)
		ask->rc = rc;
	if (--ask->n_left == 0)
		ask_end(ask);
}

void ask_queue_init(struct ask_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
	queue->n = 0;
}

void ask_queue_add(struct ask_queue *queue, struct ask_piece *piece)
{
	piece->next = NULL;
	*queue->last = piece;
	queue->last = &piece->next;
	queue->n++;
}

void ask_queue_add_first(struct ask_queue *queue, struct ask_piece *piece)
{
	piece->next = queue->first;
	if (!queue->first)
		queue->last = &piece->next;
	queue->first = piece;
	queue->n++;
}

struct ask_piece *ask_queue_take(struct ask_queue *queue)
{
	struct ask_piece *piece = queue->first;

	if (!piece)
		return NULL;
	queue->first = piece->next;
	if (!queue->first)
		queue->last = &queue->first;
	queue->n--;
	return piece;
}

void ask_queue_join(struct ask_queue *queue, struct ask_queue *from)
{
	if (!from->first)
		return;
	*queue->last = from->first;
	queue->last = from->last;
	queue->n += from->n;
	ask_queue_init(from);
}
