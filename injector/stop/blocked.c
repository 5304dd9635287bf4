/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the words about a thread that does not stop. Always holds: what cannot be read is left
 * out, the story is told all the same. Refuses nothing.
 */
#include <stdio.h>
#include <string.h>

#include "injector/stop/blocked-priv.h"

#define FILE_MAX_BYTES 4096

/* First word of a file about the thread; empty when there is nothing to say. */
static void read_word(const struct inj_process *process, pid_t tid, const char *file, char *word,
		      size_t size)
{
	INJ_FREE char *text = NULL;
	char name[64];

	*word = '\0';
	snprintf(name, sizeof(name), "task/%d/%s", (int)tid, file);
	if (inj_process_read_file(process, name, FILE_MAX_BYTES, &text, NULL) < 0)
		return;
	snprintf(word, size, "%.*s", (int)strcspn(text, " \n"), text);
}

int inj_blocked_refuse(const struct inj_process *process, pid_t tid, uint64_t waited_ns,
		       struct inj_why *why)
{
	struct inj_status status = {.state = '?', .comm = "?"};
	char place[64];
	char call[32];

	if (inj_status_read(process, tid, &status) < 0)
		snprintf(status.comm, sizeof(status.comm), "gone meanwhile");
	read_word(process, tid, "wchan", place, sizeof(place));
	read_word(process, tid, "syscall", call, sizeof(call));

	int r = inj_refuse(why, INJ_BLOCKED,
			   "thread %d (%s) of process %d did not stop within %llu ms: state %c, "
			   "in kernel function %s, system call %s; wait until it is through, or "
			   "try again",
			   (int)tid, status.comm, (int)process->pid,
			   (unsigned long long)(waited_ns / 1000000u), status.state,
			   *place ? place : "unknown", *call ? call : "unknown");

	if (why) {
		why->pid = process->pid;
		why->tid = tid;
	}
	return r;
}
