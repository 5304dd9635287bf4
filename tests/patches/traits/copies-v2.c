/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New versions for the victim `copies`, which return a thousand more. Alone: the one function COPY;
 * with ALONG also those that hold copies of it or are called in its place.
 */
#include <dsu/patch.h>

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define QUOTE_(a) #a
#define QUOTE(a) QUOTE_(a)

DSU_PATCH("copies-v2", "1.0");

#define NEW_inner 1
#define NEW_scaled 2
#define NEW_shrunk 3
#define NEW_parted 4
#define NEW_merged_one 5
#define NEW_folded_one 6
#define NEW_aliased 7
#define NEW_chilled 8
#define NEW PASTE(NEW_, COPY)

DSU_REPLACE_NAMED("", "", QUOTE(COPY), replacement);

long replacement(long x);

long replacement(long x)
{
	return 1000 + 0 * x;
}

#ifdef ALONG
#if NEW == NEW_inner
DSU_REPLACE(host_one, new_host);
DSU_REPLACE(host_two, new_host_two);
long new_host(long x);
long new_host_two(long x);

long new_host(long x)
{
	return replacement(x);
}

long new_host_two(long x)
{
	return replacement(x) + 0;
}
#elif NEW == NEW_scaled
DSU_REPLACE(scale_by_three, scale_anew);
long scale_anew(long x);

long scale_anew(long x)
{
	return replacement(x);
}
#elif NEW == NEW_parted
DSU_REPLACE(call_parted, call_anew);
DSU_REPLACE(call_parted_again, call_anew_again);
long call_anew(long x);
long call_anew_again(long x);

long call_anew(long x)
{
	return replacement(x);
}

long call_anew_again(long x)
{
	return replacement(x);
}
#elif NEW == NEW_merged_one
DSU_REPLACE(merged_two, replacement);
#elif NEW == NEW_folded_one
DSU_REPLACE(folded_two, replacement);
#elif NEW == NEW_aliased
DSU_REPLACE(also_aliased, replacement);
#endif
#endif
