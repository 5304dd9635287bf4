/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_BASE_TYPES_H
#define INJ_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An address inside a target. Never a pointer: nothing here may be dereferenced. */
typedef uint64_t inj_addr;

/* Half-open range of target addresses: start belongs to it, end does not. */
struct inj_range {
	inj_addr start;
	inj_addr end;
};

static inline bool inj_range_has(struct inj_range range, inj_addr address)
{
	return address >= range.start && address < range.end;
}

#define INJ_PAGE_BYTES 4096UL
#define INJ_PAGE_DOWN(x) ((x) & ~(INJ_PAGE_BYTES - 1))
#define INJ_PAGE_UP(x) (((x) + INJ_PAGE_BYTES - 1) & ~(INJ_PAGE_BYTES - 1))
#define INJ_ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

#endif
