/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the list of threads of one hold and the notes beside it. Always holds: ascending tids,
 * none twice, a note for every thread. Refuses more threads than a process room would list.
 */
#include <errno.h>
#include <string.h>

#include "injector/base/bisect.h"
#include "injector/process/tasks.h"
#include "injector/stop/hold-priv.h"

#define FIRST_ROOM 64

int inj_hold_init(struct inj_hold *hold, const struct inj_process *process)
{
	struct hold_notes *notes = calloc(1, sizeof(*notes));

	if (!notes)
		return -ENOMEM;
	*hold = (struct inj_hold){.process = process, .private = notes};
	return 0;
}

void inj_hold_deinit(struct inj_hold *hold)
{
	if (hold->private)
		free(hold_notes(hold)->items);
	free(hold->private);
	free(hold->threads);
	*hold = (struct inj_hold){0};
}

/* Index of the first thread whose tid is not below this one. */
static size_t find_place(const struct inj_hold *hold, pid_t tid)
{
	const size_t n = hold->n_threads;

	/* Lists come in ascending order, so the usual place is the end. */
	if (n > 0 && hold->threads[n - 1].tid < tid)
		return n;
	return INJ_COUNT_WHILE(n, i, hold->threads[i].tid < tid);
}

static bool is_at(const struct inj_hold *hold, size_t place, pid_t tid)
{
	return place < hold->n_threads && hold->threads[place].tid == tid;
}

bool inj_hold_knows(const struct inj_hold *hold, pid_t tid)
{
	return is_at(hold, find_place(hold, tid), tid);
}

static int grow(struct inj_hold *hold)
{
	struct hold_notes *notes = hold_notes(hold);
	size_t room = notes->room ? notes->room * 2 : FIRST_ROOM;
	struct inj_thread *threads = reallocarray(hold->threads, room, sizeof(*threads));

	if (!threads)
		return -ENOMEM;
	hold->threads = threads;

	struct thread_note *items = reallocarray(notes->items, room, sizeof(*items));

	if (!items)
		return -ENOMEM;
	notes->items = items;
	notes->room = room;
	return 0;
}

int inj_hold_add(struct inj_hold *hold, pid_t tid)
{
	struct hold_notes *notes = hold_notes(hold);
	size_t place = find_place(hold, tid);
	size_t n_behind = hold->n_threads - place;

	if (is_at(hold, place, tid))
		return -EEXIST;
	if (hold->n_threads == INJ_TASKS_MAX)
		return -E2BIG;
	if (hold->n_threads == notes->room) {
		int r = grow(hold);

		if (r < 0)
			return r;
	}
	memmove(hold->threads + place + 1, hold->threads + place,
		n_behind * sizeof(*hold->threads));
	memmove(notes->items + place + 1, notes->items + place, n_behind * sizeof(*notes->items));
	/* Touches the page now, not while the threads are stopped. */
	hold->threads[place] = (struct inj_thread){.tid = tid};
	notes->items[place] = (struct thread_note){.state = THREAD_WAITING};
	hold->n_threads++;
	return 0;
}

void inj_hold_compact(struct inj_hold *hold)
{
	struct hold_notes *notes = hold_notes(hold);
	size_t n = 0;

	for (size_t i = 0; i < hold->n_threads; i++) {
		if (notes->items[i].state == THREAD_GONE)
			continue;
		if (n != i) {
			hold->threads[n] = hold->threads[i];
			notes->items[n] = notes->items[i];
		}
		n++;
	}
	hold->n_threads = n;
}
