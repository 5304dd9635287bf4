/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Warming a walker while the target runs. Threads that wait now will mostly wait at the same place
 * when they are held; walking a few of them reads the parts of the module files and fills in the
 * rules that the hold will need. What is read from a running stack may be torn and the registers
 * are not known but for two: the walks lead nowhere or somewhere, their results are thrown away.
 */
#include <stdio.h>
#include <string.h>

#include "injector/process/tasks.h"
#include "injector/unwind/walker-priv.h"

enum {
	MAX_STEPS = 64,
	MAX_LINE = 256,
};

/* "nr a b c d e f sp pc" of a thread that waits in the kernel, "-1 sp pc" or "running". */
static bool read_place(const struct inj_process *process, pid_t tid, struct inj_place *ret)
{
	char name[64];
	INJ_FREE char *text = NULL;

	snprintf(name, sizeof(name), "task/%d/syscall", tid);
	if (inj_process_read_file(process, name, MAX_LINE, &text, NULL) < 0)
		return false;
	char *pc = strrchr(text, ' ');

	if (!pc)
		return false;
	*pc = '\0';
	char *sp = strrchr(text, ' ');

	if (!sp)
		return false;
	*ret = (struct inj_place){
		.pc = strtoull(pc + 1, NULL, 16),
		.sp = strtoull(sp + 1, NULL, 16),
	};
	return ret->pc != 0;
}

/* Evidence of nothing: only what it leaves in caches counts. */
static void warm_thread(struct inj_walker *walker, const struct user_regs_struct *regs)
{
	struct inj_thread_stack stack = {.regs = *regs};

	walker->walking = &stack;
	inj_unwinder_is_odd(walker->unwinder, regs->rip);
	const struct inj_frame_state *frame =
		inj_unwinder_start(walker->unwinder, regs, inj_snapshot_window, walker);

	while (frame && frame->number < MAX_STEPS &&
	       inj_unwinder_step(walker->unwinder) == INJ_STEP_MORE)
		;
	walker->walking = NULL;
}

void inj_walker_warm(struct inj_walker *walker, const struct inj_place *places, size_t n)
{
	for (size_t i = 0; i < n; i++)
		warm_thread(walker, &(struct user_regs_struct){.rip = places[i].pc,
							       .rsp = places[i].sp});
}

size_t inj_places_read(const struct inj_process *process, struct inj_place *places, size_t max)
{
	INJ_FREE pid_t *tids = NULL;
	size_t n = 0, n_places = 0;

	if (max == 0 || inj_tasks_read(process, &tids, &n) < 0)
		return 0;
	/* Evenly spread: the first threads of a server often do something else than all others. */
	size_t stride = n / max + 1;

	for (size_t i = 0; i < n && n_places < max; i += stride)
		n_places += read_place(process, tids[i], &places[n_places]);
	return n_places;
}
