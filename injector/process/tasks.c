/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns one look at the list of threads. Always holds: ascending, no tid twice, at least one.
 * Refuses lists beyond INJ_TASKS_MAX: what a target may make us allocate has a limit.
 */
#include <errno.h>
#include <fcntl.h>

#include "injector/process/tasks.h"

#define FIRST_ROOM 64

struct tid_list {
	pid_t *tids;
	size_t n_tids;
	size_t room;
};

static int add(struct tid_list *list, pid_t tid)
{
	if (list->n_tids == INJ_TASKS_MAX)
		return -E2BIG;
	if (list->n_tids == list->room) {
		size_t room = list->room ? list->room * 2 : FIRST_ROOM;
		pid_t *tids = reallocarray(list->tids, room, sizeof(*tids));

		if (!tids)
			return -ENOMEM;
		list->tids = tids;
		list->room = room;
	}
	list->tids[list->n_tids++] = tid;
	return 0;
}

/* Decimal, as the kernel names the entries; 0 for "." and "..". */
static pid_t parse_tid(const char *name)
{
	pid_t tid = 0;

	for (; *name; name++) {
		if (*name < '0' || *name > '9' || tid > (INT32_MAX - 9) / 10)
			return 0;
		tid = tid * 10 + (*name - '0');
	}
	return tid;
}

static int read_entries(DIR *dir, struct tid_list *list)
{
	for (;;) {
		errno = 0;

		const struct dirent *entry = readdir(dir);

		if (!entry)
			return -errno;

		pid_t tid = parse_tid(entry->d_name);
		int r = tid ? add(list, tid) : 0;

		if (r < 0)
			return r;
	}
}

static int by_tid(const void *left, const void *right)
{
	pid_t a = *(const pid_t *)left;
	pid_t b = *(const pid_t *)right;

	return (a > b) - (a < b);
}

/* The kernel lists in order of creation and may show a thread twice when others end meanwhile. */
static void sort_once(struct tid_list *list)
{
	size_t n = 0;

	qsort(list->tids, list->n_tids, sizeof(*list->tids), by_tid);
	for (size_t i = 0; i < list->n_tids; i++)
		if (i == 0 || list->tids[i] != list->tids[n - 1])
			list->tids[n++] = list->tids[i];
	list->n_tids = n;
}

int inj_tasks_read(const struct inj_process *process, pid_t **ret_tids, size_t *ret_n)
{
	INJ_CLOSE int fd = inj_process_openat(process, "task", O_RDONLY | O_DIRECTORY);
	INJ_CLEANUP(inj_dir_guard) DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	/* A process that is being replaced by another thread's exec has no folder for a moment. */
	if (fd < 0)
		return fd == -ENOENT ? -ESRCH : fd;
	if (!dir)
		return -errno;
	inj_take_fd(&fd);

	struct tid_list list = {0};
	int r = read_entries(dir, &list);
	INJ_FREE pid_t *tids = list.tids;

	/* A reaped process reads as an empty or a missing folder. */
	if (r == -ENOENT || (r == 0 && list.n_tids == 0))
		return -ESRCH;
	if (r < 0)
		return r;
	sort_once(&list);
	*ret_tids = INJ_TAKE(tids);
	*ret_n = list.n_tids;
	return 0;
}
