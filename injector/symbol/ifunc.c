/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finds what the target itself uses for an IFUNC, by reading a GOT slot that its loader has bound.
 * Running the resolver again would usually say the same, but costs a call in the target. A slot
 * counts only if its value is code of the module that has the resolver or of the vDSO: a lazy slot
 * still points into the PLT of the caller, and a program that takes a function's address may own a
 * PLT entry as its canonical one.
 */
#include <string.h>

#include "injector/process/mem.h"
#include "injector/symbol/symbol-priv.h"

static bool is_code_of(const struct inj_module *module, inj_addr address)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(module->elf, &n);
	uint64_t value = address - module->bias;

	for (size_t i = 0; i < n; i++)
		if (segments[i].p_type == PT_LOAD && segments[i].p_flags & PF_X &&
		    value >= segments[i].p_vaddr &&
		    value - segments[i].p_vaddr < segments[i].p_memsz)
			return true;
	return false;
}

/* Implementations are functions of the resolver's own module, or of the vDSO (time, gettimeofday).
 */
static bool is_implementation(const struct inj_modules *modules, const struct inj_symbol *ifunc,
			      inj_addr address)
{
	const struct inj_module *module = inj_modules_at(modules, address);

	return module && (module == ifunc->module || module->kind == INJ_MODULE_VDSO) &&
	       is_code_of(module, address);
}

/* Does the relocation fill its slot with that function? */
static bool is_slot_for(const struct inj_module *module, const struct inj_elf_rela *rela,
			const struct inj_symbol *ifunc)
{
	struct inj_elf_symbol symbol;

	if (rela->type == R_X86_64_IRELATIVE)
		return module == ifunc->module &&
		       module->bias + (uint64_t)rela->addend == ifunc->address;
	if (rela->type != R_X86_64_JUMP_SLOT && rela->type != R_X86_64_GLOB_DAT)
		return false;
	if (inj_elf_symbol(module->elf, SHT_DYNSYM, rela->symbol, &symbol) < 0 ||
	    strcmp(symbol.name, ifunc->name) != 0)
		return false;
	return !symbol.version || !ifunc->version || strcmp(symbol.version, ifunc->version) == 0;
}

static bool read_slot(const struct inj_modules *modules, const struct inj_module *module,
		      const struct inj_elf_rela *rela, const struct inj_symbol *ifunc,
		      inj_addr *ret)
{
	const uint8_t *initial = inj_elf_bytes_at(module->elf, rela->offset, sizeof(uint64_t));
	uint64_t value, unbound = 0;

	if (inj_mem_read(modules->process, module->bias + rela->offset, &value, sizeof(value)) < 0)
		return false;
	if (initial)
		memcpy(&unbound, initial, sizeof(unbound));
	/* In its own module a lazy slot is code too, but still what the file says. */
	if (value == unbound || value == module->bias + unbound || value == ifunc->address ||
	    !is_implementation(modules, ifunc, value))
		return false;
	*ret = value;
	return true;
}

/* The IFUNC that a slot was bound for, when it is not the one at hand. */
static bool find_other(const struct inj_module *module, const struct inj_elf_rela *rela,
		       const struct inj_symbol *ifunc, struct inj_symbol *ret)
{
	struct inj_elf_symbol symbol;

	if (rela->type == R_X86_64_IRELATIVE) {
		*ret = (struct inj_symbol){ .address = module->bias + (uint64_t)rela->addend,
					    .type = STT_GNU_IFUNC, .module = module };
		return module == ifunc->module && ret->address != ifunc->address;
	}
	if ((rela->type != R_X86_64_JUMP_SLOT && rela->type != R_X86_64_GLOB_DAT) ||
	    inj_elf_symbol(module->elf, SHT_DYNSYM, rela->symbol, &symbol) < 0)
		return false;
	return symtab_find_exported(ifunc->module, symbol.name, symbol.version, ret) &&
	       ret->type == STT_GNU_IFUNC && ret->address != ifunc->address;
}

bool inj_resolve_ifunc_shared(const struct inj_modules *modules, const struct inj_symbol *ifunc,
			      inj_addr implementation, struct inj_symbol *ret)
{
	for (size_t i = 0; i < modules->n_items; i++) {
		const struct inj_module *module = modules->items[i];
		size_t n = module->kind == INJ_MODULE_VDSO ? 0 : inj_elf_n_rela(module->elf);

		for (size_t k = 0; k < n; k++) {
			const struct inj_elf_rela *rela = inj_elf_relocation_at(module->elf, k);
			struct inj_symbol other, named;
			inj_addr bound;

			if (!rela || !find_other(module, rela, ifunc, &other) ||
			    !read_slot(modules, module, rela, &other, &bound) ||
			    bound != implementation)
				continue;
			*ret = inj_symbol_at(modules, other.address, &named) &&
					       named.address == other.address ?
				       named :
				       other;
			return true;
		}
	}
	return false;
}

int inj_resolve_ifunc_bound(const struct inj_modules *modules, const struct inj_symbol *ifunc,
			    inj_addr *ret)
{
	for (size_t i = 0; i < modules->n_items; i++) {
		const struct inj_module *module = modules->items[i];
		size_t n = module->kind == INJ_MODULE_VDSO ? 0 : inj_elf_n_rela(module->elf);

		for (size_t k = 0; k < n; k++) {
			const struct inj_elf_rela *rela = inj_elf_relocation_at(module->elf, k);

			if (rela && is_slot_for(module, rela, ifunc) &&
			    read_slot(modules, module, rela, ifunc, ret))
				return 0;
		}
	}
	return -ENOENT;
}
