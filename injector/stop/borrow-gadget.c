/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the search for instructions of the target by which a thread can return from a signal
 * frame. Always holds: what is found lies in an executable mapping of a file or in the vDSO,
 * never in pages of ours, which a revert may take away, nor in anonymous code, which its owner
 * may rewrite. Refuses targets that contain no such instructions.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "injector/process/mem.h"
#include "injector/stop/borrow-priv.h"

#define CHUNK_BYTES 65536u
/* Longest pattern less one byte, so that none is missed between two chunks. */
#define OVERLAP_BYTES 8u
/* What a target can make us read. */
#define MAX_BYTES (256u << 20)

/* mov $15,%rax; syscall  and  mov $15,%eax; syscall */
static const uint8_t restore_long[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
static const uint8_t restore_short[] = {0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05};
/* pop %rax; ret */
static const uint8_t pop_ret[] = {0x58, 0xc3};
static const uint8_t syscall_only[] = {0x0f, 0x05};

static inj_addr find(const uint8_t *bytes, size_t length, inj_addr address, const uint8_t *pattern,
		     size_t n)
{
	const uint8_t *at = memmem(bytes, length, pattern, n);

	return at ? address + (inj_addr)(at - bytes) : 0;
}

static bool take_whole(inj_addr start, size_t length, struct inj_gadget *gadget)
{
	if (!start)
		return false;
	*gadget = (struct inj_gadget){start, start + length - sizeof(syscall_only), false};
	return true;
}

bool inj_gadget_scan(const uint8_t *bytes, size_t length, inj_addr address,
		     struct inj_gadget *gadget, inj_addr *ret_pop)
{
	inj_addr whole = find(bytes, length, address, restore_long, sizeof(restore_long));

	if (take_whole(whole, sizeof(restore_long), gadget))
		return true;
	whole = find(bytes, length, address, restore_short, sizeof(restore_short));
	if (take_whole(whole, sizeof(restore_short), gadget))
		return true;
	/* The pieces count only when the whole is nowhere: go on searching. */
	if (!*ret_pop)
		*ret_pop = find(bytes, length, address, pop_ret, sizeof(pop_ret));
	if (!gadget->syscall)
		gadget->syscall = find(bytes, length, address, syscall_only, sizeof(syscall_only));
	return false;
}

static bool has_bytes(const struct inj_process *process, inj_addr at, const uint8_t *pattern,
		      size_t length)
{
	uint8_t bytes[sizeof(restore_long)];

	return inj_mem_read(process, at, bytes, length) == 0 &&
	       memcmp(bytes, pattern, length) == 0;
}

bool inj_gadget_is_there(const struct inj_process *process, const struct inj_gadget *gadget)
{
	size_t length = gadget->syscall + sizeof(syscall_only) - gadget->start;

	if (gadget->in_two_pieces)
		return has_bytes(process, gadget->start, pop_ret, sizeof(pop_ret)) &&
		       has_bytes(process, gadget->syscall, syscall_only, sizeof(syscall_only));
	return has_bytes(process, gadget->start,
			 length == sizeof(restore_long) ? restore_long : restore_short, length);
}

static bool name_has(const struct inj_map *map, const char *part)
{
	const char *base = strrchr(map->name, '/');

	return base && strstr(base, part);
}

/* In which round a mapping is looked at; -1: never. */
static int round_of(const struct inj_map *map)
{
	if (!(map->prot & PROT_EXEC) || !(map->prot & PROT_READ) || (map->prot & PROT_WRITE))
		return -1;
	if (strcmp(map->name, "[vdso]") == 0)
		return 2;
	if (map->name[0] != '/' || strncmp(map->name, "/memfd:", 7) == 0 || map->inode == 0)
		return -1;
	return name_has(map, "/libc.so") || name_has(map, "/libc-") || name_has(map, "/ld-musl")
		       ? 0
		       : 1;
}

#define N_ROUNDS 3

struct search {
	const struct inj_process *process;
	struct inj_gadget gadget;
	inj_addr pop_ret;
	size_t n_read;
};

/* True: found. What cannot be read is passed over. */
static bool scan_map(struct search *search, const struct inj_map *map)
{
	uint8_t bytes[CHUNK_BYTES + OVERLAP_BYTES];
	inj_addr at = map->range.start;

	while (at < map->range.end && search->n_read < MAX_BYTES) {
		size_t length = sizeof(bytes);

		if (length > map->range.end - at)
			length = map->range.end - at;
		if (inj_mem_read(search->process, at, bytes, length) < 0)
			return false;
		search->n_read += length;
		if (inj_gadget_scan(bytes, length, at, &search->gadget, &search->pop_ret))
			return true;
		at += CHUNK_BYTES;
	}
	return false;
}

int inj_gadget_find(const struct inj_process *process, const struct inj_maps *maps,
		    struct inj_gadget *ret, struct inj_why *why)
{
	struct search search = {.process = process};

	for (int round = 0; round < N_ROUNDS; round++) {
		for (size_t i = 0; i < maps->n_items; i++) {
			if (round_of(&maps->items[i]) == round &&
			    scan_map(&search, &maps->items[i])) {
				*ret = search.gadget;
				return 0;
			}
		}
	}
	if (search.pop_ret && search.gadget.syscall) {
		*ret = (struct inj_gadget){search.pop_ret, search.gadget.syscall, true};
		return 0;
	}

	/* Of a process that ended nothing can be read. */
	if (inj_process_check(process, why) == INJ_PROCESS_GONE)
		return INJ_PROCESS_GONE;

	int r = inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
			   "process %d (%s) contains no instructions that return from a signal "
			   "handler, so none of its threads can be borrowed without risk",
			   (int)process->pid, process->comm);

	if (why)
		why->pid = process->pid;
	return r;
}
