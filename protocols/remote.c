/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calling functions of the target. The borrowed thread must not hold a lock that the function
 * takes, or it would wait for
 * itself: a thread with any word of its stack inside the code to be avoided is given back and asked
 *   again later.
 */
#include "protocols/remote.h"

#include <time.h>

#include "injector/base/clock.h"
#include "injector/process/mem.h"

#define RETRY_NS 1000000
#define SCAN_BYTES (256u << 10)

void upd_remote_deinit(struct upd_remote *remote)
{
	inj_borrow_close(INJ_TAKE(remote->borrow), NULL);
}

static bool is_inside(const struct upd_remote *remote, uint64_t word)
{
	for (size_t i = 0; i < UPD_N_LOCKED; i++)
		if (inj_range_has(remote->avoid[i], word))
			return true;
	return false;
}

/* Could the borrowed thread be inside the code to be avoided? An unreadable stack counts as
 * inside. */
static bool may_hold_lock(const struct upd_remote *remote)
{
	INJ_FREE uint64_t *buffer = malloc(SCAN_BYTES);
	const struct inj_map *map;
	inj_addr pc, sp;
	size_t bytes;

	inj_borrow_where(remote->borrow, &pc, &sp);
	if (is_inside(remote, pc))
		return true;
	sp = (sp - 128) & ~7ull;
	map = inj_maps_find(remote->subject->maps, sp);
	if (!map || !buffer)
		return true;
	bytes = map->range.end - sp < SCAN_BYTES ? map->range.end - sp : SCAN_BYTES;
	if (inj_mem_read(remote->subject->process, sp, buffer, bytes) < 0)
		return true;
	for (size_t i = 0; i < bytes / sizeof(*buffer); i++)
		if (is_inside(remote, buffer[i]))
			return true;
	return false;
}

int upd_remote_open(struct upd_remote *remote, struct inj_why *why)
{
	const struct timespec pause = { .tv_nsec = RETRY_NS };

	while (!remote->borrow) {
		int r = inj_borrow_open(remote->subject->process, remote->subject->maps,
					remote->deadline_ns, &remote->borrow, why);

		/* The addresses to be called are those of the program that was planned for. */
		if (r == 0)
			r = upd_subject_check_program(remote->subject, 0, 0, why);
		if (r != 0 || !may_hold_lock(remote))
			return r;
		inj_borrow_close(INJ_TAKE(remote->borrow), NULL);
		if (inj_remaining_ns(remote->deadline_ns) == 0)
			return inj_refuse(why, INJ_BLOCKED,
					  "Every thread of process %d that could be asked was "
					  "unwinding its stack until the deadline. Try again with "
					  "a longer --timeout.",
					  remote->subject->pid);
		nanosleep(&pause, NULL);
	}
	return 0;
}

int upd_remote_call(struct upd_remote *remote, inj_addr function, uint64_t a, uint64_t b,
		    uint64_t *ret, struct inj_why *why)
{
	const uint64_t arguments[4] = { a, b };
	uint64_t result;
	int r = upd_remote_open(remote, why);

	if (r == 0)
		r = inj_borrow_call(remote->borrow, remote->pad, remote->stack_top, function,
				    arguments, remote->deadline_ns, &result, why);
	if (r == 0 && ret)
		*ret = result;
	return r;
}
