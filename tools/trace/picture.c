/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A rectangle for each range: no script, no style sheet, nothing that is loaded. */
#include "tools/trace/picture.h"

#include <inttypes.h>

#include "tools/words/size.h"

#define PICTURE_WIDTH  900.0
#define PICTURE_HEIGHT 480.0
#define PICTURE_LEFT   90.0 /* margins: the disk's offsets, and the times below */
#define PICTURE_BELOW  40.0
#define PICTURE_MIN    1.5 /* of a rectangle's sides, so that none is lost */

typedef void (*picture_print)(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void picture_axes(uint64_t end, uint64_t last_us, picture_print print)
{
	char text[SIZE_TEXT_CAP];

	for (unsigned i = 0; i <= 4; i++) {
		double y = PICTURE_HEIGHT * (4 - i) / 4, x = PICTURE_LEFT + PICTURE_WIDTH * i / 4;

		print("<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">%s</text>\n",
		      PICTURE_LEFT - 6, y + 14, size_text(end / 4 * i, text));
		print("<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"middle\">%.2f s</text>\n", x,
		      PICTURE_HEIGHT + 30, (double)last_us / 4 * i / 1e6);
	}
	print("<rect x=\"%.0f\" y=\"10\" width=\"%.0f\" height=\"%.0f\" fill=\"none\" "
	      "stroke=\"#888\"/>\n",
	      PICTURE_LEFT, PICTURE_WIDTH, PICTURE_HEIGHT);
}

static void picture_range(const struct trace_range *range, uint64_t end, uint64_t last_us,
			  picture_print print)
{
	double x = PICTURE_LEFT + PICTURE_WIDTH * (double)range->us / ((double)last_us + 1);
	double height = PICTURE_HEIGHT * (double)range->len / (double)end;
	double y = 10 + PICTURE_HEIGHT * (1 - (double)(range->off + range->len) / (double)end);

	if (height < PICTURE_MIN)
		height = PICTURE_MIN;
	print("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", x, y, PICTURE_MIN,
	      height);
}

void picture_draw(const struct trace *trace, picture_print print)
{
	uint64_t end = 1, last_us = 0;

	for (size_t i = 0; i < trace->n; i++) {
		const struct trace_range *range = &trace->ranges[i];

		end = range->off + range->len > end ? range->off + range->len : end;
		last_us = range->us > last_us ? range->us : last_us;
	}
	print("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
	      "font-family=\"sans-serif\" font-size=\"12\">\n",
	      PICTURE_LEFT + PICTURE_WIDTH + 30, PICTURE_HEIGHT + PICTURE_BELOW);
	print("<title>what a guest touched first</title>\n");
	picture_axes(end, last_us, print);
	print("<g fill=\"#2563eb\">\n");
	for (size_t i = 0; i < trace->n; i++)
		picture_range(&trace->ranges[i], end, last_us, print);
	print("</g>\n");
	print("</svg>\n");
}
