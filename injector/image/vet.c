/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the checks of a patch as an object: its kind, its segments, its thread-local variables
 * and every relocation. Always holds afterwards: segments are ascending, share no page, none is
 * writable and executable; each relocation is of a supported type, its place lies in writable
 * memory and in no other's place, and what it refers to exists. Refuses by name and place.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "injector/base/bisect.h"
#include "injector/image/patch-priv.h"

const Elf64_Phdr *inj_patch_segment_at(const struct inj_elf *elf, uint64_t vaddr, uint64_t bytes)
{
	size_t n = 0;
	const Elf64_Phdr *segments = inj_elf_segments(elf, &n);

	for (size_t i = 0; i < n; i++) {
		const Elf64_Phdr *segment = &segments[i];

		if (segment->p_type == PT_LOAD && vaddr >= segment->p_vaddr &&
		    bytes <= segment->p_memsz &&
		    vaddr - segment->p_vaddr <= segment->p_memsz - bytes)
			return segment;
	}
	return NULL;
}

bool inj_patch_is_code(const struct inj_elf *elf, uint64_t vaddr)
{
	const Elf64_Phdr *segment = inj_patch_segment_at(elf, vaddr, 1);

	return segment && (segment->p_flags & PF_X) && inj_elf_bytes_at(elf, vaddr, 1);
}

static int check_kind(const struct inj_patch_file *file, struct inj_why *why)
{
	const struct inj_elf *elf = file->public.elf;
	uint16_t type = inj_elf_header(elf)->e_type;
	uint64_t flags = 0;

	if (type == ET_REL)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s is an object file that was not linked; link it with cc "
				  "-shared",
				  file->label);
	if (type == ET_EXEC ||
	    (inj_elf_dynamic(elf, DT_FLAGS_1, &flags) && (flags & DF_1_PIE)))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s is a program, not a shared object; build it with -shared "
				  "-fPIC",
				  file->label);
	if (type != ET_DYN)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s is not a shared object (ELF type %u); build it with -shared "
				  "-fPIC",
				  file->label, type);
	if (inj_elf_n_sections(elf) == 0)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s has no section headers, so its manifest cannot be found; "
				  "strip it with strip --strip-all at most",
				  file->label);

	uint64_t ignored;

	if (inj_elf_dynamic(elf, DT_REL, &ignored))
		return inj_refuse(why, INJ_UNSUPPORTED_RELOCATION,
				  "%s has relocations without addends (DT_REL), which x86-64 does "
				  "not use; link it with an ordinary linker",
				  file->label);
	return 0;
}

static int check_load(const struct inj_patch_file *file, const Elf64_Phdr *segment,
		      uint64_t *end_of_last, struct inj_why *why)
{
	uint64_t start = INJ_PAGE_DOWN(segment->p_vaddr);
	uint64_t end = INJ_PAGE_UP(segment->p_vaddr + segment->p_memsz);

	if ((segment->p_flags & (PF_W | PF_X)) == (PF_W | PF_X))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the segment at 0x%lx is writable and executable; link it "
				  "without -N, -z execstack and linker scripts that merge code and "
				  "data",
				  file->label, segment->p_vaddr);
	if (end < start || start < *end_of_last)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the segment at 0x%lx shares a page with the one before it "
				  "or is out of order; link it with an ordinary linker",
				  file->label, segment->p_vaddr);
	*end_of_last = end;
	return 0;
}

static int check_segments(const struct inj_patch_file *file, struct inj_why *why)
{
	size_t n = 0, n_loads = 0;
	const Elf64_Phdr *segments = inj_elf_segments(file->public.elf, &n);
	uint64_t first = 0, end = 0;

	if (n > INJ_PATCH_MAX_HEADERS)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s has %zu program headers, more than the %d that a patch may "
				  "have; link it with an ordinary linker",
				  file->label, n, INJ_PATCH_MAX_HEADERS);
	for (size_t i = 0; i < n; i++) {
		if (segments[i].p_type == PT_GNU_STACK && (segments[i].p_flags & PF_X))
			return inj_refuse(why, INJ_BAD_PATCH,
					  "%s wants an executable stack, which the target need not "
					  "have: avoid nested functions whose address is taken, "
					  "give assembly files a .note.GNU-stack section",
					  file->label);
		if (segments[i].p_type != PT_LOAD || segments[i].p_memsz == 0)
			continue;

		int r = check_load(file, &segments[i], &end, why);

		if (r)
			return r;
		if (n_loads++ == 0)
			first = INJ_PAGE_DOWN(segments[i].p_vaddr);
	}
	if (n_loads == 0 || n_loads > INJ_IMAGE_MAX_SEGMENTS)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s has %zu segments to load where 1 to %d are expected; link it "
				  "with an ordinary linker",
				  file->label, n_loads, INJ_IMAGE_MAX_SEGMENTS);
	if (end - first > INJ_IMAGE_MAX_BYTES)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s takes 0x%lx bytes of memory, more than the 0x%lx that a "
				  "patch may take; allocate large buffers at run time",
				  file->label, end - first, INJ_IMAGE_MAX_BYTES);
	return 0;
}

/* Images are placed at pages; an object that wants more would silently not get it. */
static int check_alignment(const struct inj_patch_file *file, struct inj_why *why)
{
	const struct inj_elf *elf = file->public.elf;

	for (size_t i = 0; i < inj_elf_n_sections(elf); i++) {
		const struct inj_elf_section *section = inj_elf_section_at(elf, i);

		if ((section->flags & SHF_ALLOC) && section->alignment > INJ_PAGE_BYTES)
			return inj_refuse(why, INJ_BAD_PATCH,
					  "%s: the section %s wants an alignment of %lu bytes, "
					  "more than a page; declare nothing with a larger "
					  "alignment",
					  file->label, section->name, section->alignment);
	}
	return 0;
}

int inj_patch_check_shape(const struct inj_patch_file *file, struct inj_why *why)
{
	int r = check_kind(file, why);

	if (!r)
		r = check_segments(file, why);
	if (!r)
		r = check_alignment(file, why);
	return r;
}

/* Append ", name" while there is room; says whether there was. */
static bool append_name(char *list, size_t size, const char *name)
{
	size_t used = strlen(list);
	size_t wanted = strlen(name) + (used ? 2 : 0);

	if (wanted >= size - used)
		return false;
	if (used)
		strcat(list, ", ");
	strcat(list, name);
	return true;
}

/* The names of thread-local variables that the patch itself defines. */
static void list_tls(const struct inj_elf *elf, char *list, size_t size)
{
	struct inj_elf_symbol_table table;

	list[0] = '\0';
	if (inj_elf_symbol_table(elf, SHT_SYMTAB, &table) != 0 &&
	    inj_elf_symbol_table(elf, SHT_DYNSYM, &table) != 0)
		return;
	for (size_t i = 1; i < table.n_symbols; i++) {
		const Elf64_Sym *symbol = &table.symbols[i];

		if (ELF64_ST_TYPE(symbol->st_info) == STT_TLS && symbol->st_shndx != SHN_UNDEF &&
		    symbol->st_name && symbol->st_name < table.n_strings &&
		    !append_name(list, size, table.strings + symbol->st_name))
			return;
	}
}

int inj_patch_check_tls(const struct inj_patch_file *file, struct inj_why *why)
{
	size_t n = 0;
	const Elf64_Phdr *segments = inj_elf_segments(file->public.elf, &n);
	char names[256];

	for (size_t i = 0; i < n; i++) {
		if (segments[i].p_type != PT_TLS || segments[i].p_memsz == 0)
			continue;
		list_tls(file->public.elf, names, sizeof(names));
		return inj_refuse(why, INJ_UNSUPPORTED_TLS,
				  "%s defines thread-local variables of its own (%s), for which "
				  "running threads have no room; declare those of the target with "
				  "extern __thread or use pthread_getspecific",
				  file->label, names[0] ? names : "names stripped");
	}
	return 0;
}

int inj_patch_check_symbols(struct inj_patch_file *file, struct inj_why *why)
{
	struct inj_elf_symbol_table table = {0};
	int r = inj_elf_symbol_table(file->public.elf, SHT_DYNSYM, &table);

	if (r && r != -ENOENT)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: its dynamic symbols cannot be read; build the patch again",
				  file->label);
	if (table.n_symbols > INJ_PATCH_MAX_SYMBOLS)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s has %zu dynamic symbols, more than the %lu that a patch may "
				  "have; compile it with -fvisibility=hidden",
				  file->label, table.n_symbols, INJ_PATCH_MAX_SYMBOLS);
	file->symbols = table;
	for (size_t i = 0; i < table.n_symbols; i++) {
		uint32_t name = table.symbols[i].st_name;
		size_t room = name < table.n_strings ? table.n_strings - name : 0;
		size_t most = room < INJ_PATCH_MAX_NAME ? room : INJ_PATCH_MAX_NAME;

		/* A name outside the table counts as none, one that is too long as damage. */
		if (most && strnlen(table.strings + name, most) == most)
			return inj_refuse(why, INJ_BAD_PATCH,
					  "%s: the name of dynamic symbol %zu is longer than %lu "
					  "bytes; the file is damaged",
					  file->label, i, INJ_PATCH_MAX_NAME);
	}
	return 0;
}

/* What the relocation calls the symbol, for messages. */
static const char *symbol_name(const struct inj_patch_file *file, uint32_t index)
{
	if (index == 0 || index >= file->symbols.n_symbols)
		return "no symbol";

	const char *name = inj_patch_symbol_name(file, &file->symbols.symbols[index]);

	return name[0] ? name : "an unnamed symbol";
}

static bool is_tls(enum inj_reloc_kind kind)
{
	return kind == INJ_RELOC_TLS_MODULE || kind == INJ_RELOC_TLS_OFFSET ||
	       kind == INJ_RELOC_TLS_TP || kind == INJ_RELOC_TLS_DESCRIPTOR;
}

static int check_defined(const struct inj_patch_file *file, const struct inj_elf_rela *rela,
			 const struct inj_reloc_rule *rule, const Elf64_Sym *symbol,
			 struct inj_why *why)
{
	const struct inj_elf *elf = file->public.elf;
	const char *name = inj_patch_symbol_name(file, symbol);
	uint8_t type = ELF64_ST_TYPE(symbol->st_info);

	if (type == STT_TLS || is_tls(rule->kind))
		return inj_refuse(why, INJ_UNSUPPORTED_TLS,
				  "%s: %s at 0x%lx refers to the patch's own thread-local variable "
				  "%s; declare the target's with extern __thread instead",
				  file->label, rule->name, rela->offset, name);
	if (type == STT_GNU_IFUNC && !inj_patch_is_code(elf, symbol->st_value))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the resolver of %s at 0x%lx is no code of the patch; build "
				  "it again",
				  file->label, name, symbol->st_value);
	/* One past the end is fine: _end and the like. */
	if (symbol->st_shndx != SHN_ABS && !inj_patch_segment_at(elf, symbol->st_value, 0))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the symbol %s at 0x%lx lies outside of the patch; build it "
				  "again",
				  file->label, name, symbol->st_value);
	return 0;
}

static int check_symbol(struct inj_patch_file *file, const struct inj_elf_rela *rela,
			const struct inj_reloc_rule *rule, struct inj_why *why)
{
	if (rela->symbol == 0 && is_tls(rule->kind))
		return inj_refuse(why, INJ_UNSUPPORTED_TLS,
				  "%s: %s at 0x%lx refers to thread-local memory of the patch "
				  "itself; running threads have none",
				  file->label, rule->name, rela->offset);
	if (rela->symbol == 0 && rule->needs_symbol)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: %s at 0x%lx names no symbol; the file is damaged",
				  file->label, rule->name, rela->offset);
	if (rela->symbol == 0)
		return 0;
	if (rela->symbol >= file->symbols.n_symbols)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: %s at 0x%lx names symbol %u of %zu; the file is damaged",
				  file->label, rule->name, rela->offset, rela->symbol,
				  file->symbols.n_symbols);

	const Elf64_Sym *symbol = &file->symbols.symbols[rela->symbol];

	if (symbol->st_shndx != SHN_UNDEF)
		return check_defined(file, rela, rule, symbol, why);
	if (inj_patch_symbol_name(file, symbol)[0] == '\0' ||
	    ELF64_ST_BIND(symbol->st_info) == STB_LOCAL)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: %s at 0x%lx refers to an undefined symbol without a name; "
				  "the file is damaged",
				  file->label, rule->name, rela->offset);
	file->external_of[rela->symbol] = 0; /* numbered by the reader of externals */
	return 0;
}

static int check_relocation(struct inj_patch_file *file, const struct inj_elf_rela *rela,
			    struct inj_why *why)
{
	const struct inj_elf *elf = file->public.elf;
	const struct inj_reloc_rule *rule = inj_reloc_rule(rela->type);

	if (rule->kind == INJ_RELOC_NOTHING)
		return 0;
	if (rule->kind == INJ_RELOC_UNSUPPORTED)
		return inj_refuse(why, INJ_UNSUPPORTED_RELOCATION,
				  "%s: %s (type %u) at 0x%lx against %s is not supported; %s",
				  file->label, rule->name, rela->type, rela->offset,
				  symbol_name(file, rela->symbol), rule->advice);

	const Elf64_Phdr *segment = inj_patch_segment_at(elf, rela->offset, rule->bytes);

	if (!segment)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the place 0x%lx of %s against %s lies outside of the patch; "
				  "the file is damaged",
				  file->label, rela->offset, rule->name,
				  symbol_name(file, rela->symbol));
	if (!(segment->p_flags & PF_W))
		return inj_refuse(why, INJ_UNSUPPORTED_RELOCATION,
				  "%s: %s at 0x%lx against %s changes read-only memory (a text "
				  "relocation); compile everything in the patch with -fPIC",
				  file->label, rule->name, rela->offset,
				  symbol_name(file, rela->symbol));
	if (rule->kind == INJ_RELOC_RESOLVER && !inj_patch_is_code(elf, (uint64_t)rela->addend))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the resolver 0x%lx of %s at 0x%lx is no code of the patch; "
				  "build it again",
				  file->label, (uint64_t)rela->addend, rule->name, rela->offset);
	if (rule->kind == INJ_RELOC_BASE_ADDEND || rule->kind == INJ_RELOC_RESOLVER)
		return 0;
	return check_symbol(file, rela, rule, why);
}

static int compare_places(const void *a, const void *b)
{
	const struct inj_elf_rela *left = *(const struct inj_elf_rela *const *)a;
	const struct inj_elf_rela *right = *(const struct inj_elf_rela *const *)b;

	return (left->offset > right->offset) - (left->offset < right->offset);
}

static int order_by_place(struct inj_patch_file *file, struct inj_why *why)
{
	qsort(file->by_place, file->n_by_place, sizeof(*file->by_place), compare_places);
	for (size_t i = 1; i < file->n_by_place; i++) {
		const struct inj_elf_rela *before = file->by_place[i - 1];
		const struct inj_elf_rela *rela = file->by_place[i];

		/* Places were checked, so this cannot overflow. */
		if (before->offset + inj_reloc_rule(before->type)->bytes > rela->offset)
			return inj_refuse(why, INJ_BAD_PATCH,
					  "%s: two relocations (%s, %s) want the place 0x%lx; the "
					  "file is damaged",
					  file->label, inj_reloc_rule(before->type)->name,
					  inj_reloc_rule(rela->type)->name, rela->offset);
	}
	return 0;
}

int inj_patch_check_relocations(struct inj_patch_file *file, struct inj_why *why)
{
	const struct inj_elf *elf = file->public.elf;
	size_t n = inj_elf_n_relocations(elf);
	size_t n_symbols = file->symbols.n_symbols;

	file->external_of = malloc((n_symbols + 1) * sizeof(*file->external_of));
	file->by_place = calloc(n + 1, sizeof(*file->by_place));
	if (!file->external_of || !file->by_place)
		return inj_broke(why, -ENOMEM, "No memory for the relocations of %s", file->label);
	for (size_t i = 0; i < n_symbols; i++)
		file->external_of[i] = INJ_NO_EXTERNAL;
	for (size_t i = 0; i < n; i++) {
		const struct inj_elf_rela *rela = inj_elf_relocation_at(elf, i);

		if (!rela)
			return inj_broke(why, -ENOMEM, "No memory for the relocations of %s",
					 file->label);

		int r = check_relocation(file, rela, why);

		if (r)
			return r;
		if (inj_reloc_rule(rela->type)->bytes)
			file->by_place[file->n_by_place++] = rela;
	}
	return order_by_place(file, why);
}

const struct inj_elf_rela *inj_patch_relocation_for(const struct inj_patch_file *file,
						    uint64_t vaddr)
{
	const size_t low = INJ_COUNT_WHILE(file->n_by_place, i, file->by_place[i]->offset < vaddr);

	if (low < file->n_by_place && file->by_place[low]->offset == vaddr)
		return file->by_place[low];
	return NULL;
}

static const uint8_t *read_code(const void *elf, uint64_t vaddr, size_t n)
{
	return inj_patch_is_code(elf, vaddr) ? inj_elf_bytes_at(elf, vaddr, n) : NULL;
}

/*
 * Entries of DT_INIT_ARRAY without the compiler's own first one, frame_dummy, which registers
 * nothing. DT_INIT is the linker's, present in every object and without effect.
 */
size_t inj_patch_count_constructors(const struct inj_patch_file *file)
{
	const struct inj_elf *elf = file->public.elf;
	uint64_t array = 0, bytes = 0;

	if (!inj_elf_dynamic(elf, DT_INIT_ARRAY, &array) ||
	    !inj_elf_dynamic(elf, DT_INIT_ARRAYSZ, &bytes) ||
	    !inj_patch_segment_at(elf, array, bytes))
		return 0;

	size_t n = bytes / sizeof(uint64_t);

	for (size_t i = 0; i < n; i++) {
		const struct inj_elf_rela *rela =
			inj_patch_relocation_for(file, array + i * sizeof(uint64_t));

		if (rela && rela->type == R_X86_64_RELATIVE &&
		    inj_is_crt_frame_dummy((uint64_t)rela->addend, read_code, elf))
			return n - 1;
	}
	return n;
}
