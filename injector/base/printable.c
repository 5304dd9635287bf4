/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the question which foreign text may reach a terminal, a log or the bus. Always holds:
 * the length never changes, and what comes out is valid UTF-8 without control characters.
 * Refuses, byte by byte with '?': C0, DEL, C1, line and paragraph separators, the marks that
 * reverse the direction of text, overlong forms, surrogates, and what lies above U+10FFFF.
 */
#include <string.h>

#include "injector/base/why.h"

/*
 * Length of the well-formed sequence at text, 0 when there is none. The second byte carries all
 * limits against overlong forms and surrogates (Unicode 15, table 3-7). NUL ends everything.
 */
static size_t sequence_length(const unsigned char *text)
{
	static const struct {
		unsigned char first, last, second_low, second_high, length;
	} forms[] = {
		{0x01, 0x7f, 0x00, 0xff, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(forms); i++) {
		if (text[0] < forms[i].first || text[0] > forms[i].last)
			continue;
		if (text[1] < forms[i].second_low || text[1] > forms[i].second_high)
			return 0;
		for (size_t k = 2; k < forms[i].length; k++)
			if ((text[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].length;
	}
	return 0;
}

static uint32_t decode(const unsigned char *text, size_t length)
{
	static const unsigned char first_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t point = text[0] & first_mask[length];

	for (size_t i = 1; i < length; i++)
		point = point << 6 | (text[i] & 0x3f);
	return point;
}

static bool harmful(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0x061c ||
	       point == 0x200e || point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
	       (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

void inj_printable(char *text)
{
	unsigned char *at = (unsigned char *)text;

	while (*at) {
		size_t length = sequence_length(at);

		if (length == 0 || harmful(decode(at, length))) {
			length = length ? length : 1;
			memset(at, '?', length);
		}
		at += length;
	}
}
