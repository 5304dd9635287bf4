/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>
#include <stdatomic.h>
#include <stdio.h>

DSU_PATCH("greeting-v2", "2.0");
DSU_REPLACE(greet, greet_v2);

/* A private variable of the server: simply declared. */
extern atomic_ulong greeted;

void greet_v2(const char *name, char *reply, size_t size)
{
	unsigned long number = atomic_fetch_add(&greeted, 1) + 1;

	snprintf(reply, size, "Good day, %s! You are guest number %lu.\n", name, number);
}
