/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A compressed cluster of any bytes: decoded or refused, never a byte behind either
 * end. The first byte has the type and the cluster's size.
 */
#include <stdio.h>

#include "formats/qcow2/compress/decode.h"
#include "formats/qcow2/image/image.h"
#include "tests/fuzz/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qcow2 q = { 0 };
	uint8_t *in, *out;

	if (!size)
		return 0;
	q.layer.cluster_len = 512u << (data[0] >> 1) % 13;
	q.hdr.compression = data[0] & 1 ? QCOW2_COMPRESSION_ZSTD : QCOW2_COMPRESSION_ZLIB;
	/* Their exact lengths, for the sanitizer. */
	in = sim_need(malloc(size));
	out = sim_need(malloc(q.layer.cluster_len));
	memcpy(in, data + 1, size - 1);
	(void)!qcow2_decode(&q.layer, in, size - 1, out);
	free(in);
	free(out);
	return 0;
}
