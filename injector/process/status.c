/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the parsers of /proc/PID/stat and /proc/PID/task/TID/status. Always holds: a thread's
 * name, which the target chooses freely, never passes for another field: stat is read from its
 * last ')' on, and in status the kernel escapes the line feeds of a name. Refuses numbers that
 * overflow and files that lack a field we rely on.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "injector/process/status-priv.h"

#define FILE_MAX_BYTES 65536

/* A number in the given base (10 or 16) at *at, which moves behind it. */
static int take_number(const char **at, unsigned base, uint64_t *ret)
{
	uint64_t value = 0;
	const char *text = *at;

	for (;; text++) {
		unsigned digit;

		if (*text >= '0' && *text <= '9')
			digit = (unsigned)(*text - '0');
		else if (base == 16 && *text >= 'a' && *text <= 'f')
			digit = (unsigned)(*text - 'a') + 10;
		else
			break;
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			return -EBADMSG;
	}
	if (text == *at)
		return -EBADMSG;
	*at = text;
	*ret = value;
	return 0;
}

/* Step over n fields, each with the blank before it. */
static const char *skip_fields(const char *text, unsigned n)
{
	for (; n > 0 && *text == ' '; n--) {
		text++;
		text += strcspn(text, " ");
	}
	return n == 0 && *text == ' ' ? text + 1 : NULL;
}

static int take_field(const char *text, unsigned skip, uint64_t *ret)
{
	const char *at = skip_fields(text, skip);

	return at ? take_number(&at, 10, ret) : -EBADMSG;
}

int inj_stat_parse(const char *text, struct inj_stat *ret)
{
	struct inj_stat stat = {0};
	const char *rest = strrchr(text, ')');
	uint64_t flags = 0;
	uint64_t n_threads = 0;

	/* The rest starts with field 3, the state; fields 9, 20 and 22 are the others. */
	if (!rest || rest[1] != ' ' || rest[2] == '\0')
		return -EBADMSG;
	rest++;
	stat.state = rest[1];
	if (take_field(rest, 9 - 3, &flags) < 0 || take_field(rest, 20 - 3, &n_threads) < 0 ||
	    take_field(rest, 22 - 3, &stat.start_ticks) < 0)
		return -EBADMSG;
	stat.flags = (unsigned)flags;
	stat.n_threads = n_threads > UINT32_MAX ? UINT32_MAX : (unsigned)n_threads;
	*ret = stat;
	return 0;
}

int inj_stat_read(const struct inj_process *process, struct inj_stat *ret)
{
	INJ_FREE char *text = NULL;
	int r = inj_process_read_file(process, "stat", FILE_MAX_BYTES, &text, NULL);

	return r < 0 ? r : inj_stat_parse(text, ret);
}

/* Value of the line "key:\tvalue"; NULL when there is none. */
static const char *find_value(const char *text, const char *key)
{
	size_t length = strlen(key);

	while (*text) {
		if (strncmp(text, key, length) == 0 && text[length] == ':')
			return text + length + 1 + strspn(text + length + 1, "\t ");
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	return NULL;
}

static int find_number(const char *text, const char *key, unsigned base, uint64_t limit,
		       uint64_t *ret)
{
	const char *value = find_value(text, key);
	uint64_t number;

	if (!value || take_number(&value, base, &number) < 0 || number > limit)
		return -EBADMSG;
	*ret = number;
	return 0;
}

/* The kernel writes a line feed as \n and a backslash as \\ (proc_task_name()). */
static int find_name(const char *text, char *name, size_t size)
{
	const char *at = find_value(text, "Name");
	size_t length = 0;

	if (!at)
		return -EBADMSG;
	for (; *at && *at != '\n' && length < size - 1; at++) {
		if (at[0] == '\\' && (at[1] == '\\' || at[1] == 'n')) {
			at++;
			name[length++] = *at == 'n' ? '\n' : '\\';
		} else {
			name[length++] = *at;
		}
	}
	name[length] = '\0';
	inj_printable(name);
	return 0;
}

/* NSpid lists the pid in every namespace, outermost first; absent without CONFIG_PID_NS. */
static int find_ns_pid(const char *text, pid_t fallback, pid_t *ret)
{
	const char *at = find_value(text, "NSpid");
	uint64_t pid = (uint64_t)fallback;

	for (; at && *at && *at != '\n'; at += strspn(at, "\t "))
		if (take_number(&at, 10, &pid) < 0 || pid > INT32_MAX)
			return -EBADMSG;
	*ret = (pid_t)pid;
	return 0;
}

/* Does the line of features name the shadow stack? Linux 6.6 and later print one. */
static bool has_shadow_stack(const char *text)
{
	const char *value = find_value(text, "x86_Thread_features");
	size_t length = value ? strcspn(value, "\n") : 0;

	return value && memmem(value, length, "shstk", 5);
}

int inj_status_parse(const char *text, struct inj_status *ret, pid_t *ret_ns_pid)
{
	struct inj_status status = {0};
	const char *state = find_value(text, "State");
	uint64_t tgid, tracer, thread_pending, process_pending;
	uint64_t seccomp = 0;
	pid_t ns_pid;

	if (!state || *state < 'A' || find_name(text, status.comm, sizeof(status.comm)) < 0 ||
	    find_number(text, "Tgid", 10, INT32_MAX, &tgid) < 0 ||
	    find_number(text, "TracerPid", 10, INT32_MAX, &tracer) < 0 ||
	    find_number(text, "SigPnd", 16, UINT64_MAX, &thread_pending) < 0 ||
	    find_number(text, "ShdPnd", 16, UINT64_MAX, &process_pending) < 0 ||
	    find_number(text, "SigBlk", 16, UINT64_MAX, &status.sig_blocked) < 0 ||
	    find_number(text, "SigCgt", 16, UINT64_MAX, &status.sig_caught) < 0 ||
	    find_ns_pid(text, (pid_t)tgid, &ns_pid) < 0)
		return -EBADMSG;
	/* Absent when the kernel was built without seccomp. */
	if (find_value(text, "Seccomp") && find_number(text, "Seccomp", 10, 2, &seccomp) < 0)
		return -EBADMSG;
	status.state = *state;
	status.tgid = (pid_t)tgid;
	status.tracer_pid = (pid_t)tracer;
	status.sig_pending = thread_pending | process_pending;
	status.sig_shared = process_pending;
	status.seccomp = (int)seccomp;
	status.shadow_stack = has_shadow_stack(text);
	*ret = status;
	if (ret_ns_pid)
		*ret_ns_pid = ns_pid;
	return 0;
}

int inj_status_read(const struct inj_process *process, pid_t tid, struct inj_status *ret)
{
	INJ_FREE char *text = NULL;
	char name[48];

	snprintf(name, sizeof(name), "task/%d/status", (int)tid);

	int r = inj_process_read_file(process, name, FILE_MAX_BYTES, &text, NULL);

	/* The process may live on without this thread. */
	if (r == -ENOENT)
		return -ESRCH;
	return r < 0 ? r : inj_status_parse(text, ret, NULL);
}
