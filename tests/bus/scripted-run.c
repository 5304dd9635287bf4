/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stands in for upd_run(), so that tests of the daemon decide what a worker does. What is applied
 * is a script, one command a line; what a process carries is a file in the directory DSUD_SCRIPTS,
 * named by its pid and holding the ids of its patches.
 *
 *   id NAME         the patch's id
 *   progress N      tell N times
 *   commit          the targets carry the patch from here on
 *   leave           the targets carry the patch, and it is half done
 *   wait NAME       until somebody opens the FIFO NAME for writing; cancelled if that comes first
 *   stay NAME       the same, deaf to cancelling
 *   die SIGNAL      raise it
 *   exit            end without a word
 *   babble          send what is no record
 *   result WORD     refused, blocked, unsettled instead of success
 *   functions N     list so many
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "injector/base/cleanup.h"
#include "protocols/update.h"

/* In a ledger, behind the id of a patch that is half done. */
#define STAGED " staged"

struct script {
	const struct upd_request *request;
	char id[128];
	enum upd_result result;
	int code;
	const char *message;
	unsigned n_functions;
	bool ended;
};

static char *file_path(char *buffer, size_t size, const char *name)
{
	const char *directory = getenv("DSUD_SCRIPTS");

	snprintf(buffer, size, "%s/%s", directory ? directory : "/nonexistent", name);
	return buffer;
}

static char *ledger_path(char *buffer, size_t size, pid_t pid)
{
	char name[32];

	snprintf(name, sizeof(name), "%d", (int)pid);
	return file_path(buffer, size, name);
}

static void copy(char **place, const char *text)
{
	free(*place);
	*place = strdup(text);
}

/* --- ledgers ------------------------------------------------------------------------------ */

static bool carries(pid_t pid, const char *id)
{
	char path[4096];
	char line[160];
	INJ_CLEANUP(inj_file_guard) FILE *file = fopen(ledger_path(path, sizeof(path), pid), "re");

	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, id) == 0)
			return true;
	}
	return false;
}

static void write_ledgers(const struct script *script, const char *state)
{
	for (size_t i = 0; i < script->request->n_pids; i++) {
		char path[4096];
		FILE *file = fopen(ledger_path(path, sizeof(path), script->request->pids[i]), "ae");

		if (!file)
			abort();
		fprintf(file, "%s%s\n", script->id, state);
		fclose(file);
	}
}

static bool carries_half(pid_t pid)
{
	char path[4096];
	char line[160] = "";
	INJ_CLEANUP(inj_file_guard) FILE *file = fopen(ledger_path(path, sizeof(path), pid), "re");

	return file && fgets(line, sizeof(line), file) && strstr(line, STAGED);
}

bool upd_is_patched(pid_t pid)
{
	char path[4096];

	return access(ledger_path(path, sizeof(path), pid), F_OK) == 0;
}

const char *const *upd_protocols(void)
{
	static const char *const names[] = {"safe-redefine", "scripted", NULL};

	return names;
}

static void read_ledger(struct upd_target *target)
{
	char path[4096];
	char line[160];
	INJ_CLEANUP(inj_file_guard)
	FILE *file = fopen(ledger_path(path, sizeof(path), target->pid), "re");

	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';

		char *state = strstr(line, STAGED);

		if (state)
			*state = '\0';
		target->patches = reallocarray(target->patches, target->n_patches + 1,
					       sizeof(*target->patches));
		target->patches[target->n_patches++] = (struct upd_patch_state){
			.id = strdup(line),
			.version = strdup("1.0"),
			.digest = strdup("00"),
			.state = strdup(state ? "staged" : "active"),
			.applied_at_ns = 1700000000123456789u,
			.protocol = strdup("scripted"),
		};
	}
}

/* --- commands ----------------------------------------------------------------------------- */

static void end(struct script *script, enum upd_result result, int code, const char *message)
{
	script->result = result;
	script->code = code;
	script->message = message;
	script->ended = true;
}

static void tell_progress(struct script *script, unsigned times)
{
	for (unsigned i = 1; i <= times; i++) {
		struct upd_progress progress = {
			.phase = "wait",
			.pid = script->request->pids[0],
			.attempt = i,
			.remaining_ns = 5000000000u,
			.text = "thread 1 is inside f",
		};

		script->request->progress(script->request->context, &progress);
	}
}

static void wait_for(struct script *script, const char *name, bool deaf)
{
	char path[4096];
	int fd = open(file_path(path, sizeof(path), name), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct pollfd polled[] = {
		{.fd = fd, .events = POLLIN},
		{.fd = deaf ? -1 : script->request->cancel_fd, .events = POLLIN},
	};
	struct upd_progress progress = {.phase = "wait", .attempt = 1, .text = "waiting"};

	if (fd < 0)
		abort();
	script->request->progress(script->request->context, &progress);
	while (poll(polled, 2, -1) < 0)
		;
	close(fd);
	if (polled[1].revents)
		end(script, UPD_UNCHANGED, INJ_CANCELLED, "Cancelled; nothing was changed.");
}

static void babble(struct script *script)
{
	static const char nonsense[] = "this is no record";

	send(*(int *)script->request->context, nonsense, sizeof(nonsense), MSG_NOSIGNAL);
	pause();
}

static void obey(struct script *script, const char *command, const char *argument)
{
	if (strcmp(command, "id") == 0)
		snprintf(script->id, sizeof(script->id), "%s", argument);
	else if (strcmp(command, "progress") == 0)
		tell_progress(script, (unsigned)atoi(argument));
	else if (strcmp(command, "commit") == 0)
		write_ledgers(script, "");
	else if (strcmp(command, "leave") == 0)
		write_ledgers(script, STAGED);
	else if (strcmp(command, "wait") == 0 || strcmp(command, "stay") == 0)
		wait_for(script, argument, command[0] == 's');
	else if (strcmp(command, "die") == 0)
		raise(atoi(argument));
	else if (strcmp(command, "exit") == 0)
		_exit(0);
	else if (strcmp(command, "babble") == 0)
		babble(script);
	else if (strcmp(command, "functions") == 0)
		script->n_functions = (unsigned)atoi(argument);
	else if (strcmp(command, "result") == 0 && strcmp(argument, "blocked") == 0)
		end(script, UPD_BLOCKED, INJ_BLOCKED, "thread 1 is inside f");
	else if (strcmp(command, "result") == 0 && strcmp(argument, "unsettled") == 0)
		end(script, UPD_FAILED, INJ_INTERNAL, "the site could not be restored.");
	else if (strcmp(command, "result") == 0)
		end(script, UPD_REFUSED, INJ_NO_SUCH_SYMBOL, "there is no f");
	else
		end(script, UPD_REFUSED, INJ_BAD_PATCH, "this is no script");
}

static void play(struct script *script, char *text)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line && !script->ended;
	     line = strtok_r(NULL, "\n", &rest)) {
		char *argument = strchr(line, ' ');

		if (argument)
			*argument++ = '\0';
		obey(script, line, argument ? argument : "");
	}
}

/* --- reports ------------------------------------------------------------------------------ */

static void add_functions(struct upd_target *target, unsigned n)
{
	target->functions = calloc(n + 1, sizeof(*target->functions));
	target->n_functions = n;
	for (unsigned i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "f%u", i);
		target->functions[i] = (struct upd_function){
			.module = strdup("program"), .build_id = strdup("0123456789abcdef"),
			.name = strdup(name),	     .new_name = strdup("new_f"),
			.address = 0x401000 + i,     .replacement = 0x7f0000000000 + i,
		};
	}
}

static void add_trouble(struct upd_target *target, const struct script *script)
{
	target->code = script->code;
	copy(&target->message, script->message ? script->message : "");
	if (script->result != UPD_BLOCKED)
		return;
	target->blockers = calloc(1, sizeof(*target->blockers));
	target->n_blockers = 1;
	target->blockers[0] = (struct upd_blocker){
		.tid = target->pid,
		.comm = strdup("worker"),
		.function = strdup("f"),
		.frame = 2,
		.address = 0x401005,
		.reliable = true,
	};
}

static int report_all(const struct script *script, struct upd_report *report)
{
	for (size_t i = 0; i < script->request->n_pids; i++) {
		struct upd_target *target = upd_report_add(report, script->request->pids[i]);

		if (!target)
			return -ENOMEM;
		copy(&target->comm, "scripted");
		copy(&target->patch, script->id);
		copy(&target->protocol, "scripted");
		target->attempts = 1;
		target->held_ns = 81234;
		target->total_ns = 4123456;
		target->result = script->result;
		target->unsettled = script->result == UPD_FAILED;
		add_trouble(target, script);
		add_functions(target, script->n_functions);
		if (script->request->kind == UPD_STATUS)
			read_ledger(target);
	}
	return 0;
}

/* --- kinds -------------------------------------------------------------------------------- */

static void run_patch(struct script *script)
{
	INJ_FREE char *text = calloc(1, 65536);
	ssize_t n = pread(script->request->patch_fd, text, 65535, 0);

	if (n < 0)
		abort();
	script->result = script->request->kind == UPD_APPLY ? UPD_APPLIED : UPD_UNCHANGED;
	play(script, text);
	if (script->result == UPD_APPLIED && !carries(script->request->pids[0], script->id))
		write_ledgers(script, "");
}

static void run_revert(struct script *script)
{
	char path[4096];

	snprintf(script->id, sizeof(script->id), "%s", script->request->patch_id);
	script->result = UPD_REVERTED;
	for (size_t i = 0; i < script->request->n_pids; i++)
		if (!carries(script->request->pids[i], script->id))
			end(script, UPD_REFUSED, INJ_NOT_APPLIED, "the patch is not active");
	for (size_t i = 0; !script->ended && i < script->request->n_pids; i++)
		unlink(ledger_path(path, sizeof(path), script->request->pids[i]));
}

/* A file `recover` holds the script of recoveries. The journal was made for this update. What is
 * half done is taken away. */
static void run_recovery(struct script *script)
{
	char path[4096];
	char text[4096] = "";
	int fd = open(file_path(path, sizeof(path), "recover"), O_RDONLY | O_CLOEXEC);

	if (script->request->journal_fd < 0)
		abort();
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		play(script, text);
	if (script->ended)
		return;
	for (size_t i = 0; i < script->request->n_pids; i++)
		if (carries_half(script->request->pids[i]))
			unlink(ledger_path(path, sizeof(path), script->request->pids[i]));
	script->result = upd_is_patched(script->request->pids[0]) ? UPD_APPLIED : UPD_UNCHANGED;
}

int upd_run(const struct upd_request *request, struct upd_report *report)
{
	struct script script = {.request = request, .result = UPD_UNCHANGED};

	switch (request->kind) {
	case UPD_APPLY:
	case UPD_CHECK:
		run_patch(&script);
		break;
	case UPD_REVERT:
		run_revert(&script);
		break;
	case UPD_RECOVER:
		run_recovery(&script);
		break;
	default:
		break;
	}
	return report_all(&script, report);
}
