/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Indirect functions of the patch's own: one local, one exported, one reached by pointer.
 */
#include <dsu/patch.h>

/* Link-time optimisation renames static functions. */
#ifdef NO_STATIC
#define LOCAL
#else
#define LOCAL DSU_NEW static
#endif

DSU_PATCH("link-indirect", "1.0");

extern int resolver_runs;

static int chosen_local(int x)
{
	return x + 100;
}

static int chosen_exported(int x)
{
	return x + 200;
}

/* A resolver sees a patch that is linked but for indirect functions: its data is usable. */
static int (*const choices[])(int) = {chosen_local, chosen_exported};

__attribute__((used)) static int (*resolve_local(void))(int)
{
	resolver_runs++;
	return choices[0];
}

__attribute__((used)) static int (*resolve_exported(void))(int)
{
	resolver_runs++;
	return choices[1];
}

static int local(int x) __attribute__((ifunc("resolve_local")));
int exported(int x) __attribute__((ifunc("resolve_exported")));

static int (*volatile by_pointer)(int) = exported;

LOCAL int indirect_new(int x)
{
	return local(x) + exported(x) + by_pointer(x);
}

DSU_REPLACE(indirect, indirect_new);
