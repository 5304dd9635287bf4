/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_PATCH("undefined-new", "1");

int hello_new(void);

DSU_REPLACE(hello, hello_new);
