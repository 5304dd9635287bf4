/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* apache2: another name in the header Server. */
#include <dsu/patch.h>

DSU_PATCH("apache-banner", "1.0");
DSU_REPLACE(ap_get_server_banner, banner);

DSU_NEW static const char *banner(void)
{
	return "Apache, patched";
}
