/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Proposes names for one that was not found: clones that the compiler left of the function, then
 * names within a small edit distance. Runs only on the way to a refusal, and looks at a bounded
 * number of symbols.
 */
#include <string.h>

#include "injector/symbol/symbol-priv.h"

#define MAX_NAME     63
#define MAX_DISTANCE 2
#define MAX_SYMBOLS  200000
#define N_PROPOSALS  3

struct proposals {
	const char *name;
	size_t length;
	struct {
		const char *name;
		size_t distance;
	} items[N_PROPOSALS];
	size_t n;
};

/* Edit distance of two short strings, or MAX_DISTANCE + 1 when it is larger. */
static size_t distance_between(const char *a, size_t n_a, const char *b, size_t n_b)
{
	size_t row[MAX_NAME + 1];

	for (size_t k = 0; k <= n_b; k++)
		row[k] = k;
	for (size_t i = 1; i <= n_a; i++) {
		size_t diagonal = row[0], least = i;

		row[0] = i;
		for (size_t k = 1; k <= n_b; k++) {
			size_t best = diagonal + (a[i - 1] != b[k - 1]);

			diagonal = row[k];
			if (row[k] + 1 < best)
				best = row[k] + 1;
			if (row[k - 1] + 1 < best)
				best = row[k - 1] + 1;
			row[k] = best;
			least = best < least ? best : least;
		}
		if (least > MAX_DISTANCE)
			break;
	}
	return row[n_b] > MAX_DISTANCE ? MAX_DISTANCE + 1 : row[n_b];
}

static size_t rate(const struct proposals *proposals, const char *name)
{
	size_t length = strnlen(name, MAX_NAME + 1);

	if (length > proposals->length && strncmp(name, proposals->name, proposals->length) == 0 &&
	    name[proposals->length] == '.')
		return 0;
	if (length > MAX_NAME || length + MAX_DISTANCE < proposals->length ||
	    length > proposals->length + MAX_DISTANCE)
		return MAX_DISTANCE + 1;
	/* Two changes in a name of three letters make any other name. */
	size_t distance = distance_between(proposals->name, proposals->length, name, length);

	return 3 * distance > proposals->length ? MAX_DISTANCE + 1 : distance;
}

static bool consider(void *context, const struct inj_symbol *symbol)
{
	struct proposals *proposals = context;

	if (symbol->type != STT_FUNC && symbol->type != STT_GNU_IFUNC && symbol->type != STT_OBJECT)
		return true;
	size_t distance = rate(proposals, symbol->name);
	size_t at = proposals->n;

	if (distance > MAX_DISTANCE)
		return true;
	for (size_t i = 0; i < proposals->n; i++)
		if (strcmp(proposals->items[i].name, symbol->name) == 0)
			return true;
	while (at > 0 && proposals->items[at - 1].distance > distance)
		at--;
	if (at == N_PROPOSALS)
		return true;
	if (proposals->n < N_PROPOSALS)
		proposals->n++;
	memmove(&proposals->items[at + 1], &proposals->items[at],
		(proposals->n - 1 - at) * sizeof(proposals->items[0]));
	proposals->items[at].name = symbol->name;
	proposals->items[at].distance = distance;
	return true;
}

/* Writes "a, b or c", or "" when nothing is near. */
void propose_names(const struct inj_modules *modules, const struct inj_module *module,
		   const char *name, char *buffer, size_t size)
{
	struct proposals proposals = {.name = name, .length = strlen(name)};
	size_t used = 0;

	*buffer = '\0';
	if (proposals.length == 0 || proposals.length > MAX_NAME ||
	    symtab_visit(modules, module, MAX_SYMBOLS, consider, &proposals) < 0)
		return;
	for (size_t i = 0; i < proposals.n && used < size; i++) {
		const char *before = i == 0 ? "" : i + 1 == proposals.n ? " or " : ", ";
		int n = snprintf(buffer + used, size - used, "%s%.80s", before,
				 proposals.items[i].name);

		used += n > 0 ? (size_t)n : 0;
	}
}
