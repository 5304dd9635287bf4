/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Base names: names without version and without what compilers append to the parts of a split
 * function. Owns the list of what they append. Pure.
 */
#include <string.h>

#include "injector/symbol/symtab-priv.h"

/* What gcc, clang and their linkers append to names after a dot. */
static const char *const suffixes[] = {
	"cold", "part", "constprop", "isra", "localalias", "lto_priv", "llvm", "clone", "warm",
};

static bool is_suffix(const char *after_dot)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(suffixes); i++) {
		size_t n = strlen(suffixes[i]);

		if (strncmp(after_dot, suffixes[i], n) == 0 &&
		    (after_dot[n] == '\0' || after_dot[n] == '.' || after_dot[n] == '@'))
			return true;
	}
	return false;
}

/* Length of the base of a name. */
size_t base_length(const char *name, size_t length)
{
	const char *at = memchr(name, '@', length);

	if (at && at != name)
		length = (size_t)(at - name);
	for (const char *dot = name; (dot = memchr(dot, '.', length - (size_t)(dot - name))); dot++)
		if (dot != name && is_suffix(dot + 1))
			return (size_t)(dot - name);
	return length;
}
