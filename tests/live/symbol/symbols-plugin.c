/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loaded late: its thread-local block is too large for the room that the loader keeps. */
#include "tests/live/symbol/symbols.h"

const void *plugin_tell(const char *name);

static __thread char plugin_tls[1 << 16];

int twice(void);

int everywhere(void)
{
	return 4;
}

int twice(void)
{
	return 6;
}

/* The exported names may mean somebody else's function here; these cannot. */
extern int own_everywhere(void) __attribute__((alias("everywhere"), visibility("hidden")));
extern int own_twice(void) __attribute__((alias("twice"), visibility("hidden")));

const void *plugin_tell(const char *name)
{
	const struct told told[] = {
		{"plugin:everywhere", (void *)own_everywhere},
		{"plugin:twice", (void *)own_twice},
		{"tls:plugin_tls", plugin_tls},
	};

	return find_told(told, sizeof(told) / sizeof(*told), name);
}
