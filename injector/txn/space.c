/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory of ours in a target. The target makes the memfd and the mappings through a borrowed
 * thread; we only fetch the descriptor, set the size and write through our own shared view.
 * Mappings never replace anything (MAP_FIXED_NOREPLACE) and are only removed after a look at what
 * really lies there.
 */
#include "injector/txn/space.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "injector/base/fault-point.h"
#include "injector/txn/ours.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

static int remote(struct inj_borrow *borrow, long number, const uint64_t arguments[6],
		  int64_t *ret_result, struct inj_why *why)
{
	return inj_borrow_syscall(borrow, number, arguments, ret_result, why);
}

static int make_remote(const struct inj_process *process, struct inj_borrow *borrow,
		       const char *name, int64_t *ret_fd, struct inj_why *why)
{
	/* Since Linux 6.3 vm.memfd_noexec may make memfds non-executable unless asked; older
	 * kernels do not know the flag. */
	const uint64_t flags[] = { MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC,
				   MFD_CLOEXEC | MFD_ALLOW_SEALING };
	inj_addr name_at;
	int64_t result = -EINVAL;
	int r;

	r = inj_borrow_put(borrow, name, strlen(name) + 1, &name_at);
	if (r < 0)
		return inj_broke(why, r, "preparing a call in process %d", process->pid);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(flags) && result == -EINVAL; i++) {
		r = remote(borrow, SYS_memfd_create, (uint64_t[6]){name_at, flags[i]}, &result,
			   why);
		if (r != 0)
			return r;
	}
	if (result == -EMFILE || result == -ENFILE || result == -EACCES)
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "Process %d cannot make the memory file for the patch (%s). %s",
				  process->pid, strerror((int)-result),
				  result == -EACCES ?
					  "Set vm.memfd_noexec below 2 in its pid namespace." :
					  "Raise its limit of open files (prlimit --nofile) and "
					  "try again.");
	if (result < 0)
		return inj_broke(why, (int)result, "memfd_create in process %d", process->pid);
	inj_fault_point("memfd-made");
	*ret_fd = result;
	return 0;
}

static int fetch_fd(const struct inj_process *process, int64_t remote_fd)
{
	int fd = (int)syscall(SYS_pidfd_getfd, process->pidfd, (int)remote_fd, 0);

	if (fd < 0)
		return -errno;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

static int close_remote(struct inj_borrow *borrow, int64_t fd, struct inj_why *why)
{
	int64_t closed;

	return remote(borrow, SYS_close, (uint64_t[6]){ (uint64_t)fd }, &closed, why);
}

/* Is it the file that was made a moment ago? Another thread of the target may have put any other
 * under that number. */
static int check_fetched(int fd)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	return fcntl(fd, F_GET_SEALS) == 0 && status.st_nlink == 0 && status.st_size == 0 ? 0
											  : -EPERM;
}

/* Pages are reserved now: a full machine must show here, not as SIGBUS in the target. */
static int reserve(int fd, size_t bytes)
{
	int r = ftruncate(fd, (off_t)bytes) < 0 || fallocate(fd, 0, 0, (off_t)bytes) < 0 ||
				fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0 ?
			-errno :
			0;

	inj_fault_point("memfd-sized");
	return r;
}

/* Size and view of the fetched file. */
static int size_and_view(struct inj_space *space, size_t bytes, struct inj_why *why)
{
	void *view;
	int r = reserve(space->fd, bytes);

	if (r < 0)
		return inj_broke(why, r, "reserving %zu bytes for the patch", bytes);
	view = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, space->fd, 0);
	if (view == MAP_FAILED)
		return inj_broke(why, -errno, "mapping the memory of the patch");
	space->view = view;
	space->bytes = bytes;
	return 0;
}

int inj_space_make(const struct inj_process *process, struct inj_borrow *borrow, const char *name,
		   size_t bytes, struct inj_space *ret, struct inj_why *why)
{
	struct inj_space space = { .process = process, .fd = -1 };
	int r = make_remote(process, borrow, name, &space.remote_fd, why);

	if (r != 0)
		return r;
	space.fd = fetch_fd(process, space.remote_fd);
	if (space.fd >= 0)
		r = check_fetched(space.fd);
	if (r < 0)
		inj_broke(why, r, "process %d exchanged the memory file of the patch",
			  process->pid);
	else if (space.fd < 0)
		r = inj_broke(why, space.fd, "taking over the memory file of process %d",
			      process->pid);
	else
		r = size_and_view(&space, bytes, why);
	if (r != 0) {
		close_remote(borrow, space.remote_fd, NULL);
		inj_space_deinit(&space);
		return r;
	}
	*ret = space;
	return 0;
}

static int map_one(struct inj_space *space, struct inj_borrow *borrow,
		   const struct dsu_ledger_area *area, struct inj_why *why)
{
	const uint64_t arguments[6] = {
		area->address, area->bytes, area->prot, MAP_PRIVATE | MAP_FIXED_NOREPLACE,
		(uint64_t)space->remote_fd, area->offset,
	};
	int64_t result;
	int r = remote(borrow, SYS_mmap, arguments, &result, why);

	if (r != 0)
		return r;
	if (result == -EEXIST)
		return inj_refuse(why, INJ_BUSY,
				  "Process %d keeps putting memory of its own where the patch is "
				  "to lie, last at 0x%llx. Try again when it does less.",
				  space->process->pid, (unsigned long long)area->address);
	if (result == -ENOMEM || result == -EPERM || result == -EACCES)
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "Process %d has no room for %llu bytes at 0x%llx (%s). Raise its "
				  "address space limit, or the number of mappings "
				  "(vm.max_map_count).",
				  space->process->pid, (unsigned long long)area->bytes,
				  (unsigned long long)area->address, strerror((int)-result));
	if (result < 0)
		return inj_broke(why, (int)result, "mmap in process %d", space->process->pid);
	if ((inj_addr)result != area->address)
		return inj_broke(why, -EPROTO, "mmap in process %d ignored the address",
				 space->process->pid);
	inj_fault_point("area-mapped");
	return 0;
}

/*
 * Areas that follow each other in memory, and for mapping in the file and with one protection too,
 * are one piece. ret: n of them. Return: how many are used.
 */
static size_t join(const struct dsu_ledger_area *areas, size_t n, bool for_mapping,
		   struct dsu_ledger_area *ret)
{
	size_t n_pieces = 0;

	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		while (k < n_pieces &&
		       (ret[k].address + ret[k].bytes != areas[i].address ||
			(for_mapping && (ret[k].offset + ret[k].bytes != areas[i].offset ||
					 ret[k].prot != areas[i].prot))))
			k++;
		if (k == n_pieces)
			ret[n_pieces++] = areas[i];
		else
			ret[k].bytes += areas[i].bytes;
	}
	return n_pieces;
}

struct mapping {
	struct inj_space *space;
	struct inj_borrow *borrow;
	const struct dsu_ledger_area *areas;
	size_t n;
	struct inj_why *why;
};

static int map_all(const struct mapping *mapping)
{
	INJ_FREE struct dsu_ledger_area *pieces = calloc(mapping->n + 1, sizeof(*pieces));
	size_t n_pieces;

	if (!pieces)
		return inj_broke(mapping->why, -ENOMEM, "mapping the memory of the patch");
	n_pieces = join(mapping->areas, mapping->n, true, pieces);
	for (size_t i = 0; i < n_pieces; i++) {
		struct inj_why second = {};
		int r = map_one(mapping->space, mapping->borrow, &pieces[i], mapping->why);

		if (r == 0)
			continue;
		if (i > 0 && inj_space_unmap(mapping->space->process, mapping->borrow, pieces, i,
					     &second) != 0)
			inj_why_append(mapping->why, &second);
		return r;
	}
	return 0;
}

static int map_and_close(void *argument)
{
	const struct mapping *mapping = argument;
	struct inj_why second = {};
	const int r = map_all(mapping);
	const int closed = close_remote(mapping->borrow, mapping->space->remote_fd, &second);

	inj_fault_point("memfd-closed");
	if (closed != 0 && r == 0 && mapping->why)
		*mapping->why = second;
	return r ? r : closed;
}

int inj_space_map(struct inj_space *space, struct inj_borrow *borrow,
		  const struct dsu_ledger_area *areas, size_t n, struct inj_why *why)
{
	struct mapping mapping = { space, borrow, areas, n, why };

	return inj_borrow_run(borrow, map_and_close, &mapping);
}

int inj_space_seal(struct inj_space *space)
{
	if (space->view && munmap(space->view, space->bytes) < 0)
		return -errno;
	space->view = NULL;

	int r = fcntl(space->fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) < 0 ? -errno : 0;

	inj_fault_point("memfd-sealed");
	return r;
}

void inj_space_deinit(struct inj_space *space)
{
	if (space->view)
		munmap(space->view, space->bytes);
	if (space->fd >= 0)
		close(space->fd);
	space->view = NULL;
	space->fd = -1;
}

static int unmap_one(struct inj_borrow *borrow, struct inj_range range, struct inj_why *why)
{
	int64_t result;
	int r = remote(borrow, SYS_munmap, (uint64_t[6]){ range.start, range.end - range.start },
		       &result, why);

	if (r != 0)
		return r;
	if (result < 0)
		return inj_broke(why, (int)result, "munmap at 0x%llx",
				 (unsigned long long)range.start);
	inj_fault_point("area-unmapped");
	return 0;
}

/* Start of the first mapping above an address that is in none, `end` at the most. */
static inj_addr next_mapping(const struct inj_maps *maps, inj_addr at, inj_addr end)
{
	for (size_t i = 0; i < maps->n_items; i++)
		if (maps->items[i].range.start > at)
			return maps->items[i].range.start < end ? maps->items[i].range.start : end;
	return end;
}

/* Piece by piece: only what is mappings of ours right now goes. */
static int unmap_piece(const struct inj_maps *maps, struct inj_borrow *borrow,
		       const struct dsu_ledger_area *piece, struct inj_why *why)
{
	const inj_addr end = piece->address + piece->bytes;
	inj_addr at = piece->address;
	int r = 0;

	while (r == 0 && at < end) {
		const struct inj_map *map = inj_maps_find(maps, at);
		inj_addr stop = at;

		if (!map) {
			at = next_mapping(maps, at, end);
			continue;
		}
		if (!inj_map_is_ours(map)) {
			at = map->range.end;
			continue;
		}
		for (; map && inj_map_is_ours(map) && stop < end; map = inj_maps_find(maps, stop))
			stop = map->range.end < end ? map->range.end : end;
		r = unmap_one(borrow, (struct inj_range){ at, stop }, why);
		at = stop;
	}
	return r;
}

struct unmapping {
	const struct inj_maps *maps;
	struct inj_borrow *borrow;
	const struct dsu_ledger_area *pieces;
	size_t n;
	struct inj_why *why;
};

static int unmap_all(void *argument)
{
	const struct unmapping *unmapping = argument;
	int r = 0;

	for (size_t i = unmapping->n; r == 0 && i-- > 0;)
		r = unmap_piece(unmapping->maps, unmapping->borrow, &unmapping->pieces[i],
				unmapping->why);
	return r;
}

int inj_space_unmap(const struct inj_process *process, struct inj_borrow *borrow,
		    const struct dsu_ledger_area *areas, size_t n, struct inj_why *why)
{
	INJ_FREE struct dsu_ledger_area *pieces = calloc(n + 1, sizeof(*pieces));
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = NULL;
	int r;

	if (!pieces)
		return inj_broke(why, -ENOMEM, "removing the memory of a patch");
	r = inj_maps_read(process, &maps, why);
	if (r != 0)
		return r;
	struct unmapping unmapping = { maps, borrow, pieces, join(areas, n, false, pieces), why };

	return inj_borrow_run(borrow, unmap_all, &unmapping);
}

static bool links_to_us(int directory, const char *name)
{
	char target[sizeof(INJ_AREA_NAME_PREFIX)];
	ssize_t n = readlinkat(directory, name, target, sizeof(target) - 1);

	return n == (ssize_t)sizeof(target) - 1 &&
	       memcmp(target, INJ_AREA_NAME_PREFIX, sizeof(target) - 1) == 0;
}

static DIR *open_fds(const struct inj_process *process)
{
	int fd = inj_process_openat(process, "fd", O_RDONLY | O_DIRECTORY);
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;

	if (!directory && fd >= 0)
		close(fd);
	return directory;
}

bool inj_space_has_strays(const struct inj_process *process)
{
	INJ_CLEANUP(inj_dir_guard) DIR *directory = open_fds(process);

	for (struct dirent *entry; directory && (entry = readdir(directory));)
		if (links_to_us(dirfd(directory), entry->d_name))
			return true;
	return !directory;
}

int inj_space_close_strays(const struct inj_process *process, struct inj_borrow *borrow,
			   struct inj_why *why)
{
	INJ_CLEANUP(inj_dir_guard) DIR *directory = open_fds(process);
	int n = 0;

	if (!directory)
		return inj_broke(why, -errno, "listing descriptors of process %d", process->pid);
	for (struct dirent *entry; (entry = readdir(directory));) {
		int r;

		if (!links_to_us(dirfd(directory), entry->d_name))
			continue;
		r = close_remote(borrow, strtol(entry->d_name, NULL, 10), why);
		if (r != 0)
			return r;
		n++;
	}
	return n;
}
