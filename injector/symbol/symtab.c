/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of a module. Exported ones are answered by the file's own hash table. For private ones the
 * module's .symtab (or that of its debug file, or the small one in .gnu_debugdata) is indexed on
 * first use: hash chains over base names, that is names without version and without what compilers
 * append to the parts of a split function, so that one chain holds a function with all its parts.
 * Always holds: indexing is one pass and two arrays of 4 bytes a symbol; strings are those of the
 * file, except that names with a version are kept without it.
 */
#include <string.h>

#include "injector/symbol/symtab-priv.h"

/* A symbol that is in no chain. Indices and hashes stay below INJ_ELF_MAX_SYMBOLS. */
#define NOT_CHAINED       UINT32_MAX
#define PREFETCH_DISTANCE 16

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

/* Length of a name without version and without such suffixes. */
static size_t base_length(const char *name, size_t length)
{
	const char *at = memchr(name, '@', length);

	if (at && at != name)
		length = (size_t)(at - name);
	for (const char *dot = name; (dot = memchr(dot, '.', length - (size_t)(dot - name))); dot++)
		if (dot != name && is_suffix(dot + 1))
			return (size_t)(dot - name);
	return length;
}

/* Eight bytes at a time: a million C++ names are some hundred megabytes. */
static uint32_t hash_bytes(const char *bytes, size_t length)
{
	const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t hash = length * factor;
	uint64_t word;

	for (; length >= sizeof(word); bytes += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		hash = (hash ^ word) * factor;
		hash ^= hash >> 32;
	}
	word = 0;
	memcpy(&word, bytes, length);
	hash = (hash ^ word) * factor;
	return (uint32_t)(hash >> 32);
}

/* Something that has an address or an offset, and a name of its own. */
bool source_is_definition(const Elf64_Sym *symbol)
{
	unsigned type = ELF64_ST_TYPE(symbol->st_info);

	return symbol->st_shndx != SHN_UNDEF && symbol->st_name != 0 && type != STT_SECTION &&
	       type != STT_FILE;
}

static const char *raw_name(const struct source *source, uint32_t symbol)
{
	uint32_t offset = source->table.symbols[symbol].st_name;

	return offset < source->table.n_strings ? source->table.strings + offset : "";
}

/* Remember how to say a name without its version. */
static void add_cut(struct source *source, uint32_t symbol, const char *name, size_t length,
		    size_t *text)
{
	memcpy(source->cut_text + *text, name, length);
	source->cut_text[*text + length] = '\0';
	source->cuts[source->n_cuts++] = (struct cut_name){symbol, (uint32_t)*text};
	*text += length + 1;
}

static const char *version_mark(const char *name)
{
	const char *at = strchr(name, '@');

	return at && at != name ? at : NULL;
}

static int cut_names(struct source *source, size_t n, size_t n_bytes)
{
	size_t text = 0;

	if (n == 0)
		return 0;
	source->cuts = calloc(n, sizeof(*source->cuts));
	source->cut_text = malloc(n_bytes);
	if (!source->cuts || !source->cut_text)
		return -ENOMEM;
	for (uint32_t i = 1; i < source->table.n_symbols; i++) {
		const char *name = raw_name(source, i);
		const char *at = source->next[i] == NOT_CHAINED ? NULL : version_mark(name);

		if (at)
			add_cut(source, i, name, (size_t)(at - name), &text);
	}
	return 0;
}

/* Hash of every name; NOT_CHAINED for what has none to be found by. Counts names with versions. */
static void hash_names(struct source *source, size_t *ret_n_cuts, size_t *ret_cut_bytes)
{
	for (uint32_t i = 1; i < source->table.n_symbols; i++) {
		source->next[i] = NOT_CHAINED;
		if (!source_is_definition(&source->table.symbols[i]))
			continue;
		const char *name = raw_name(source, i);
		size_t length = strlen(name);
		const char *at = memchr(name, '@', length);

		if (at && at != name) {
			++*ret_n_cuts;
			*ret_cut_bytes += (size_t)(at - name) + 1;
		}
		source->next[i] = hash_bytes(name, base_length(name, length)) & source->mask;
	}
}

/* Turn hashes into chains. Backwards, so that chains ascend. Without the prefetch nearly every head
 * misses cache and translation cache, and a million symbols take five times as long. */
static void link_chains(struct source *source)
{
	for (size_t i = source->table.n_symbols - 1; i > 0; i--) {
		uint32_t slot = source->next[i];

		if (i > PREFETCH_DISTANCE && source->next[i - PREFETCH_DISTANCE] != NOT_CHAINED)
			__builtin_prefetch(
				&source->heads[source->next[i - PREFETCH_DISTANCE]], 1);
		if (slot == NOT_CHAINED)
			continue;
		source->next[i] = source->heads[slot];
		source->heads[slot] = (uint32_t)i;
	}
}

static int chain_names(struct source *source)
{
	size_t n_heads = 16, n_cuts = 0, cut_bytes = 0;

	while (n_heads < source->table.n_symbols)
		n_heads *= 2;
	source->mask = (uint32_t)(n_heads - 1);
	source->heads = calloc(n_heads, sizeof(*source->heads));
	source->next = malloc(source->table.n_symbols * sizeof(*source->next));
	if (!source->heads || !source->next)
		return -ENOMEM;
	hash_names(source, &n_cuts, &cut_bytes);
	link_chains(source);
	return cut_bytes > UINT32_MAX ? -ENOMEM : cut_names(source, n_cuts, cut_bytes);
}

static bool open_source(struct source *source, const struct inj_elf *elf, uint32_t which)
{
	/* One of only the null symbol has no names either. */
	if (!elf || inj_elf_symbol_table(elf, which, &source->table) < 0 ||
	    source->table.n_symbols < 2)
		return false;
	source->elf = elf;
	source->which = which;
	return true;
}

static int index_new(const struct inj_modules *modules, const struct inj_module *module,
		     struct inj_symbol_index **ret)
{
	struct inj_symbol_index *index = calloc(1, sizeof(*index));
	int r = 0;

	if (!index)
		return -ENOMEM;
	open_source(&index->exported, module->elf, SHT_DYNSYM);
	if (!open_source(&index->named, module->elf, SHT_SYMTAB) &&
	    !open_source(&index->named, inj_module_debug_elf(modules, module), SHT_SYMTAB) &&
	    minidebug_open(module, &index->mini) == 0)
		open_source(&index->named, index->mini, SHT_SYMTAB);
	if (index->named.elf)
		r = chain_names(&index->named);
	if (r < 0)
		symtab_free(index);
	else
		*ret = index;
	return r;
}

int symtab_index(const struct inj_modules *modules, const struct inj_module *module,
		 struct inj_symbol_index **ret)
{
	int r = 0;

	if (!module->index)
		r = index_new(modules, module, &own_module(module)->public.index);
	if (r == 0)
		*ret = module->index;
	return r;
}

void symtab_free(struct inj_symbol_index *index)
{
	if (!index)
		return;
	free(index->named.heads);
	free(index->named.next);
	free(index->named.cuts);
	free(index->named.cut_text);
	free(index->placed);
	free(index->reach);
	inj_elf_close(index->mini);
	free(index);
}

static const char *cut_name_of(const struct source *source, uint32_t symbol)
{
	size_t low = 0, high = source->n_cuts;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (source->cuts[middle].symbol < symbol)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == source->n_cuts || source->cuts[low].symbol != symbol)
		return NULL;
	return source->cut_text + source->cuts[low].text;
}

static inj_addr run_time_value(const struct inj_module *module, const struct inj_elf_symbol *symbol)
{
	if (symbol->type == STT_TLS || symbol->section == SHN_ABS)
		return symbol->value;
	return module->bias + symbol->value;
}

/* A symbol of a table as callers see it; false when the table is damaged there. */
bool source_symbol(const struct inj_module *module, const struct source *source, uint32_t symbol,
		   struct inj_symbol *ret)
{
	struct inj_elf_symbol raw;

	if (inj_elf_symbol(source->elf, source->which, symbol, &raw) < 0)
		return false;
	*ret = (struct inj_symbol){
		.address = run_time_value(module, &raw),
		.size = raw.size,
		.type = raw.type,
		.binding = raw.binding,
		.name = raw.name,
		.file = raw.file,
		.version = raw.version,
		.module = module,
	};
	const char *cut = cut_name_of(source, symbol);

	if (cut) {
		ret->version = raw.name + strlen(cut);
		ret->version += strspn(ret->version, "@");
		ret->name = cut;
	}
	return true;
}

bool symtab_find_exported(const struct inj_module *module, const char *name, const char *version,
			  struct inj_symbol *ret)
{
	struct source source = {.elf = module->elf, .which = SHT_DYNSYM};
	size_t symbol;

	return inj_elf_dynamic_lookup(module->elf, name, version, &symbol) == 0 &&
	       source_symbol(module, &source, (uint32_t)symbol, ret);
}

static bool same_place(const struct inj_symbol *a, const struct inj_symbol *b)
{
	return a->address == b->address && (a->type == STT_TLS) == (b->type == STT_TLS);
}

static void add_candidate(struct candidates *list, const struct inj_symbol *symbol)
{
	for (size_t i = 0; i < list->n; i++) {
		/* A local symbol knows its file, whichever of the two came first. */
		if (!same_place(&list->items[i], symbol))
			continue;
		if (!list->items[i].file)
			list->items[i].file = symbol->file;
		return;
	}
	list->n_all++;
	if (list->n < CANDIDATES_MAX)
		list->items[list->n++] = *symbol;
}

/* How a name in a table answers to the one asked for. */
enum match {
	MATCH_NONE,
	MATCH_PLAIN,
	MATCH_OLD_VERSION, /* name@VERSION: not the default */
	MATCH_PRIVATIZED,  /* name.lto_priv.N: a static that link-time optimization renamed */
};

static enum match match_name(const char *raw, const char *name, size_t length)
{
	static const char privatized[] = ".lto_priv.";

	if (strncmp(raw, name, length) != 0)
		return MATCH_NONE;
	raw += length;
	if (*raw == '\0' || strncmp(raw, "@@", 2) == 0)
		return MATCH_PLAIN;
	if (*raw == '@')
		return MATCH_OLD_VERSION;
	return strncmp(raw, privatized, strlen(privatized)) == 0 ? MATCH_PRIVATIZED : MATCH_NONE;
}

static uint32_t first_in_chain(const struct source *source, const char *name)
{
	size_t length = base_length(name, strlen(name));

	return source->elf ? source->heads[hash_bytes(name, length) & source->mask] : 0;
}

static void find_matching(const struct inj_module *module, const struct source *source,
			  const char *name, enum match wanted, struct candidates *ret)
{
	size_t length = strlen(name);
	struct inj_symbol symbol;

	for (uint32_t i = first_in_chain(source, name); i; i = source->next[i])
		if (match_name(raw_name(source, i), name, length) == wanted &&
		    source_symbol(module, source, i, &symbol))
			add_candidate(ret, &symbol);
}

/* An exported name of which several versions exist and none is the default: all of them. */
static void find_versions(const struct inj_module *module, const struct source *source,
			  const char *name, struct candidates *ret)
{
	struct inj_symbol symbol;
	size_t ignored;

	if (!source->elf ||
	    inj_elf_dynamic_lookup(module->elf, name, NULL, &ignored) != -ENOTUNIQ)
		return;
	for (uint32_t i = 1; i < source->table.n_symbols; i++)
		if (source_is_definition(&source->table.symbols[i]) &&
		    strcmp(raw_name(source, i), name) == 0 &&
		    source_symbol(module, source, i, &symbol))
			add_candidate(ret, &symbol);
}

int symtab_find(const struct inj_modules *modules, const struct inj_module *module,
		const char *name, struct candidates *ret)
{
	static const enum match order[] = {MATCH_PLAIN, MATCH_PRIVATIZED, MATCH_OLD_VERSION};
	struct inj_symbol_index *index;
	struct inj_symbol exported;

	ret->n = ret->n_all = 0;
	if (!*name)
		return 0;
	int r = symtab_index(modules, module, &index);

	if (r < 0)
		return r;
	if (symtab_find_exported(module, name, NULL, &exported))
		add_candidate(ret, &exported);
	else
		find_versions(module, &index->exported, name, ret);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(order) && (i == 0 || ret->n == 0); i++)
		find_matching(module, &index->named, name, order[i], ret);
	return 0;
}

static bool visit_source(const struct inj_module *module, const struct source *source,
			 size_t limit, symtab_visit_fn visit, void *context)
{
	struct inj_symbol symbol;

	if (!source->elf)
		return true;
	for (uint32_t i = 1; i < source->table.n_symbols && i <= limit; i++)
		if (source_is_definition(&source->table.symbols[i]) &&
		    source_symbol(module, source, i, &symbol) && !visit(context, &symbol))
			return false;
	return true;
}

int symtab_visit(const struct inj_modules *modules, const struct inj_module *module, size_t limit,
		 symtab_visit_fn visit, void *context)
{
	struct inj_symbol_index *index;
	int r = symtab_index(modules, module, &index);

	if (r == 0 && visit_source(module, &index->named, limit, visit, context))
		visit_source(module, &index->exported, limit, visit, context);
	return r;
}

/* Does raw consist of the base name and nothing but a version or suffixes? */
static bool is_family(const char *raw, const char *base, size_t length)
{
	return strncmp(raw, base, length) == 0 && base_length(raw, strlen(raw)) == length;
}

int symtab_visit_family(const struct inj_modules *modules, const struct inj_module *module,
			const char *name, symtab_visit_fn visit, void *context)
{
	size_t length = base_length(name, strlen(name));
	struct inj_symbol_index *index;
	struct inj_symbol symbol;
	int r = symtab_index(modules, module, &index);

	if (r < 0)
		return r;
	for (uint32_t i = first_in_chain(&index->named, name); i; i = index->named.next[i])
		if (is_family(raw_name(&index->named, i), name, length) &&
		    source_symbol(module, &index->named, i, &symbol) && !visit(context, &symbol))
			break;
	return 0;
}

bool symtab_has_private(const struct inj_modules *modules, const struct inj_module *module)
{
	struct inj_symbol_index *index;

	return symtab_index(modules, module, &index) == 0 && index->named.elf;
}
