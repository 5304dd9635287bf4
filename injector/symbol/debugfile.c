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

/* Open one candidate; NULL unless it is the module's. crc: NULL when no debuglink led here. */
static struct inj_elf *open_candidate(const struct inj_module *module, int root_fd,
				      const char *path, const uint32_t *crc)
{
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *debug = NULL;
	INJ_CLOSE int fd = root_open_file(root_fd, path);
	size_t n;

	/* A debuglink may lead back to the stripped file itself. */
	if (fd < 0 || inj_elf_open_fd(fd, path, MODULE_MAX_BYTES, &debug, NULL) != 0 ||
	    !inj_elf_n_symbols(debug, SHT_SYMTAB))
		return NULL;
	if (same_build(module, debug))
		return INJ_TAKE(debug);
	inj_elf_build_id(debug, &n);
	if (crc && (!n || !module->n_build_id) && crc_agrees(fd, *crc))
		return INJ_TAKE(debug);
	return NULL;
}

static struct inj_elf *find_by_build_id(const struct inj_module *module, int root_fd)
{
	char path[sizeof(DEBUG_ROOT) + sizeof(module->build_id_hex) + 32];

	if (module->n_build_id < 2)
		return NULL;
	snprintf(path, sizeof(path), DEBUG_ROOT "/.build-id/%.2s/%s.debug", module->build_id_hex,
		 module->build_id_hex + 2);
	return open_candidate(module, root_fd, path, NULL);
}

static struct inj_elf *find_by_link(const struct inj_module *module, int root_fd)
{
	/* What comes before the module's directory, and after it. */
	static const char *const places[][2] = {{"", ""}, {"", "/.debug"}, {DEBUG_ROOT, ""}};
	struct debuglink link = read_debuglink(module);
	char directory[sizeof(module->path)];
	char path[sizeof(directory) + 512];

	if (!link.name)
		return NULL;
	clean_path(module->path, directory, sizeof(directory));
	char *slash = strrchr(directory, '/');

	if (!slash)
		return NULL;
	*slash = '\0';
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(places); i++) {
		int n = snprintf(path, sizeof(path), "%s%s%s/%s", places[i][0], directory,
				 places[i][1], link.name);

		if (n < 0 || (size_t)n >= sizeof(path))
			continue;
		struct inj_elf *debug = open_candidate(module, root_fd, path, &link.crc);

		if (debug)
			return debug;
	}
	return NULL;
}

static struct inj_elf *find(const struct inj_process *process, const struct inj_module *module)
{
	for (enum root root = 0; root < N_ROOTS; root++) {
		INJ_CLOSE int root_fd = root_open(process, root);

		if (root_fd < 0)
			continue;
		struct inj_elf *debug = find_by_build_id(module, root_fd);

		if (!debug)
			debug = find_by_link(module, root_fd);
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
