/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memcached exports nothing, but it tells its clients the version of libevent. */
#include <dsu/patch.h>

DSU_PATCH("memcached-libevent", "1.0");
DSU_REPLACE_IN("libevent-2.1.so.7", event_get_version, version);

DSU_NEW static const char *version(void)
{
	return "2.1.12-patched";
}
