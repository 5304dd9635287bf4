/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nginx: another format of the header Last-Modified, by a formatter of nginx's own. */
#include <dsu/patch.h>

extern unsigned char *ngx_sprintf(unsigned char *buffer, const char *format, ...);

DSU_PATCH("nginx-time", "1.0");
DSU_REPLACE(ngx_http_time, format_time);

DSU_NEW static unsigned char *format_time(unsigned char *buffer, long time)
{
	return ngx_sprintf(buffer, "second %T", time);
}
