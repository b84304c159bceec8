/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/nbd/options.h"

#include <errno.h>

#include "engine/blockpull.h"
#include "tools/nbd/blockpull-nbd.h"
#include "tools/nbd/remote.h"
#include "tools/words/text.h"

/* The struct's size in the first version; no version will have one above LAST_SIZE. */
#define FIRST_SIZE sizeof(struct bpull_nbd_options)
#define LAST_SIZE  4096

int nbd_options_check(const struct bpull_nbd_options *options, struct bpull_error *error)
{
	if (options->size < FIRST_SIZE || options->size > LAST_SIZE)
		return text_error(error, -EINVAL, "the options' size is wrong");
	for (size_t i = FIRST_SIZE; i < options->size; i++)
		if (((const uint8_t *)options)[i])
			return text_error(error, -EINVAL,
					  "an option is set that this library lacks");
	if (options->connections > REMOTE_MAX_WIRES)
		return text_error(error, -EINVAL, "%u connections: there can be 1 to %u",
				  options->connections, REMOTE_MAX_WIRES);
	if ((options->n_allow && !options->allow) || (options->n_map && !options->map))
		return text_error(error, -EINVAL, "a list is NULL, where a pointer is needed");
	if (!options->tls_psk_file != !options->tls_user)
		return text_error(
			error, -EINVAL,
			"a file of shared keys and a user go together: give both, or none");
	if (options->tls_psk_file && options->tls_certificates)
		return text_error(error, -EINVAL,
				  "shared keys and certificates exclude each other");
	if (options->opaque && !options->changed)
		return text_error(error, -EINVAL, "opaque is for changed(), which is missing");
	if (options->relative_dir && options->relative_dir[0] != '/')
		return text_error(error, -EINVAL,
				  "the directory for relative names must be an absolute name");
	return 0;
}
