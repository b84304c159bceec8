/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The tree of blockpull info --chain. It has plain letters only: what a terminal
 * shows of lines drawn in Unicode depends on its locale, and scripts cut at words.
 */
#include "tools/images/info_tree.h"

#include "tools/cli/say.h"
#include "tools/words/size.h"

#define INFO_TREE_INDENT  3
#define INFO_TREE_DEEPEST 24 /* what lies deeper is indented no more */

static void info_tree_print_layer(const struct bpull_layer_info *layer)
{
	char disk[SIZE_TEXT_CAP], held[SIZE_TEXT_CAP];

	say_data("%s (%s, disk of %s, holds %s)\n", layer->path, bpull_format_name(layer->format),
		 size_text(layer->virtual_size, disk), size_text(layer->disk_size, held));
}

void info_tree_print(const struct bpull_info *info)
{
	struct bpull_layer_info layer = { .size = sizeof(layer) };

	for (unsigned i = 0; i < bpull_info_depth(info); i++) {
		const char *link = i ? layer.backing_name : NULL;
		unsigned indent = i > INFO_TREE_DEEPEST ? INFO_TREE_DEEPEST : i;

		if (bpull_info_layer(info, i, &layer))
			break;
		if (i)
			say_data("%*s`- '%s': ", (int)(indent - 1) * INFO_TREE_INDENT, "",
				 link ? link : "");
		info_tree_print_layer(&layer);
	}
}
