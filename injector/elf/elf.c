/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens an ELF64 x86-64 file and checks its frame: header, program headers, section headers,
 * dynamic section. We read <elf.h> structures ourselves instead of through libelf, because libelf
 * trusts what it maps (truncation is a SIGBUS), wants section headers where a running program has
 * only segments, and reads or maps all of a file. Always holds after a successful open: every
 * header lies inside the file, every extent we keep is file-backed, every string we return ends
 * inside its table. Refuses, rather than repairs, whatever contradicts itself.
 */
#include <string.h>
#include <sys/stat.h>

#include "injector/elf/elf-priv.h"

static int check_ident(struct inj_elf *elf, struct inj_why *why)
{
	const Elf64_Ehdr *header = &elf->header;
	const char *wrong = NULL;

	if (header->e_ident[EI_CLASS] != ELFCLASS64)
		wrong = "not a 64-bit object";
	else if (header->e_ident[EI_DATA] != ELFDATA2LSB)
		wrong = "not little-endian";
	else if (header->e_ident[EI_VERSION] != EV_CURRENT || header->e_version != EV_CURRENT)
		wrong = "of an unknown ELF version";
	else if (header->e_machine != EM_X86_64)
		wrong = "not for x86-64";
	else if (header->e_type != ET_REL && header->e_type != ET_EXEC && header->e_type != ET_DYN)
		wrong = "neither an object, a program nor a shared object";
	else if (header->e_phoff && header->e_phnum && header->e_phentsize != sizeof(Elf64_Phdr))
		wrong = "broken: its program headers have a wrong size";
	else if (header->e_shoff && header->e_shentsize != sizeof(Elf64_Shdr))
		wrong = "broken: its section headers have a wrong size";
	if (!wrong)
		return 0;
	return inj_refuse(why, INJ_BAD_PATCH,
			  "%s is %s (class %u, machine %u, type %u); build it for x86-64 Linux",
			  elf->name, wrong, header->e_ident[EI_CLASS], header->e_machine,
			  header->e_type);
}

static int read_header(struct inj_elf *elf, struct inj_why *why)
{
	const uint8_t *bytes = elf_view(elf, 0, SELFMAG);

	if (!bytes || memcmp(bytes, ELFMAG, SELFMAG) != 0)
		return inj_refuse(
			why, INJ_BAD_PATCH,
			"%s is not an ELF file; give a shared object made with cc -shared",
			elf->name);
	bytes = elf_view(elf, 0, sizeof(elf->header));
	if (!bytes)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s is truncated: %zu bytes do not hold an ELF header; "
				  "build or copy it again",
				  elf->name, elf->store.length);
	memcpy(&elf->header, bytes, sizeof(elf->header));
	return check_ident(elf, why);
}

/* All phases of reading; the caller owns elf and closes it on failure. */
static int read_all(struct inj_elf *elf, struct inj_why *why)
{
	size_t n_sections = 0, n_segments = 0, names = 0;
	int r = read_header(elf, why);

	if (r == 0)
		r = elf_section_counts(elf, &n_sections, &n_segments, &names, why);
	if (r == 0)
		r = elf_read_sections(elf, n_sections, names, why);
	if (r == 0)
		r = elf_read_segments(elf, n_segments, why);
	if (r == 0)
		r = elf_read_dynamic(elf, why);
	if (r == 0)
		r = elf_check_relocations(elf, why);
	if (r == 0)
		elf_find_build_id(elf);
	return r;
}

static struct inj_elf *elf_new(const char *name)
{
	struct inj_elf *elf = calloc(1, sizeof(*elf));

	if (!elf)
		return NULL;
	elf->store.fd = -1;
	snprintf(elf->name, sizeof(elf->name), "%s", name);
	return elf;
}

int inj_elf_open_owned(void *bytes, size_t length, const char *name_for_messages,
		       struct inj_elf **ret, struct inj_why *why)
{
	INJ_FREE void *owned = bytes;
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = elf_new(name_for_messages);

	if (!elf)
		return inj_broke(why, -ENOMEM, "cannot open %s", name_for_messages);
	elf->store.bytes = INJ_TAKE(owned);
	elf->store.length = length;
	int r = read_all(elf, why);

	if (r == 0)
		*ret = INJ_TAKE(elf);
	return r;
}

int inj_elf_open_bytes(const void *bytes, size_t length, const char *name_for_messages,
		       struct inj_elf **ret, struct inj_why *why)
{
	void *copy = malloc(length ? length : 1);

	if (!copy)
		return inj_broke(why, -ENOMEM, "cannot open %s", name_for_messages);
	if (length)
		memcpy(copy, bytes, length);
	return inj_elf_open_owned(copy, length, name_for_messages, ret, why);
}

int inj_elf_open_fd(int fd, const char *name_for_messages, size_t max_bytes, struct inj_elf **ret,
		    struct inj_why *why)
{
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = elf_new(name_for_messages);
	struct stat status;

	if (!elf)
		return inj_broke(why, -ENOMEM, "cannot open %s", name_for_messages);
	if (fstat(fd, &status) < 0)
		return inj_broke(why, -errno, "cannot examine %s", name_for_messages);
	if (!S_ISREG(status.st_mode))
		return inj_refuse(why, INJ_BAD_PATCH, "%s is not a regular file; give a file",
				  elf->name);
	if (status.st_size < SELFMAG)
		return inj_refuse(
			why, INJ_BAD_PATCH,
			"%s has %lld bytes and is not an ELF file; build or copy it again",
			elf->name, (long long)status.st_size);
	if ((uint64_t)status.st_size > max_bytes)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s has %lld bytes, %zu are allowed; strip it", elf->name,
				  (long long)status.st_size, max_bytes);
	int r = elf_store_from_fd(&elf->store, fd, (size_t)status.st_size);

	if (r < 0)
		return inj_broke(why, r, "cannot read %s", elf->name);
	r = read_all(elf, why);
	if (r == 0)
		*ret = INJ_TAKE(elf);
	return r;
}

void inj_elf_close(struct inj_elf *elf)
{
	if (!elf)
		return;
	free(elf->segments);
	free(elf->loads);
	free(elf->sections);
	free(elf->section_offsets);
	free(elf->version_names);
	free(elf->file_marks);
	free(elf->relr);
	elf_store_deinit(&elf->store);
	free(elf);
}

size_t inj_elf_length(const struct inj_elf *elf)
{
	return elf->store.length;
}

const Elf64_Ehdr *inj_elf_header(const struct inj_elf *elf)
{
	return &elf->header;
}

bool inj_elf_is_debug_only(const struct inj_elf *elf)
{
	return elf->debug_only;
}
