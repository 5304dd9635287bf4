/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the choice of the thread to borrow. Always holds: nobody is touched here; /proc tells
 * what every thread is doing. Threads in an uninterruptible sleep (vfork among them) are left
 * out, since they do not stop when asked. Among the others those come first whom our death would
 * cost least: a running thread loses nothing, a wait without a timeout begins again, a wait with
 * a timeout would end late. Refuses stacks that may not be the thread's own: the small stacks of
 * coroutines and goroutines lie side by side, and what is below the stack pointer may belong to
 * somebody else.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "injector/process/tasks.h"
#include "injector/stop/borrow-priv.h"

/* Enough to find a good one; more would only cost time in a process with thousands. */
#define MAX_EXAMINED 48
#define FILE_MAX_BYTES 4096

#define RANK_RUNNING 0
#define RANK_ENDLESS 1
#define RANK_TIMED 2
#define RANK_UNKNOWN 3

/* Where the runtime of Go puts its heap, goroutine stacks included (runtime/malloc.go). */
#define GO_HEAP_START 0xc000000000u
#define GO_HEAP_END 0xc100000000u
/* No thread stack is larger than this by default; one mapping of that size is one stack. */
#define LARGEST_STACK_BYTES (64u << 20)

/* Calls whose wait may have an end: by argument where it can be seen, else always. */
static const struct {
	long number;
	int argument;     /* index of the timeout, -1: assume one */
	uint64_t endless; /* value that means none */
} timed_calls[] = {
	{SYS_nanosleep, -1, 0},
	{SYS_clock_nanosleep, -1, 0},
	{SYS_poll, 2, UINT64_MAX},
	{SYS_ppoll, 2, 0},
	{SYS_select, 4, 0},
	{SYS_pselect6, 4, 0},
	{SYS_futex, 3, 0},
	{SYS_epoll_wait, 3, UINT64_MAX},
	{SYS_epoll_pwait, 3, UINT64_MAX},
	{SYS_epoll_pwait2, 3, 0},
	{SYS_semtimedop, 3, 0},
	{SYS_rt_sigtimedwait, 2, 0},
	{SYS_io_getevents, 4, 0},
	{SYS_io_pgetevents, 4, 0},
	{SYS_recvfrom, -1, 0},
	{SYS_recvmsg, -1, 0},
	{SYS_accept, -1, 0},
	{SYS_accept4, -1, 0},
	{SYS_restart_syscall, -1, 0},
};

static int rank_call(long number, const uint64_t arguments[6])
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(timed_calls); i++) {
		if (timed_calls[i].number != number)
			continue;
		if (timed_calls[i].argument < 0)
			return RANK_TIMED;

		uint64_t value = arguments[timed_calls[i].argument];
		uint64_t endless = timed_calls[i].endless;

		/* Timeouts in milliseconds are ints: only the low half is the argument's. */
		if (endless == UINT64_MAX)
			return (int32_t)value < 0 ? RANK_ENDLESS : RANK_TIMED;
		return value == endless ? RANK_ENDLESS : RANK_TIMED;
	}
	return RANK_ENDLESS;
}

/* /proc/PID/task/TID/syscall: "running", or the number and six arguments in hexadecimal. */
static int rank_sleeping(const struct inj_process *process, pid_t tid)
{
	INJ_FREE char *text = NULL;
	uint64_t arguments[6];
	char name[48];
	long number;

	snprintf(name, sizeof(name), "task/%d/syscall", (int)tid);
	if (inj_process_read_file(process, name, FILE_MAX_BYTES, &text, NULL) < 0)
		return RANK_UNKNOWN;
	if (strncmp(text, "running", 7) == 0)
		return RANK_RUNNING;
	if (sscanf(text, "%ld %lx %lx %lx %lx %lx %lx", &number, &arguments[0], &arguments[1],
		   &arguments[2], &arguments[3], &arguments[4], &arguments[5]) != 7)
		return RANK_UNKNOWN;
	return rank_call(number, arguments);
}

/* -1: never. */
static int rank_of(const struct inj_process *process, pid_t tid, bool *ret_has_seccomp)
{
	struct inj_status status;

	if (inj_status_read(process, tid, &status) < 0)
		return -1;
	*ret_has_seccomp = status.seccomp != 0;
	switch (status.state) {
	case 'R':
		return RANK_RUNNING;
	case 'S':
	case 'T':
		return rank_sleeping(process, tid);
	default:
		return -1;
	}
}

static int by_rank(const void *left, const void *right)
{
	const struct inj_candidate *a = left;
	const struct inj_candidate *b = right;

	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return (a->tid > b->tid) - (a->tid < b->tid);
}

int inj_candidates_read(const struct inj_process *process, pid_t only,
			struct inj_candidate **ret, size_t *ret_n)
{
	INJ_FREE pid_t *tids = NULL;
	size_t n_tids = 0;
	size_t n = 0;
	int r = inj_tasks_read(process, &tids, &n_tids);

	if (r < 0)
		return r;
	if (n_tids > MAX_EXAMINED && !only)
		n_tids = MAX_EXAMINED;

	INJ_FREE struct inj_candidate *candidates = calloc(n_tids, sizeof(*candidates));

	if (!candidates)
		return -ENOMEM;
	for (size_t i = 0; i < n_tids; i++) {
		struct inj_candidate candidate = {.tid = tids[i]};

		if (only && tids[i] != only)
			continue;
		candidate.rank = rank_of(process, tids[i], &candidate.has_seccomp);
		if (candidate.rank >= 0)
			candidates[n++] = candidate;
	}
	qsort(candidates, n, sizeof(*candidates), by_rank);
	*ret = INJ_TAKE(candidates);
	*ret_n = n;
	return 0;
}

/* Is there a hole, or a page nobody may touch, right below the mapping? */
static bool has_guard(const struct inj_maps *maps, const struct inj_map *map)
{
	const struct inj_map *below = inj_maps_find(maps, map->range.start - 1);

	return !below || below->prot == PROT_NONE;
}

static bool is_nameless(const struct inj_map *map)
{
	return map->name[0] == '\0' || strncmp(map->name, "[anon", 5) == 0;
}

bool inj_stack_has_room(const struct inj_maps *maps, const struct user_regs_struct *regs,
			inj_addr low)
{
	const struct inj_map *map = inj_maps_find(maps, regs->rsp - 1);

	if (!map || low < map->range.start || low >= regs->rsp || map->shared ||
	    (map->prot & (PROT_READ | PROT_WRITE)) != (PROT_READ | PROT_WRITE))
		return false;
	if (strcmp(map->name, "[stack]") == 0)
		return true;
	if (!is_nameless(map) || (regs->rsp >= GO_HEAP_START && regs->rsp < GO_HEAP_END))
		return false;
	/* The C libraries put a thread's control block, where fs points, on top of its stack. */
	if (inj_range_has(map->range, regs->fs_base) && regs->fs_base > regs->rsp)
		return true;
	return has_guard(maps, map) && map->range.end - map->range.start <= LARGEST_STACK_BYTES;
}
