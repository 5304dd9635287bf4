/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_SYMBOL_RESOLVE_PRIV_H
#define INJ_SYMBOL_RESOLVE_PRIV_H

#include "injector/symbol/symbol-priv.h"

/* What somebody asks for. */
struct question {
	const struct inj_modules *modules;
	const struct inj_module *module; /* where alone to look; NULL: everywhere */
	const char *file;
	const char *name;
	const char *version;
	bool function; /* nothing else will do */
	bool saw_data; /* there is a variable of that name */
	bool saw_file; /* there are symbols of that name in other files */
};

/* resolve-refuse.c */
int refuse_missing(const struct question *question, struct inj_why *why);
int refuse_ambiguous(const struct question *question, const struct candidates *list,
		     struct inj_why *why);
int refuse_module(const struct inj_modules *modules, const char *name, struct inj_why *why);

#endif
