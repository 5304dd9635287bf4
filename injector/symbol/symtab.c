/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of a module. Exported ones are answered by the file's own hash table. Private ones stand in
 * the module's .symtab, or that of its debug file, or the small one in .gnu_debugdata: a small
 * table is indexed on first use, a large one is looked through for the first few names and indexed
 * when more are asked for. Always holds: a name that is handed out is the file's own string, except
 * that names with a version are kept without it.
 */
#include <string.h>

#include "injector/symbol/symtab-priv.h"

/* Something that has an address or an offset, and a name of its own. */
bool source_is_definition(const Elf64_Sym *symbol)
{
	unsigned type = ELF64_ST_TYPE(symbol->st_info);

	return symbol->st_shndx != SHN_UNDEF && symbol->st_name != 0 && type != STT_SECTION &&
	       type != STT_FILE;
}

static struct inj_elf_symbol decode(const Elf64_Sym *raw, const char *name)
{
	return (struct inj_elf_symbol){
		.name = name,
		.value = raw->st_value,
		.size = raw->st_size,
		.type = ELF64_ST_TYPE(raw->st_info),
		.binding = ELF64_ST_BIND(raw->st_info),
		.visibility = ELF64_ST_VISIBILITY(raw->st_other),
		.section = raw->st_shndx,
	};
}

bool source_raw(const struct source *source, uint32_t symbol, struct inj_elf_symbol *ret)
{
	const struct inj_elf_symbol_table *table = &source->table;

	if (!table->symbols)
		return inj_elf_symbol(source->elf, source->which, symbol, ret) == 0;
	const uint32_t name = table->symbols[symbol].st_name;

	*ret = decode(&table->symbols[symbol],
		      name < table->n_strings ? table->strings + name : "");
	return true;
}

/* A name without its version, made when first asked for; the name itself when memory is short. */
static const char *cut_name(struct source *source, uint32_t symbol, const char *name, size_t length)
{
	struct cut_name **head, *cut;

	if (!source->cuts)
		source->cuts = calloc(N_CUT_HEADS, sizeof(*source->cuts));
	if (!source->cuts)
		return name;
	head = &source->cuts[symbol % N_CUT_HEADS];
	for (cut = *head; cut; cut = cut->next)
		if (cut->symbol == symbol)
			return cut->text;
	cut = malloc(sizeof(*cut) + length + 1);
	if (!cut)
		return name;
	*cut = (struct cut_name){ *head, symbol };
	memcpy(cut->text, name, length);
	cut->text[length] = '\0';
	*head = cut;
	return cut->text;
}

static const char *version_mark(const char *name)
{
	const char *at = strchr(name, '@');

	return at && at != name ? at : NULL;
}

/* A small table must be sound to count; a large one is believed until it is read. */
static bool open_source(struct source *source, const struct inj_elf *elf, uint32_t which,
			size_t large_from)
{
	*source = (struct source){ .which = which };
	source->n_symbols = elf ? inj_elf_n_symbols(elf, which) : 0;
	source->large = source->n_symbols >= large_from;
	/* One of only the null symbol has no names either. */
	if (source->n_symbols < 2 || source->n_symbols > INJ_ELF_MAX_SYMBOLS)
		return false;
	source->elf = elf;
	if (source->large || source_load(source) == 0)
		return true;
	source->elf = NULL;
	return false;
}

static int index_new(const struct inj_modules *modules, const struct inj_module *module,
		     struct inj_symbol_index **ret)
{
	struct inj_symbol_index *index = calloc(1, sizeof(*index));
	const size_t large = own_modules(modules)->large_table;
	int r = 0;

	if (!index)
		return -ENOMEM;
	open_source(&index->exported, module->elf, SHT_DYNSYM, large);
	if (!open_source(&index->named, module->elf, SHT_SYMTAB, large) &&
	    !open_source(&index->named, inj_module_debug_elf(modules, module), SHT_SYMTAB, large) &&
	    minidebug_open(module, &index->mini) == 0)
		open_source(&index->named, index->mini, SHT_SYMTAB, large);
	if (index->named.elf && !index->named.large)
		r = source_chain(&index->named);
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

static void free_source(struct source *source)
{
	for (size_t i = 0; source->cuts && i < N_CUT_HEADS; i++)
		while (source->cuts[i]) {
			struct cut_name *cut = source->cuts[i];

			source->cuts[i] = cut->next;
			free(cut);
		}
	for (size_t i = 0; i < source->n_sifted; i++) {
		free(source->sifted[i].base);
		free(source->sifted[i].symbols);
	}
	free(source->cuts);
	free(source->heads);
	free(source->next);
}

void symtab_free(struct inj_symbol_index *index)
{
	if (!index)
		return;
	free_source(&index->named);
	free_source(&index->exported);
	free(index->placed);
	free(index->reach);
	inj_elf_close(index->mini);
	free(index);
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
	const char *mark = source->which == SHT_SYMTAB ? version_mark(raw.name) : NULL;

	if (mark) {
		ret->version = mark + strspn(mark, "@");
		/* A cache; the index belongs to us, however constant it is to callers. */
		ret->name = cut_name((struct source *)(uintptr_t)source, symbol, raw.name,
				     (size_t)(mark - raw.name));
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

/* All symbols that may be of one base name. */
struct bucket {
	const struct source *source;
	const struct sifted *sifted; /* NULL: a chain */
	size_t at;
	uint32_t next;
};

/* Return: 0 or -ENOMEM; a table that cannot be read is as good as none. */
static int open_bucket(struct source *source, const char *name, struct bucket *ret)
{
	const size_t length = base_length(name, strlen(name));
	int r = -E2BIG;

	*ret = (struct bucket){ .source = source };
	if (!source->elf)
		return 0;
	if (source->large && !source->heads)
		r = sift_names(source, name, length, &ret->sifted);
	if (r == -E2BIG) {
		r = source_chain(source);
		ret->next = r == 0 ? source_first(source, name, length) : 0;
	}
	return r == -ENOMEM ? r : 0;
}

/* Return: 0 at the end, as no symbol of a bucket is the null symbol. */
static uint32_t bucket_next(struct bucket *bucket)
{
	const uint32_t symbol = bucket->next;

	if (bucket->sifted)
		return bucket->at < bucket->sifted->n ? bucket->sifted->symbols[bucket->at++] : 0;
	if (symbol)
		bucket->next = bucket->source->next[symbol];
	return symbol;
}

static void find_matching(const struct inj_module *module, struct bucket bucket, const char *name,
			  enum match wanted, struct candidates *ret)
{
	size_t length = strlen(name);
	struct inj_elf_symbol raw;
	struct inj_symbol symbol;
	uint32_t i;

	while ((i = bucket_next(&bucket)))
		if (source_raw(bucket.source, i, &raw) &&
		    match_name(raw.name, name, length) == wanted &&
		    source_symbol(module, bucket.source, i, &symbol))
			add_candidate(ret, &symbol);
}

/* An exported name of which several versions exist and none is the default: all of them. */
static void find_versions(const struct inj_module *module, struct source *source, const char *name,
			  struct candidates *ret)
{
	struct inj_elf_symbol raw;
	struct inj_symbol symbol;
	size_t ignored;

	if (!source->elf ||
	    inj_elf_dynamic_lookup(module->elf, name, NULL, &ignored) != -ENOTUNIQ ||
	    source_load(source) < 0)
		return;
	for (uint32_t i = 1; i < source->table.n_symbols; i++)
		if (source_is_definition(&source->table.symbols[i]) &&
		    source_raw(source, i, &raw) && strcmp(raw.name, name) == 0 &&
		    source_symbol(module, source, i, &symbol))
			add_candidate(ret, &symbol);
}

int symtab_find(const struct inj_modules *modules, const struct inj_module *module,
		const char *name, struct candidates *ret)
{
	static const enum match order[] = {MATCH_PLAIN, MATCH_PRIVATIZED, MATCH_OLD_VERSION};
	struct inj_symbol_index *index;
	struct inj_symbol exported;
	struct bucket bucket;

	ret->n = ret->n_all = 0;
	if (!*name)
		return 0;
	int r = symtab_index(modules, module, &index);

	if (r == 0)
		r = open_bucket(&index->named, name, &bucket);
	if (r < 0)
		return r;
	if (symtab_find_exported(module, name, NULL, &exported))
		add_candidate(ret, &exported);
	else
		find_versions(module, &index->exported, name, ret);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(order) && (i == 0 || ret->n == 0); i++)
		find_matching(module, bucket, name, order[i], ret);
	return 0;
}

static bool visit_source(const struct inj_module *module, struct source *source, size_t limit,
			 symtab_visit_fn visit, void *context)
{
	struct inj_symbol symbol;

	if (!source->elf || source_load(source) < 0)
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
	struct inj_elf_symbol raw;
	struct inj_symbol symbol;
	struct bucket bucket;
	uint32_t i;
	int r = symtab_index(modules, module, &index);

	if (r == 0)
		r = open_bucket(&index->named, name, &bucket);
	if (r < 0)
		return r;
	while ((i = bucket_next(&bucket)))
		if (source_raw(&index->named, i, &raw) && is_family(raw.name, name, length) &&
		    source_symbol(module, &index->named, i, &symbol) && !visit(context, &symbol))
			break;
	return 0;
}

bool symtab_has_private(const struct inj_modules *modules, const struct inj_module *module)
{
	struct inj_symbol_index *index;

	return symtab_index(modules, module, &index) == 0 && index->named.elf;
}
