/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_SYMBOL_SCAN_PRIV_H
#define INJ_SYMBOL_SCAN_PRIV_H

#include "injector/symbol/symbol-priv.h"

/* module-scan.c */
int module_scan(struct own_modules *modules, const struct inj_maps *maps, const struct auxv *auxv);
void module_free(struct own_module *module);

#endif
