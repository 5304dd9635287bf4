/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* postgres: SELECT version() says something else. */
#include <dsu/patch.h>

extern void *cstring_to_text(const char *text);

DSU_PATCH("postgres-version", "1.0");
DSU_REPLACE(pgsql_version, version);

DSU_NEW static unsigned long version(void *call)
{
	return (unsigned long)cstring_to_text("PostgreSQL, patched");
}
