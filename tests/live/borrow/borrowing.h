/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_LIVE_BORROW_BORROWING_H
#define TESTS_LIVE_BORROW_BORROWING_H

/* What every test of borrowing needs, and the fault points on the way. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "injector/process/tasks.h"
#include "injector/stop/borrow-priv.h"
#include "tests/live/hold/holding.h"

#define MAPS INJ_CLEANUP(inj_maps_guard) struct inj_maps *

/* In the order in which one borrow passes them. */
static const char *const borrow_faults[] = {
	"borrow-stopped",    "borrow-frame-written", "borrow-redirected", "borrow-masked",
	"borrow-entered",    "borrow-armed",	     "borrow-called",	  "borrow-exited",
	"borrow-entered:2",  "borrow-armed:2",	     "borrow-called:2",	  "borrow-exited:2",
	"borrow-unmasked",   "borrow-restored",
};

static inline struct inj_maps *read_maps(const struct inj_process *process)
{
	struct inj_maps *maps = NULL;
	struct inj_why why = {0};

	cr_assert_eq(inj_maps_read(process, &maps, &why), 0, "%s", why.text);
	return maps;
}

/* tid 0: any thread. */
static inline struct inj_borrow *borrow_thread(const struct inj_process *process,
					       const struct inj_maps *maps, pid_t tid)
{
	struct inj_borrow *borrow = NULL;
	struct inj_why why = {0};
	int r = inj_borrow_open_thread(process, maps, tid, inj_now_ns() + 5 * SECOND, &borrow,
				       &why);

	cr_assert_eq(r, 0, "thread %d: %d: %s", (int)tid, r, why.text);
	return borrow;
}

static inline int64_t call_remotely(struct inj_borrow *borrow, long number, uint64_t a, uint64_t b,
				    uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	const uint64_t arguments[6] = {a, b, c, d, e, f};
	struct inj_why why = {0};
	int64_t result = 0;

	cr_assert_eq(inj_borrow_syscall(borrow, number, arguments, &result, &why), 0, "%s",
		     why.text);
	return result;
}

static inline inj_addr map_remotely(struct inj_borrow *borrow, size_t bytes)
{
	int64_t at = call_remotely(borrow, SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, UINT64_MAX, 0);

	cr_assert(at > 0, "mmap: %ld", (long)at);
	return (inj_addr)at;
}

/* Map a page and take it away again. */
static inline void map_and_unmap(const struct inj_process *process, const struct inj_maps *maps,
				 pid_t tid)
{
	struct inj_borrow *borrow = borrow_thread(process, maps, tid);
	inj_addr at = map_remotely(borrow, INJ_PAGE_BYTES);

	cr_assert_eq(call_remotely(borrow, SYS_munmap, at, INJ_PAGE_BYTES, 0, 0, 0, 0), 0);
	inj_borrow_close(borrow, NULL);
}

/* In a process that is killed at the fault point on its way. tid 0: any thread. */
static inline void die_borrowing(pid_t target, pid_t tid, const char *fault)
{
	int status = 0;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		setenv("DSUD_FAULT", fault, 1);

		struct inj_process *process = open_victim(target);

		map_and_unmap(process, read_maps(process), tid);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: status %#x", fault,
		  status);
}

/* Threads of a process, ascending. */
static inline size_t list_threads(const struct inj_process *process, pid_t **ret)
{
	size_t n = 0;

	cr_assert_eq(inj_tasks_read(process, ret, &n), 0);
	return n;
}

/* Wait until all threads sleep. */
static inline void await_all_asleep(const struct inj_process *process)
{
	uint64_t deadline_ns = inj_now_ns() + 10 * SECOND;

	for (bool awake = true; awake;) {
		INJ_FREE pid_t *tids = NULL;
		size_t n = list_threads(process, &tids);

		awake = false;
		for (size_t i = 0; i < n; i++)
			awake |= thread_state(process->pid, tids[i]) != 'S';
		cr_assert(inj_now_ns() < deadline_ns, "not all threads fell asleep");
	}
}

#endif
