/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* No manifest: what it exports replaces its namesakes. */
const char *greeting(void);

const char *greeting(void)
{
	return "hello without manifest";
}
