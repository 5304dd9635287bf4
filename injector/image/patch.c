/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns an opened patch: reads the file once into memory of its own, has everything about it
 * checked, and keeps what the checks found. Always holds: what inj_patch_open() hands out has
 * passed every check that needs no target, so later steps trust it. Refuses whatever is no
 * x86-64 shared object with something to replace. Nothing here touches a process.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The plain functions: EVP wants to read a configuration file, which a confined reader may not. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include "injector/base/io.h"
#include "injector/image/patch-priv.h"

static const char hex_digits[] = "0123456789abcdef";

static void print_hex(const uint8_t *bytes, size_t n, char *ret_text)
{
	for (size_t i = 0; i < n; i++) {
		*ret_text++ = hex_digits[bytes[i] >> 4];
		*ret_text++ = hex_digits[bytes[i] & 15];
	}
	*ret_text = '\0';
}

char *inj_patch_keep(struct inj_patch_file *file, const char *text, size_t n)
{
	char **grown = reallocarray(file->owned, file->n_owned + 1, sizeof(*grown));

	if (!grown)
		return NULL;
	file->owned = grown;

	char *copy = strndup(text, n);

	if (copy)
		file->owned[file->n_owned++] = copy;
	return copy;
}

void inj_patch_close(struct inj_patch *patch)
{
	struct inj_patch_file *file = (struct inj_patch_file *)patch;

	if (!file)
		return;
	for (size_t i = 0; i < file->n_owned; i++)
		free(file->owned[i]);
	free(file->owned);
	free(file->external_of);
	free(file->by_place);
	free(file->public.replacements);
	free(file->public.externals);
	if (file->public.elf)
		inj_elf_close((struct inj_elf *)file->public.elf);
	free(file->label);
	free(file);
}

/* The file's last path component, printable. */
static char *label_from(const char *file_name)
{
	const char *slash = strrchr(file_name, '/');
	const char *base = slash ? slash + 1 : file_name;
	char *label = strdup(*base ? base : "patch");

	if (label)
		inj_printable(label);
	return label;
}

static int read_bytes(int fd, const char *label, uint8_t **ret, size_t *ret_length,
		      struct inj_why *why)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return inj_broke(why, -errno, "The patch file %s cannot be examined", label);
	if (!S_ISREG(status.st_mode))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s is not a regular file; give the shared object itself", label);
	if (status.st_size <= 0)
		return inj_refuse(why, INJ_BAD_PATCH, "%s is empty; build the patch again", label);
	if ((uint64_t)status.st_size > INJ_PATCH_MAX_BYTES)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s has %lld bytes, more than the %lu that a patch may have; "
				  "strip it",
				  label, (long long)status.st_size, INJ_PATCH_MAX_BYTES);

	size_t length = (size_t)status.st_size;
	INJ_FREE uint8_t *bytes = malloc(length);

	if (!bytes)
		return inj_broke(why, -ENOMEM, "No memory to read the patch %s", label);

	int r = inj_pread_full(fd, bytes, length, 0);

	if (r == -ENODATA)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s shrank while it was read; wait until it is written", label);
	if (r < 0)
		return inj_broke(why, r, "The patch file %s cannot be read", label);
	*ret = INJ_TAKE(bytes);
	*ret_length = length;
	return 0;
}

static int open_elf(struct inj_patch_file *file, int fd, struct inj_why *why)
{
	INJ_FREE uint8_t *bytes = NULL;
	size_t length = 0;
	int r = read_bytes(fd, file->label, &bytes, &length, why);

	if (r)
		return r;

	uint8_t digest[SHA256_DIGEST_LENGTH];
	SHA256_CTX sha;

	SHA256_Init(&sha);
	SHA256_Update(&sha, bytes, length);
	SHA256_Final(digest, &sha);
	print_hex(digest, sizeof(digest), file->public.digest);
	file->public.file_bytes = length;

	struct inj_elf *elf = NULL;

	r = inj_elf_open_owned(INJ_TAKE(bytes), length, file->label, &elf, why);
	if (r)
		return r;
	file->public.elf = elf;

	size_t n = 0;
	const uint8_t *build_id = inj_elf_build_id(elf, &n);

	if (build_id && n <= (sizeof(file->public.build_id_hex) - 1) / 2)
		print_hex(build_id, n, file->public.build_id_hex);
	return 0;
}

/* DSU_SYMBOL(file, name) as the compilers leave it: dsu:FILE:NAME, in quotes or not. */
static int decode_external(struct inj_patch_file *file, struct inj_external *external,
			   const char *symbol, struct inj_why *why)
{
	size_t n = strlen(symbol);
	bool quoted = n >= 2 && symbol[0] == '"' && symbol[n - 1] == '"';
	const char *start = symbol + quoted;
	const char *end = symbol + n - quoted;
	size_t n_prefix = strlen(DSU_SYMBOL_PREFIX);

	if ((size_t)(end - start) < n_prefix || memcmp(start, DSU_SYMBOL_PREFIX, n_prefix) != 0) {
		external->name = symbol;
		return 0;
	}
	start += n_prefix;

	const char *colon = memrchr(start, ':', (size_t)(end - start));

	if (!colon || colon + 1 == end)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the symbol %s names no file and symbol; write "
				  "DSU_SYMBOL(\"file.c\", name)",
				  file->label, symbol);
	if (colon != start) {
		external->file = inj_patch_keep(file, start, (size_t)(colon - start));
		if (!external->file)
			return inj_broke(why, -ENOMEM, "No memory for the symbols of %s",
					 file->label);
	}
	external->name = inj_patch_keep(file, colon + 1, (size_t)(end - colon - 1));
	if (!external->name)
		return inj_broke(why, -ENOMEM, "No memory for the symbols of %s", file->label);
	return 0;
}

/*
 * What the compiler's start-up code refers to and nobody calls, as constructors and destructors
 * are not run. Looking these up in a target would cost an index of every module.
 */
static bool is_startup_noise(const struct inj_elf_symbol *symbol)
{
	static const char *const names[] = {"__gmon_start__", "_ITM_deregisterTMCloneTable",
					    "_ITM_registerTMCloneTable", "__cxa_finalize"};

	if (symbol->binding != STB_WEAK)
		return false;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++)
		if (strcmp(symbol->name, names[i]) == 0)
			return true;
	return false;
}

/* List one undefined symbol; the relocation check marked in external_of which are used. */
static int add_external(struct inj_patch_file *file, uint32_t index, struct inj_why *why)
{
	struct inj_elf_symbol symbol;
	int r = inj_elf_symbol(file->public.elf, SHT_DYNSYM, index, &symbol);

	if (r)
		return inj_broke(why, r < 0 ? r : -EIO, "Symbol %u of %s is lost", index,
				 file->label);
	if (is_startup_noise(&symbol)) {
		file->external_of[index] = INJ_NO_EXTERNAL;
		return 0;
	}

	struct inj_external external = {
		.version = symbol.version,
		.weak = symbol.binding == STB_WEAK,
		.type = symbol.type,
		.symbol = index,
	};

	r = decode_external(file, &external, symbol.name, why);
	if (r)
		return r;
	file->external_of[index] = (uint32_t)file->public.n_externals;
	file->public.externals[file->public.n_externals++] = external;
	return 0;
}

/* What these relocations ask has no answer when a variable lies elsewhere in every thread. */
static void note_tp_offsets(struct inj_patch_file *file)
{
	for (size_t i = 0; i < file->n_by_place; i++) {
		const struct inj_elf_rela *rela = file->by_place[i];
		enum inj_reloc_kind kind = inj_reloc_rule(rela->type)->kind;
		uint32_t external = rela->symbol < file->symbols.n_symbols ?
					    file->external_of[rela->symbol] :
					    INJ_NO_EXTERNAL;

		if (external != INJ_NO_EXTERNAL &&
		    (kind == INJ_RELOC_TLS_TP || kind == INJ_RELOC_TLS_DESCRIPTOR))
			file->public.externals[external].wants_tp_offset = true;
	}
}

static int read_externals(struct inj_patch_file *file, struct inj_why *why)
{
	size_t n = 0;

	for (size_t i = 0; i < file->symbols.n_symbols; i++)
		n += file->external_of[i] != INJ_NO_EXTERNAL;
	file->public.externals = calloc(n ? n : 1, sizeof(*file->public.externals));
	if (!file->public.externals)
		return inj_broke(why, -ENOMEM, "No memory for the symbols of %s", file->label);
	for (size_t i = 0; i < file->symbols.n_symbols; i++) {
		if (file->external_of[i] == INJ_NO_EXTERNAL)
			continue;

		int r = add_external(file, (uint32_t)i, why);

		if (r)
			return r;
	}
	note_tp_offsets(file);
	return 0;
}

static int check_everything(struct inj_patch_file *file, struct inj_why *why)
{
	int r = inj_patch_check_shape(file, why);

	if (!r)
		r = inj_patch_check_tls(file, why);
	if (!r)
		r = inj_patch_check_symbols(file, why);
	if (!r)
		r = inj_patch_check_relocations(file, why);
	if (!r)
		r = inj_patch_read_manifest(file, why);
	if (!r && !file->public.has_manifest)
		r = inj_patch_read_exports(file, why);
	if (!r)
		r = inj_patch_check_replacements(file, why);
	if (!r)
		r = read_externals(file, why);
	if (!r) {
		struct inj_eh_frame eh_frame;

		r = inj_eh_frame_find(file, &eh_frame, why);
	}
	return r;
}

int inj_patch_open(int fd, const char *file_name, struct inj_patch **ret, struct inj_why *why)
{
	struct inj_patch_file *file = calloc(1, sizeof(*file));

	if (!file)
		return inj_broke(why, -ENOMEM, "No memory to open the patch");

	INJ_CLEANUP(inj_patch_guard) struct inj_patch *patch = &file->public;

	file->label = label_from(file_name);
	if (!file->label)
		return inj_broke(why, -ENOMEM, "No memory to open the patch");

	int r = open_elf(file, fd, why);

	if (r)
		return r;
	r = check_everything(file, why);
	if (r)
		return r;
	file->public.n_constructors = inj_patch_count_constructors(file);
	file->public.has_debug_info = inj_elf_section_named(file->public.elf, ".debug_info");
	*ret = INJ_TAKE(patch);
	return 0;
}
