/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest's buffers are scattered and its disk's bytes are, too: every piece
 * of a request is a slice of its vector. Slices are found from the front each
 * time; remembering where the last one ended was rejected, as vectors are
 * short and requests come back to the same place.
 */
#include "engine/core/ranges/iov.h"

#include <string.h>

#include "io/base.h"

bool iov_is_sound(const struct iovec *iov, int n)
{
	if (n < 0 || n > IOV_MAX_ENTRIES || (n && !iov))
		return false;
	for (int i = 0; i < n; i++)
		if (iov[i].iov_len && !iov[i].iov_base)
			return false;
	return true;
}

uint64_t iov_len(const struct iovec *iov, unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		if (add_u64(sum, iov[i].iov_len, &sum))
			return UINT64_MAX;
	return sum;
}

unsigned iov_slice(const struct iovec *iov, unsigned n, uint64_t off, uint64_t len,
		   struct iovec *out)
{
	unsigned n_out = 0;

	for (unsigned i = 0; len && i < n; i++) {
		uint64_t part;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = MIN(len, iov[i].iov_len - off);
		out[n_out++] = (struct iovec){ (char *)iov[i].iov_base + off, part };
		len -= part;
		off = 0;
	}
	return n_out;
}

/* buf NULL: zeros. */
static void put(const struct iovec *iov, unsigned n, uint64_t off, const uint8_t *buf, uint64_t len)
{
	for (unsigned i = 0; len && i < n; i++) {
		uint64_t part;
		char *to;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = MIN(len, iov[i].iov_len - off);
		to = (char *)iov[i].iov_base + off;
		if (buf) {
			memcpy(to, buf, part);
			buf += part;
		} else {
			memset(to, 0, part);
		}
		len -= part;
		off = 0;
	}
}

void iov_zero(const struct iovec *iov, unsigned n, uint64_t off, uint64_t len)
{
	put(iov, n, off, NULL, len);
}

void iov_fill(const struct iovec *iov, unsigned n, uint64_t off, const void *buf, uint64_t len)
{
	put(iov, n, off, buf, len);
}
