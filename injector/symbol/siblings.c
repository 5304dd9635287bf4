/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The relatives of a function: parts and clones that the compiler split off it, recognized by their
 * names, and other functions whose code was found identical and folded into one, recognized by
 * their address. A clone in another source file belongs to another function of the same name.
 */
#include <string.h>

#include "injector/symbol/symbol-priv.h"

struct collection {
	const struct inj_symbol *function;
	struct inj_symbol *items;
	size_t n;
};

static bool is_code(const struct inj_symbol *symbol)
{
	return symbol->type == STT_FUNC || symbol->type == STT_GNU_IFUNC;
}

static bool is_known(const struct collection *collection, const struct inj_symbol *symbol)
{
	const struct inj_symbol *function = collection->function;

	if (symbol->address == function->address && strcmp(symbol->name, function->name) == 0)
		return true;
	for (size_t i = 0; i < collection->n; i++)
		if (collection->items[i].address == symbol->address &&
		    strcmp(collection->items[i].name, symbol->name) == 0)
			return true;
	return false;
}

static bool collect(void *context, const struct inj_symbol *symbol)
{
	struct collection *collection = context;

	if (is_code(symbol) && !is_known(collection, symbol))
		collection->items[collection->n++] = *symbol;
	return collection->n < INJ_SIBLINGS_MAX;
}

/* Parts have suffixes; the bare name elsewhere is a namesake, and so is a part in another file. */
static bool collect_part(void *context, const struct inj_symbol *symbol)
{
	struct collection *collection = context;
	const struct inj_symbol *function = collection->function;

	if (!strchr(symbol->name, '.') && symbol->address != function->address)
		return true;
	if (function->file && symbol->file && strcmp(function->file, symbol->file) != 0)
		return true;
	return collect(context, symbol);
}

int inj_symbol_siblings(const struct inj_modules *modules, const struct inj_symbol *function,
			struct inj_symbol **ret, size_t *ret_n)
{
	INJ_FREE struct inj_symbol *items = calloc(INJ_SIBLINGS_MAX, sizeof(*items));
	struct collection collection = {.function = function, .items = items};

	if (!items)
		return -ENOMEM;
	int r = symtab_visit_family(modules, function->module, function->name, collect_part,
				    &collection);

	if (r == 0 && collection.n < INJ_SIBLINGS_MAX)
		r = symtab_visit_address(modules, function->module, function->address, collect,
					 &collection);
	if (r < 0)
		return r;
	*ret = INJ_TAKE(items);
	*ret_n = collection.n;
	return 0;
}
