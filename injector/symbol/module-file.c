/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens the very file that a mapping of the target shows, whatever its path means by now.
 * map_files leads to the mapped file itself; where it is closed to us, a path is believed only when
 * device and inode agree. The headers in memory must be those of the file. Refuses devices without
 * opening them.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "injector/process/mem.h"
#include "injector/symbol/symbol-priv.h"

const char *path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The path of a mapping without the kernel's mark for files that were unlinked, and with the
 * escapes of maps undone. */
void clean_path(const char *raw, char *ret, size_t size)
{
	static const char deleted[] = " (deleted)";
	size_t length = strlen(raw);
	size_t n = 0;

	if (length > strlen(deleted) && strcmp(raw + length - strlen(deleted), deleted) == 0)
		length -= strlen(deleted);
	for (size_t i = 0; i < length && n + 1 < size; n++) {
		bool newline = length - i >= 4 && memcmp(raw + i, "\\012", 4) == 0;
		bool backslash = length - i >= 4 && memcmp(raw + i, "\\134", 4) == 0;

		ret[n] = newline ? '\n' : raw[i];
		i += newline || backslash ? 4 : 1;
	}
	ret[n] = '\0';
}

static int open_map_file(const struct inj_process *process, const struct inj_map *map)
{
	char name[64];

	snprintf(name, sizeof(name), "map_files/%llx-%llx", (unsigned long long)map->range.start,
		 (unsigned long long)map->range.end);
	INJ_CLOSE int fd = inj_process_openat(process, name, O_PATH);

	return fd < 0 ? fd : reopen_regular(fd);
}

static bool is_mapped_file(int fd, const struct inj_map *map)
{
	struct stat status;

	return fstat(fd, &status) == 0 && status.st_ino == map->inode &&
	       major(status.st_dev) == map->dev_major && minor(status.st_dev) == map->dev_minor;
}

/* A chrooted target shows paths of our root, one in another mount namespace those of its own. */
static int open_by_path(const struct inj_process *process, const struct inj_map *map)
{
	char path[4096];

	clean_path(map->name, path, sizeof(path));
	for (enum inj_debug_root root = 0; root < INJ_DEBUG_N_ROOTS; root++) {
		INJ_CLOSE int root_fd = root_open(process, root);
		INJ_CLOSE int fd = root_fd < 0 ? root_fd : root_open_file(root_fd, path);

		if (fd >= 0 && is_mapped_file(fd, map))
			return inj_take_fd(&fd);
	}
	return -ENOENT;
}

int inj_file_open_mapped(const struct inj_process *process, const struct inj_map *map)
{
	int fd;

	if (process->door)
		return process->door->open_mapped(process->door->context, map->range.start);
	fd = open_map_file(process, map);
	return fd >= 0 ? fd : open_by_path(process, map);
}

/* Does the target have the file's headers where the mapping starts? */
static bool headers_agree(const struct inj_process *process, const struct inj_map *map,
			  const struct inj_elf *elf)
{
	const Elf64_Ehdr *header = inj_elf_header(elf);
	Elf64_Ehdr seen;
	Elf64_Phdr segments[64];
	size_t n;
	const Elf64_Phdr *expected = inj_elf_segments(elf, &n);

	if (map->offset != 0)
		return true;
	if (inj_mem_read(process, map->range.start, &seen, sizeof(seen)) < 0 ||
	    memcmp(&seen, header, sizeof(seen)) != 0)
		return false;
	if (n > INJ_ARRAY_LENGTH(segments))
		n = INJ_ARRAY_LENGTH(segments);
	if (header->e_phoff > map->range.end - map->range.start ||
	    n * sizeof(*segments) > map->range.end - map->range.start - header->e_phoff)
		return true;
	return inj_mem_read(process, map->range.start + header->e_phoff, segments,
			    n * sizeof(*segments)) == 0 &&
	       memcmp(segments, expected, n * sizeof(*segments)) == 0;
}

/*
 * Return: 0. Errors: INJ_UNSUPPORTED_PROCESS (the file cannot be had or is another one);
 * INJ_BAD_PATCH (it is no sound ELF file); negative errno.
 */
int module_file_open(const struct inj_process *process, const struct inj_map *map,
		     struct inj_elf **ret, struct inj_why *why)
{
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = NULL;
	INJ_CLOSE int fd = inj_file_open_mapped(process, map);

	if (fd < 0)
		return inj_refuse(
			why, INJ_UNSUPPORTED_PROCESS,
			"cannot open the file %s that process %d has mapped at %#llx (%s); "
			"run dsud with CAP_CHECKPOINT_RESTORE, or restore the file",
			map->name, (int)process->pid, (unsigned long long)map->range.start,
			strerror(-fd));
	int r = inj_elf_open_fd(fd, map->name, MODULE_MAX_BYTES, &elf, why);

	if (r)
		return r;
	if (!headers_agree(process, map, elf))
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "the file %s is not what process %d has mapped at %#llx (it was "
				  "overwritten in place); restart the process",
				  map->name, (int)process->pid,
				  (unsigned long long)map->range.start);
	*ret = INJ_TAKE(elf);
	return 0;
}
