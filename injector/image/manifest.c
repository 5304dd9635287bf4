/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the question which functions a patch replaces: reads the manifest that <dsu/patch.h>
 * leaves in the object, or takes the exported functions of a plain shared object. Always holds
 * afterwards: id and version are made of harmless characters, every replacement has a name and an
 * entry that is code of the patch, no function is replaced twice. Refuses any record that it does
 * not understand to the last byte.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "injector/base/bisect.h"
#include "injector/image/patch-priv.h"

/* A manifest section while it is read. */
struct cursor {
	const uint8_t *bytes;
	uint64_t vaddr;
	size_t n;
	size_t at;
};

struct record {
	struct dsu_manifest_header header;
	const uint8_t *bytes; /* header.bytes of them */
	uint64_t vaddr;
};

static bool is_word(const char *text, const char *extra)
{
	if (!isalnum((unsigned char)text[0]) && text[0] != '_')
		return false;
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr(extra, *text))
			return false;
	return true;
}

/* Append an empty replacement; the array grows by doubling. */
static int add_replacement(struct inj_patch_file *file, struct inj_replacement **ret,
			   struct inj_why *why)
{
	struct inj_patch *patch = &file->public;
	size_t n = patch->n_replacements;

	if (n == INJ_PATCH_MAX_REPLACEMENTS)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s replaces more than %d functions; split the patch",
				  file->label, INJ_PATCH_MAX_REPLACEMENTS);
	if ((n & (n - 1)) == 0) {
		struct inj_replacement *grown =
			reallocarray(patch->replacements, n ? 2 * n : 1, sizeof(*grown));

		if (!grown)
			return inj_broke(why, -ENOMEM, "No memory for the manifest of %s",
					 file->label);
		patch->replacements = grown;
	}
	patch->replacements[n] = (struct inj_replacement){0};
	patch->n_replacements++;
	*ret = &patch->replacements[n];
	return 0;
}

static int damaged(const struct inj_patch_file *file, uint64_t vaddr, const char *what,
		   struct inj_why *why)
{
	return inj_refuse(why, INJ_BAD_PATCH,
			  "%s: the manifest record at 0x%lx %s; build the patch again", file->label,
			  vaddr, what);
}

static int read_declaration(struct inj_patch_file *file, const struct record *record,
			    struct inj_why *why)
{
	struct dsu_manifest_patch declaration;

	if (file->public.has_manifest)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s has two DSU_PATCH declarations (the second at 0x%lx); keep "
				  "one",
				  file->label, record->vaddr);
	if (record->header.bytes != sizeof(declaration))
		return damaged(file, record->vaddr, "has the wrong size", why);
	memcpy(&declaration, record->bytes, sizeof(declaration));
	if (!memchr(declaration.id, '\0', sizeof(declaration.id)) ||
	    !memchr(declaration.version, '\0', sizeof(declaration.version)))
		return damaged(file, record->vaddr, "holds a string without an end", why);
	if (!is_word(declaration.id, "._+-"))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the id \"%s\" in DSU_PATCH is not made of letters, digits "
				  "and . _ + -, the first a letter, a digit or _; choose another",
				  file->label, declaration.id);
	if (!is_word(declaration.version, "._+-~:"))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the version \"%s\" in DSU_PATCH is not made of letters, "
				  "digits and . _ + - ~ :, the first a letter, a digit or _; "
				  "choose another",
				  file->label, declaration.version);
	strcpy(file->public.id, declaration.id);
	strcpy(file->public.version, declaration.version);
	file->public.has_manifest = true;
	return 0;
}

/* Take the next NUL-terminated, printable string of a record; NULL when there is none. */
static const char *next_string(const struct record *record, size_t *at)
{
	const char *text = (const char *)record->bytes + *at;
	size_t room = record->header.bytes - *at;
	size_t length = strnlen(text, room);

	if (length == room)
		return NULL;
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return NULL;
	*at += length + 1;
	return text;
}

/* The entry of the new function: what the record's relocation will write at its slot. */
static int find_entry(const struct inj_patch_file *file, const struct record *record,
		      struct inj_replacement *replacement, struct inj_why *why)
{
	const struct inj_elf *elf = file->public.elf;
	const struct inj_elf_rela *rela = inj_patch_relocation_for(
		file, record->vaddr + DSU_MANIFEST_REPLACE_ADDRESS);
	uint64_t entry;

	if (!rela || (rela->type != R_X86_64_RELATIVE && rela->type != R_X86_64_64))
		return inj_refuse(
			why, INJ_BAD_PATCH,
			"%s: %s, meant to replace %s, has no address in the manifest%s",
			file->label, replacement->new_name, replacement->name,
			rela ? " that is known before it runs; replace by an ordinary function"
			     : "; build the patch again");
	if (rela->type == R_X86_64_RELATIVE) {
		entry = (uint64_t)rela->addend;
	} else {
		/* Relocations were checked, so the symbol is in the table. */
		const Elf64_Sym *symbol = &file->symbols.symbols[rela->symbol];

		if (rela->symbol == 0 || symbol->st_shndx == SHN_UNDEF)
			return inj_refuse(why, INJ_BAD_PATCH,
					  "%s: %s, meant to replace %s, is not defined in the "
					  "patch; define it in a file that is linked in",
					  file->label, replacement->new_name, replacement->name);
		if (ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC)
			return inj_refuse(why, INJ_BAD_PATCH,
					  "%s: %s, meant to replace %s, is an indirect function; "
					  "replace by an ordinary one that calls it",
					  file->label, replacement->new_name, replacement->name);
		entry = symbol->st_value + (uint64_t)rela->addend;
	}
	if (!inj_patch_is_code(elf, entry))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: %s, meant to replace %s, is no function of the patch; give "
				  "DSU_REPLACE a function that is defined there",
				  file->label, replacement->new_name, replacement->name);
	replacement->new_vaddr = entry;
	return 0;
}

/* DSU_REPLACE(DSU_SYMBOL("b.c", name), ...) arrives as it was written, one blank between words. */
static int decode_old(struct inj_patch_file *file, const char *old,
		      struct inj_replacement *replacement, struct inj_why *why)
{
	static const char start[] = "DSU_SYMBOL(\"";

	replacement->name = old;
	if (strncmp(old, start, sizeof(start) - 1) != 0)
		return 0;

	const char *source = old + sizeof(start) - 1;
	const char *quote = strchr(source, '"');
	const char *name = quote ? quote + 1 + strspn(quote + 1, ", ") : NULL;
	size_t length = name ? strlen(name) : 0;

	if (!name || quote[1] != ',' || length < 2 || name[length - 1] != ')')
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: cannot make sense of %s; write DSU_SYMBOL(\"file.c\", name)",
				  file->label, old);
	if (quote != source)
		replacement->file = inj_patch_keep(file, source, (size_t)(quote - source));
	replacement->name = inj_patch_keep(file, name, length - 1);
	if (!replacement->name || (quote != source && !replacement->file))
		return inj_broke(why, -ENOMEM, "No memory for the manifest of %s", file->label);
	return 0;
}

static int read_replacement(struct inj_patch_file *file, const struct record *record,
			    struct inj_why *why)
{
	const char *texts[4]; /* module, file, old, new */
	size_t at = DSU_MANIFEST_REPLACE_STRINGS;

	if (record->header.bytes < at)
		return damaged(file, record->vaddr, "has the wrong size", why);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(texts); i++) {
		texts[i] = next_string(record, &at);
		if (!texts[i])
			return damaged(file, record->vaddr,
				       "holds a string without an end or with control characters",
				       why);
	}
	if (record->header.bytes - at >= DSU_MANIFEST_ALIGN)
		return damaged(file, record->vaddr, "has the wrong size", why);
	if (texts[2][0] == '\0' || texts[3][0] == '\0')
		return damaged(file, record->vaddr, "names no function", why);

	struct inj_replacement *replacement;
	int r = add_replacement(file, &replacement, why);

	if (r)
		return r;
	replacement->module = texts[0][0] ? texts[0] : NULL;
	replacement->file = texts[1][0] ? texts[1] : NULL;
	replacement->new_name = texts[3];

	r = decode_old(file, texts[2], replacement, why);
	if (r)
		return r;
	return find_entry(file, record, replacement, why);
}

/* Step over the zeroes between records. */
static void skip_padding(struct cursor *cursor)
{
	while (cursor->at < cursor->n && cursor->bytes[cursor->at] == 0)
		cursor->at++;
}

static int next_record(const struct inj_patch_file *file, struct cursor *cursor,
		       struct record *ret, struct inj_why *why)
{
	uint64_t vaddr = cursor->vaddr + cursor->at;
	size_t room = cursor->n - cursor->at;
	struct dsu_manifest_header header;

	if (room < sizeof(header))
		return damaged(file, vaddr, "is cut off", why);
	memcpy(&header, cursor->bytes + cursor->at, sizeof(header));
	if (header.magic != DSU_MANIFEST_MAGIC || vaddr % DSU_MANIFEST_ALIGN)
		return damaged(file, vaddr, "does not begin as one", why);
	if (header.version != DSU_MANIFEST_VERSION || header.flags)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s was made with <dsu/patch.h> of manifest version %u, flags "
				  "0x%x; this program knows version %d, flags 0: upgrade dsud",
				  file->label, header.version, header.flags, DSU_MANIFEST_VERSION);
	if (header.bytes < sizeof(header) || header.bytes % DSU_MANIFEST_ALIGN ||
	    header.bytes > room)
		return damaged(file, vaddr, "has the wrong size", why);
	*ret = (struct record){header, cursor->bytes + cursor->at, vaddr};
	cursor->at += header.bytes;
	return 0;
}

static int read_section(struct inj_patch_file *file, const struct inj_elf_section *section,
			struct inj_why *why)
{
	struct cursor cursor = {.bytes = section->bytes, .vaddr = section->address,
				.n = section->size};

	for (skip_padding(&cursor); cursor.at < cursor.n; skip_padding(&cursor)) {
		struct record record = {0};
		int r = next_record(file, &cursor, &record, why);

		if (r)
			return r;
		if (record.header.kind == DSU_MANIFEST_PATCH)
			r = read_declaration(file, &record, why);
		else if (record.header.kind == DSU_MANIFEST_REPLACE)
			r = read_replacement(file, &record, why);
		else
			r = damaged(file, record.vaddr, "is of an unknown kind", why);
		if (r)
			return r;
	}
	return 0;
}

int inj_patch_read_manifest(struct inj_patch_file *file, struct inj_why *why)
{
	const struct inj_elf *elf = file->public.elf;

	for (size_t i = 0; i < inj_elf_n_sections(elf); i++) {
		const struct inj_elf_section *section = inj_elf_section_at(elf, i);

		if (strcmp(section->name, DSU_MANIFEST_SECTION) != 0)
			continue;
		if (!section->bytes || !(section->flags & SHF_ALLOC))
			return inj_refuse(why, INJ_BAD_PATCH,
					  "%s: the section %s has no contents to load; strip the "
					  "patch with strip --strip-all at most",
					  file->label, DSU_MANIFEST_SECTION);

		int r = read_section(file, section, why);

		if (r)
			return r;
	}
	if (file->public.n_replacements && !file->public.has_manifest)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s has DSU_REPLACE but no DSU_PATCH; add DSU_PATCH(\"id\", "
				  "\"version\") to one of its files",
				  file->label);
	return 0;
}

/* Without a manifest the file's name is the id; odd characters become '-'. */
static void take_id_from_label(struct inj_patch_file *file)
{
	char *id = file->public.id;
	size_t length = strnlen(file->label, INJ_PATCH_ID_MAX - 1);

	memcpy(id, file->label, length);
	id[length] = '\0';
	for (char *c = id; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("._+-", *c))
			*c = '-';
	if (!is_word(id, "._+-"))
		id[0] = '_';
}

/*
 * Weak definitions are not meant: a C++ object exports one for each inline function and template
 * it uses. Nor are old versions of a versioned name, nor what the linker adds to every object.
 */
static bool is_exported_function(const struct inj_elf *elf, const struct inj_elf_symbol *symbol)
{
	static const char *const from_linker[] = {"_init", "_fini", "_start", "__bss_start",
						  "_edata", "_end"};

	if (symbol->type != STT_FUNC || symbol->binding != STB_GLOBAL ||
	    (symbol->visibility != STV_DEFAULT && symbol->visibility != STV_PROTECTED) ||
	    symbol->section == SHN_UNDEF || symbol->section == SHN_ABS ||
	    symbol->version_hidden || symbol->name[0] == '\0')
		return false;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(from_linker); i++)
		if (strcmp(symbol->name, from_linker[i]) == 0)
			return false;
	return true;
}

int inj_patch_read_exports(struct inj_patch_file *file, struct inj_why *why)
{
	const struct inj_elf *elf = file->public.elf;

	take_id_from_label(file);
	for (size_t i = 1; i < file->symbols.n_symbols; i++) {
		struct inj_elf_symbol symbol;

		if (inj_elf_symbol(elf, SHT_DYNSYM, i, &symbol) != 0 ||
		    !is_exported_function(elf, &symbol))
			continue;
		if (!inj_patch_is_code(elf, symbol.value))
			return inj_refuse(why, INJ_BAD_PATCH,
					  "%s: the exported function %s at 0x%lx is no code of the "
					  "patch; build it again",
					  file->label, symbol.name, symbol.value);

		struct inj_replacement *replacement;
		int r = add_replacement(file, &replacement, why);

		if (r)
			return r;
		replacement->name = symbol.name;
		replacement->new_name = symbol.name;
		replacement->new_vaddr = symbol.value;
	}
	return 0;
}

static int compare_texts(const char *left, const char *right)
{
	return strcmp(left ? left : "", right ? right : "");
}

static int compare_old(const void *a, const void *b)
{
	const struct inj_replacement *left = *(const struct inj_replacement *const *)a;
	const struct inj_replacement *right = *(const struct inj_replacement *const *)b;
	int r = strcmp(left->name, right->name);

	if (!r)
		r = compare_texts(left->file, right->file);
	if (!r)
		r = compare_texts(left->module, right->module);
	return r;
}

static int compare_entries(const void *a, const void *b)
{
	const struct inj_replacement *left = *(const struct inj_replacement *const *)a;
	const struct inj_replacement *right = *(const struct inj_replacement *const *)b;

	return (left->new_vaddr > right->new_vaddr) - (left->new_vaddr < right->new_vaddr);
}

static void set_size(struct inj_replacement **by_entry, size_t n, uint64_t vaddr, uint64_t size)
{
	size_t low = INJ_COUNT_WHILE(n, i, by_entry[i]->new_vaddr < vaddr);

	/* The first size wins, so a crowd of symbols at one place costs nothing. */
	for (; low < n && by_entry[low]->new_vaddr == vaddr && !by_entry[low]->new_size; low++)
		by_entry[low]->new_size = size;
}

/* Sizes from whichever table knows; never beyond the code that is there. */
static void find_sizes(const struct inj_elf *elf, struct inj_replacement **by_entry, size_t n)
{
	static const uint32_t tables[] = {SHT_DYNSYM, SHT_SYMTAB};

	for (size_t t = 0; t < INJ_ARRAY_LENGTH(tables); t++) {
		struct inj_elf_symbol_table table;

		if (inj_elf_symbol_table(elf, tables[t], &table) != 0)
			continue;
		for (size_t i = 1; i < table.n_symbols; i++) {
			const Elf64_Sym *symbol = &table.symbols[i];

			if (ELF64_ST_TYPE(symbol->st_info) == STT_FUNC &&
			    symbol->st_shndx != SHN_UNDEF && symbol->st_size &&
			    inj_patch_segment_at(elf, symbol->st_value, symbol->st_size))
				set_size(by_entry, n, symbol->st_value, symbol->st_size);
		}
	}
}

int inj_patch_check_replacements(struct inj_patch_file *file, struct inj_why *why)
{
	struct inj_patch *patch = &file->public;
	size_t n = patch->n_replacements;

	if (n == 0)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s replaces nothing; %s", file->label,
				  patch->has_manifest ?
					  "add DSU_REPLACE(old, new)" :
					  "export a function with the name of the one it replaces, "
					  "or use DSU_PATCH and DSU_REPLACE");

	INJ_FREE struct inj_replacement **sorted = calloc(n, sizeof(struct inj_replacement *));

	if (!sorted)
		return inj_broke(why, -ENOMEM, "No memory for the manifest of %s", file->label);
	for (size_t i = 0; i < n; i++)
		sorted[i] = &patch->replacements[i];
	qsort(sorted, n, sizeof(*sorted), compare_old);
	for (size_t i = 1; i < n; i++)
		if (compare_old(&sorted[i - 1], &sorted[i]) == 0)
			return inj_refuse(why, INJ_BAD_PATCH,
					  "%s replaces %s twice, by %s and by %s; keep one",
					  file->label, sorted[i]->name, sorted[i - 1]->new_name,
					  sorted[i]->new_name);
	qsort(sorted, n, sizeof(*sorted), compare_entries);
	find_sizes(patch->elf, sorted, n);
	return 0;
}
