/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_WORKER_SUBJECT_H
#define DSUD_WORKER_SUBJECT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A process as a caller named it: the start time tells it from a later one with the same pid. */
struct dsud_subject {
	pid_t pid;
	uint64_t start_ticks; /* field 22 of /proc/PID/stat; 0: there was no such process */
};

/*
 * Look at a process once.
 * pid: > 0.
 * State: any.
 * Return: its identity; start_ticks 0 when there is no such process.
 * Source: proc(5), /proc/PID/stat.
 */
struct dsud_subject dsud_subject_look(pid_t pid);

/* Is the process still the one that was looked at? */
bool dsud_subject_is_same(const struct dsud_subject *subject);

/*
 * Start time from the text of /proc/PID/stat; comm may hold anything, parentheses included.
 * Return: field 22, or 0 when the text is no such line.
 */
uint64_t dsud_subject_parse_stat(const char *text);

/*
 * Read a short text file below /proc/PID.
 * buffer, size: receives a string without its last newline.
 * Return: 0. Errors: negative errno, -ESRCH and -ENOENT when the process is gone.
 */
int dsud_proc_read(pid_t pid, const char *name, char *buffer, size_t size);

#endif
