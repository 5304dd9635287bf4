/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_BASE_BISECT_H
#define INJ_BASE_BISECT_H

#include <stddef.h>

/*
 * How many items at the beginning of a sorted sequence fulfil a condition that no later item
 * fulfils: binary search.
 * n: items in all; i: name for the index of an item; condition: expression of i.
 * State: none; pure.
 * Return: 0 to n.
 * Errors: none.
 * Source: none.
 */
#define INJ_COUNT_WHILE(n, i, condition)                            \
	({                                                          \
		size_t low_ = 0, high_ = (n);                       \
		while (low_ < high_) {                              \
			const size_t i = low_ + (high_ - low_) / 2; \
			if (condition)                              \
				low_ = i + 1;                       \
			else                                        \
				high_ = i;                          \
		}                                                   \
		low_;                                               \
	})

#endif
