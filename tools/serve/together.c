/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/serve/together.h"

#include <string.h>

#include "tools/cli/say.h"
#include "tools/serve/options.h"

#define SERVE_QUEUES 16

/* Names and options that go together or don't. */
static int together_check_words(struct serve_options *options)
{
	if (options->image && options->line.n_words)
		return say_usage("serve", "--blk-file names the image: another name is too many");
	if (options->line.n_words)
		options->image = options->line.words[0];
	if (!options->image)
		return say_usage("serve", "an image's name is missing");
	if (options->socket_path && options->fd_given)
		return say_usage("serve", "--socket-path and --fd can't be combined");
	if (!options->socket_path && !options->fd_given)
		return say_usage("serve", "--socket-path or --fd is missing");
	if (options->socket_path && options->control &&
	    !strcmp(options->socket_path, options->control))
		return say_usage("serve",
				 "--socket-path and --control need two names, not '%s' twice",
				 options->control);
	if (options->pull_option && !options->pull && !options->control)
		return say_usage("serve", "%s has no meaning without --pull or --control",
				 options->pull_option);
	if ((options->names.n || options->fence.n) && !options->control)
		return say_usage("serve", "%s has no meaning without --control",
				 options->names.n ? "--node-name" : "--snapshot-dir");
	if (options->read_only && (options->pull || options->copy_on_read))
		return say_usage("serve", "--read-only can't be combined with %s",
				 options->pull ? "--pull" : "--copy-on-read");
	if (options->read_only && options->line.chain.disk.flags & BPULL_DISK_DIRECT)
		return say_usage("serve", "--read-only can't be combined with --direct");
	return 0;
}

/* Neither can be fenced: descriptors have no names, connections are other threads'. */
static int together_check_fence(const struct serve_options *options)
{
	const struct options_chain *chain = &options->line.chain;

	if (!options->fence.n)
		return 0;
	if (chain->fds.n)
		return say_usage("serve", "--snapshot-dir can't be combined with --fd-map");
	if (bases_are_wanted(&chain->bases))
		return say_usage("serve",
				 "--snapshot-dir can't be combined with --allow-remote and "
				 "--map-backing");
	return 0;
}

int together_check(struct command_line *line)
{
	struct serve_options *options = (struct serve_options *)line;
	int code;

	/* All else is to be ignored then. */
	if (options->print_capabilities)
		return 0;
	code = together_check_words(options);
	if (!code)
		code = together_check_fence(options);
	if (code)
		return code;
	if (!options->n_queues)
		options->n_queues = SERVE_QUEUES;
	options->engine.size = sizeof(options->engine);
	options->job.size = sizeof(options->job);
	line->chain.disk.flags |= BPULL_DISK_GUEST_IO;
	if (options->read_only)
		line->chain.disk.flags |= BPULL_DISK_READ_ONLY;
	if (options->incoming)
		line->chain.disk.flags |= BPULL_DISK_INACTIVE;
	if (options->copy_on_read)
		line->chain.disk.flags |= BPULL_DISK_COPY_ON_READ;
	line->chain.serves_guests = true;
	code = options_chain_finish(&line->chain, "serve");
	if (code || !line->chain.bases.expects.n)
		return code;
	options_chain_look(&line->chain, options->image, line->chain.disk.format);
	return options_chain_judge(&line->chain, "serve");
}
