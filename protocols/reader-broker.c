/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a reader may have opened. It asks by name from a short list, and every path is made here.
 * Always holds: a file that is handed over is mapped by the target, or lies where separate debug
 * files of such a file lie and is one that everybody or the target's user may read, for the target
 * chooses where a link there leads; it is regular, of bounded size, begins as ELF files do, is no
 * core, and is open for reading only. While targets may be held no file is opened: it may lie where
 * opening it waits for whoever serves it, who may be held as well. So a reader in the hands of an
 * attacker learns nothing that the target's own files do not say.
 */
#include <elf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "injector/base/io.h"
#include "injector/symbol/file.h"
#include "protocols/reader-priv.h"

#define MAX_TEXT (64u << 20)
#define MAX_STATUS 65536

void upd_broker_deinit(struct upd_broker *broker)
{
	inj_maps_free(INJ_TAKE(broker->maps));
}

static bool name_in(const struct upd_message *want, size_t skip, const char *const *names)
{
	for (size_t i = 0; names[i]; i++)
		if (want->n_bytes == skip + strlen(names[i]) + 1 &&
		    memcmp(want->bytes + skip, names[i], strlen(names[i]) + 1) == 0)
			return true;
	return false;
}

/* As somebody whom the kernel does not tell where in the machine's memory a page lies; it goes by
 * who opened the file. proc(5). */
static int open_pagemap(const struct inj_process *process)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct own[2], less[2];
	int fd;

	if (syscall(SYS_capget, &header, own) < 0)
		return -errno;
	memcpy(less, own, sizeof(less));
	less[0].effective &= ~(1u << CAP_SYS_ADMIN);
	if (syscall(SYS_capset, &header, less) < 0)
		return -errno;
	fd = inj_process_openat(process, "pagemap", O_RDONLY);
	syscall(SYS_capset, &header, own);
	return fd;
}

static int open_below_proc(const struct upd_broker *broker, const struct upd_message *want,
			   int *ret_fd)
{
	static const char *const paths[] = { "exe", NULL };
	static const char *const files[] = { "pagemap", NULL };
	int fd = -EPERM;

	if (name_in(want, 0, paths))
		fd = inj_process_openat(broker->process, paths[0], O_PATH);
	else if (name_in(want, 0, files))
		fd = open_pagemap(broker->process);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

/* The mappings that the reader hears of are those by which its plan is judged and its wishes are
 * understood. */
static int remember_maps(struct upd_broker *broker, const char *text, size_t length)
{
	struct inj_maps *maps;
	char *copy = malloc(length + 1);
	int r;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, length);
	r = inj_maps_parse(copy, length, &maps);
	if (r < 0)
		return r;
	inj_maps_free(broker->maps);
	broker->maps = maps;
	return 0;
}

static int read_below_proc(struct upd_broker *broker, const struct upd_message *want,
			   char **ret_text, size_t *ret_length)
{
	static const char *const names[] = { "maps", "stat", "auxv", NULL };
	uint64_t max_bytes;
	const char *name;
	int r;

	if (want->n_bytes <= sizeof(max_bytes) || !name_in(want, sizeof(max_bytes), names))
		return -EPERM;
	memcpy(&max_bytes, want->bytes, sizeof(max_bytes));
	name = (const char *)want->bytes + sizeof(max_bytes);
	r = inj_process_read_file(broker->process, name,
				  max_bytes < MAX_TEXT ? max_bytes : MAX_TEXT, ret_text,
				  ret_length);
	if (r == 0 && strcmp(name, "maps") == 0)
		r = remember_maps(broker, *ret_text, *ret_length);
	return r;
}

/* Nothing but an ELF file: whatever else the target could have mapped is not for a reader. */
static int check_elf(int fd)
{
	Elf64_Ehdr header;
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -ENOENT;
	if (status.st_size > (off_t)INJ_FILE_MAX_BYTES)
		return -EFBIG;
	if (inj_pread_full(fd, &header, sizeof(header), 0) < 0 ||
	    memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_type == ET_CORE)
		return -ENOEXEC;
	return 0;
}

/* The user as whom the target opens files: the last of four. */
static int read_user(const struct inj_process *process, uid_t *ret)
{
	INJ_FREE char *text = NULL;
	unsigned uid;
	const char *line;
	int r = inj_process_read_file(process, "status", MAX_STATUS, &text, NULL);

	if (r < 0)
		return r;
	line = strstr(text, "\nUid:");
	if (!line || sscanf(line + 5, "%*u %*u %*u %u", &uid) != 1)
		return -EBADMSG;
	*ret = uid;
	return 0;
}

/*
 * We may read more than the target may. A path that is found in our own root says nothing about the
 * target's rights there: it may have another one.
 */
static int check_reader(const struct inj_process *process, uint32_t root, int fd)
{
	struct stat status;
	uid_t uid = 0;
	int r = fstat(fd, &status) < 0 ? -errno : read_user(process, &uid);

	if (r < 0 || (status.st_mode & S_IROTH))
		return r;
	return root == INJ_DEBUG_TARGET && (uid == 0 || status.st_uid == uid) ? 0 : -EACCES;
}

static const struct inj_map *mapping_at(const struct upd_broker *broker, inj_addr start)
{
	const struct inj_map *map = broker->maps && broker->may_open_files
					    ? inj_maps_find(broker->maps, start)
					    : NULL;

	return map && map->range.start == start && map->inode != 0 && map->name[0] == '/' ? map
											  : NULL;
}

static int hand_over(int fd, int *ret_fd)
{
	int r = fd < 0 ? fd : check_elf(fd);

	if (r == 0)
		*ret_fd = fd;
	else if (fd >= 0)
		close(fd);
	return r;
}

static int open_mapped(const struct upd_broker *broker, const struct upd_message *want, int *ret_fd)
{
	const struct inj_map *map;
	uint64_t start;

	if (want->n_bytes != sizeof(start))
		return -EPERM;
	memcpy(&start, want->bytes, sizeof(start));
	map = mapping_at(broker, start);
	return map ? hand_over(inj_file_open_mapped(broker->process, map), ret_fd) : -EPERM;
}

static int open_debug(const struct upd_broker *broker, const struct upd_message *want, int *ret_fd)
{
	const struct inj_map *map;
	struct inj_debug_name name;

	if (want->n_bytes != sizeof(name))
		return -EPERM;
	memcpy(&name, want->bytes, sizeof(name));
	map = mapping_at(broker, name.module);
	if (!map)
		return -EPERM;

	INJ_CLOSE int fd = inj_file_open_debug(broker->process, map->name, &name);
	int r = fd < 0 ? fd : check_reader(broker->process, name.root, fd);

	return r < 0 ? r : hand_over(inj_take_fd(&fd), ret_fd);
}

int upd_broker_answer(struct upd_broker *broker, int socket, const struct upd_message *want,
		      const struct upd_patience *patience)
{
	INJ_CLEANUP(upd_parcel_deinit) struct upd_parcel parcel = {};
	INJ_FREE char *text = NULL;
	INJ_CLOSE int fd = -1;
	struct upd_give give = { .result = -EPERM };
	size_t length = 0;

	if (broker->process)
		switch (want->kind) {
		case UPD_WANT_OPEN: give.result = open_below_proc(broker, want, &fd); break;
		case UPD_WANT_READ:
			give.result = read_below_proc(broker, want, &text, &length);
			break;
		case UPD_WANT_MAPPED: give.result = open_mapped(broker, want, &fd); break;
		case UPD_WANT_DEBUG: give.result = open_debug(broker, want, &fd); break;
		}
	upd_parcel_put(&parcel, &give, sizeof(give));
	if (give.result == 0)
		upd_parcel_put(&parcel, text, length);
	if (parcel.failed)
		return -ENOMEM;
	return upd_message_send(socket, UPD_GIVE, parcel.bytes, parcel.n_bytes, fd,
				patience->deadline_ns, patience->cancel_fd);
}
