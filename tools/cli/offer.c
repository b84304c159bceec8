/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/cli/offer.h"

#include <stddef.h>
#include <string.h>

#include "tools/cli/command.h"
#include "tools/words/allow_backing.h"

static const struct options_word offer_backing_formats[] = {
	{ "raw", 0 }, { "qcow2", 0 }, { "qed", 0 }, { "auto", 0 }, { NULL, 0 },
};

static const struct options_word offer_rules[] = {
	{ "any", BPULL_BACKING_ANY },
	{ "none", BPULL_BACKING_NONE },
	{ NULL, 0 },
};

const struct offer offer_shared[] = {
	{ "allow-backing", OFFER_DIRS, offer_rules },
	{ "backing-format", OFFER_WORDS, offer_backing_formats },
	{ "fd-map", OFFER_FREE, NULL },
	{ "format", OFFER_WORDS, options_formats },
	{ "allow-remote", OFFER_FREE, NULL },
	{ "expect", OFFER_FILES, NULL },
	{ "guest-timeout", OFFER_FREE, NULL },
	{ "map-backing", OFFER_FREE, NULL },
	{ "open-timeout", OFFER_FREE, NULL },
	{ "remote-timeout", OFFER_FREE, NULL },
	{ "tls-certificates", OFFER_DIRS, NULL },
	{ "tls-psk-file", OFFER_FILES, NULL },
	{ "tls-user", OFFER_FREE, NULL },
	{ "holes", OFFER_WORDS, options_holes },
	{ "guest-p99", OFFER_FREE, NULL },
	{ "host-budget", OFFER_FILES, NULL },
	{ "iops", OFFER_FREE, NULL },
	{ "min-rate", OFFER_FREE, NULL },
	{ "within", OFFER_FREE, NULL },
	{ NULL, OFFER_FREE, NULL },
};

static const struct offer *offer_of(const struct offer *table, const char *option)
{
	for (; table && table->option; table++)
		if (!strcmp(table->option, option))
			return table;
	return NULL;
}

const struct offer *offer_find(const struct command *command, const char *option)
{
	const struct offer *own = offer_of(command->offers, option);

	return own ? own : offer_of(offer_shared, option);
}

const struct offer *offer_word(const struct command *command, int n)
{
	static const struct offer files = { "", OFFER_FILES, NULL };
	static const struct offer nothing = { "", OFFER_FREE, NULL };
	const struct offer *row = command->word_offers;

	if (command->max_words && n >= command->max_words)
		return &nothing;
	for (; row && row->option; row++)
		if (!n--)
			return row;
	return command->word_offers ? &nothing : &files;
}
