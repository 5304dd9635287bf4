/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finds the separate debug file of a module as gdb does: by build-id, then by .gnu_debuglink, in
 * the target's root and then in ours. Always holds: a file that is handed out has the module's
 * build-id, or, where the two do not both have one, the CRC that the module names. A debug file of
 * another build would give plausible, wrong addresses; it counts as absent.
 */
#include <string.h>
#include <zlib.h>

#include "injector/symbol/symbol-priv.h"

#define DEBUG_ROOT        "usr/lib/debug"
#define CRC_CHUNK_BYTES   65536
#define DEBUGLINK_MIN_ALL 8 /* one character, NUL, padding, CRC */

/* What to look for: the name and CRC of .gnu_debuglink. */
struct debuglink {
	const char *name; /* NULL: none */
	uint32_t crc;
};

static struct debuglink read_debuglink(const struct inj_module *module)
{
	const struct inj_elf_section *section =
		inj_elf_section_named(module->elf, ".gnu_debuglink");
	struct debuglink link = {0};

	if (!section || !section->bytes || section->size < DEBUGLINK_MIN_ALL)
		return link;
	size_t length = strnlen((const char *)section->bytes, section->size);
	size_t at = (length + 1 + 3) / 4 * 4;

	if (length == 0 || at > section->size - sizeof(link.crc) ||
	    memchr(section->bytes, '/', length))
		return link;
	memcpy(&link.crc, section->bytes + at, sizeof(link.crc));
	link.name = (const char *)section->bytes;
	return link;
}

static bool crc_agrees(int fd, uint32_t expected)
{
	INJ_FREE uint8_t *buffer = malloc(CRC_CHUNK_BYTES);
	uint32_t crc = 0;
	off_t at = 0;

	for (ssize_t n = 1; buffer && n > 0; at += n) {
		n = pread(fd, buffer, CRC_CHUNK_BYTES, at);
		if (n < 0)
			return false;
		crc = (uint32_t)crc32(crc, buffer, (uInt)n);
	}
	return buffer && crc == expected;
}

static bool same_build(const struct inj_module *module, const struct inj_elf *debug)
{
	size_t n;
	const uint8_t *id = inj_elf_build_id(debug, &n);

	return n && n <= INJ_BUILD_ID_MAX && n == module->n_build_id &&
	       memcmp(id, module->build_id, n) == 0;
}

static bool is_hex(const char *text)
{
	size_t n = strspn(text, "0123456789abcdef");

	return n >= 4 && n <= 2 * INJ_BUILD_ID_MAX && text[n] == '\0';
}

static bool is_file_name(const char *text)
{
	return text[0] != '\0' && !strchr(text, '/') && strcmp(text, ".") != 0 &&
	       strcmp(text, "..") != 0;
}

/* Return: the path below the root fits and makes sense. */
static bool make_path(const struct inj_debug_name *name, const char *module, char *ret, size_t size)
{
	/* What comes before the module's directory, and after it. */
	static const char *const places[][2] = {
		[INJ_DEBUG_BESIDE] = {"", ""},
		[INJ_DEBUG_BELOW] = {"", "/.debug"},
		[INJ_DEBUG_TREE] = {DEBUG_ROOT, ""},
	};
	char directory[4096];
	char *slash;
	int n;

	if (!memchr(name->text, '\0', sizeof(name->text)) || name->place >= INJ_DEBUG_N_PLACES)
		return false;
	if (name->place == INJ_DEBUG_BUILD_ID) {
		if (!is_hex(name->text))
			return false;
		n = snprintf(ret, size, DEBUG_ROOT "/.build-id/%.2s/%s.debug", name->text,
			     name->text + 2);
		return n > 0 && (size_t)n < size;
	}
	clean_path(module, directory, sizeof(directory));
	slash = strrchr(directory, '/');
	if (!slash || !is_file_name(name->text))
		return false;
	*slash = '\0';
	n = snprintf(ret, size, "%s%s%s/%s", places[name->place][0], directory,
		     places[name->place][1], name->text);
	return n > 0 && (size_t)n < size;
}

int inj_file_open_debug(const struct inj_process *process, const char *path,
			const struct inj_debug_name *name)
{
	char place[4096 + 512];

	if (process->door)
		return process->door->open_debug(process->door->context, name);
	if (name->root >= INJ_DEBUG_N_ROOTS || !make_path(name, path, place, sizeof(place)))
		return -EINVAL;

	INJ_CLOSE int root_fd = root_open(process, name->root);

	return root_fd < 0 ? root_fd : root_open_file(root_fd, place);
}

/* Open one candidate; NULL unless it is the module's. crc: NULL when no debuglink led here. */
static struct inj_elf *open_candidate(const struct inj_process *process,
				      const struct inj_module *module,
				      const struct inj_debug_name *name, const uint32_t *crc)
{
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *debug = NULL;
	INJ_CLOSE int fd = inj_file_open_debug(process, module->path, name);
	size_t n;

	/* A debuglink may lead back to the stripped file itself. */
	if (fd < 0 || inj_elf_open_fd(fd, name->text, MODULE_MAX_BYTES, &debug, NULL) != 0 ||
	    !inj_elf_n_symbols(debug, SHT_SYMTAB))
		return NULL;
	if (same_build(module, debug))
		return INJ_TAKE(debug);
	inj_elf_build_id(debug, &n);
	if (crc && (!n || !module->n_build_id) && crc_agrees(fd, *crc))
		return INJ_TAKE(debug);
	return NULL;
}

static struct inj_elf *find_by_build_id(const struct inj_process *process,
					const struct inj_module *module,
					struct inj_debug_name *name)
{
	if (module->n_build_id < 2)
		return NULL;
	name->place = INJ_DEBUG_BUILD_ID;
	snprintf(name->text, sizeof(name->text), "%s", module->build_id_hex);
	return open_candidate(process, module, name, NULL);
}

static struct inj_elf *find_by_link(const struct inj_process *process,
				    const struct inj_module *module, struct inj_debug_name *name)
{
	struct debuglink link = read_debuglink(module);

	if (!link.name || strlen(link.name) >= sizeof(name->text))
		return NULL;
	snprintf(name->text, sizeof(name->text), "%s", link.name);
	for (name->place = INJ_DEBUG_BESIDE; name->place < INJ_DEBUG_N_PLACES; name->place++) {
		struct inj_elf *debug = open_candidate(process, module, name, &link.crc);

		if (debug)
			return debug;
	}
	return NULL;
}

static struct inj_elf *find(const struct inj_process *process, const struct inj_module *module)
{
	struct inj_debug_name name = {.module = module->span.start};

	for (name.root = 0; name.root < INJ_DEBUG_N_ROOTS; name.root++) {
		struct inj_elf *debug = find_by_build_id(process, module, &name);

		if (!debug)
			debug = find_by_link(process, module, &name);
		if (debug)
			return debug;
	}
	return NULL;
}

const struct inj_elf *inj_module_debug_elf(const struct inj_modules *modules,
					   const struct inj_module *module)
{
	struct own_module *own = own_module(module);

	if (!own->debug_searched && module->kind != INJ_MODULE_VDSO)
		own->debug = find(modules->process, module);
	own->debug_searched = true;
	own->public.debug_elf = own->debug;
	return own->debug;
}
