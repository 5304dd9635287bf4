/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reader itself: gives up its rights, then answers one question after the other until nobody
 * asks any more. All parsing of the patch and of a target's files happens here. Nothing it holds
 * outlives it, and nothing it says is believed without a check.
 */
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "injector/base/sandbox.h"
#include "protocols/plan.h"
#include "protocols/reader-priv.h"

#define MAX_QUESTION (64u << 20)
#define MAX_FDS 4096
#define N_LOOKS 4
#define LOOK_AGAIN_NS 2000000
/* Of a processor; whoever asks has a deadline of its own, by the clock. */
#define MAX_CPU_SECONDS 600

static int open_patch(struct upd_reading *reading)
{
	if (reading->patch)
		return 0;
	return inj_patch_open(reading->patch_fd, reading->patch_name, &reading->patch,
			      &reading->why);
}

static int tell_patch(struct upd_reading *reading)
{
	struct upd_patch_head head = {};
	int r = open_patch(reading);

	if (r != 0)
		return r;
	memcpy(head.id, reading->patch->id, sizeof(head.id));
	memcpy(head.version, reading->patch->version, sizeof(head.version));
	upd_parcel_put(&reading->answer, &head, sizeof(head));
	return 0;
}

static int attach(struct upd_reading *reading, struct upd_cursor *question, int *fd)
{
	struct upd_ask_attach ask;

	if (!upd_cursor_take(question, &ask, sizeof(ask)) || *fd < 0)
		return -EPROTO;
	reading->process = (struct inj_process){
		.pid = ask.pid, .pidfd = -1, .proc_fd = -1, .ns_pid = ask.ns_pid,
		.start_ticks = ask.start_ticks, .door = &reading->door,
	};
	memcpy(reading->process.comm, ask.comm, sizeof(ask.comm));
	memcpy(reading->process.exe, ask.exe, sizeof(ask.exe));
	upd_door_init(&reading->door, &reading->socket, inj_take_fd(fd));
	reading->subject.pid = ask.pid;
	reading->subject.process = &reading->process;
	return 0;
}

static int look(struct upd_reading *reading)
{
	struct upd_subject *subject = &reading->subject;
	int r;

	subject->code = 0;
	subject->why = (struct inj_why){};
	r = upd_subject_refresh(subject);
	if (r != 0)
		reading->why = subject->why;
	else if (!subject->modules)
		r = inj_modules_load(subject->process, subject->maps, &subject->modules,
				     &reading->why);
	return r;
}

/* A program that is just being started changes its mappings under our eyes. */
int upd_reading_refresh(struct upd_reading *reading)
{
	const struct timespec pause = { .tv_nsec = LOOK_AGAIN_NS };
	int r = reading->subject.process ? look(reading) : -EPROTO;

	for (int i = 1;
	     r != 0 && reading->subject.process && !reading->subject.modules && i < N_LOOKS; i++) {
		ppoll(NULL, 0, &pause, NULL);
		r = look(reading);
	}
	return r;
}

static int tell_unwinder(struct upd_reading *reading, struct upd_cursor *question)
{
	struct upd_tell_unwinder tell = {};
	struct upd_unwinder unwinder = {};
	uint64_t wants_functions = 0;
	int r = reading->subject.modules ? 0 : upd_reading_refresh(reading);

	if (r != 0)
		return r;
	if (!upd_cursor_take(question, &wants_functions, sizeof(wants_functions)))
		return -EPROTO;
	if (wants_functions)
		upd_unwinder_find(reading->subject.modules, &unwinder);
	else
		unwinder.may_unwind = upd_unwinder_may_unwind(reading->subject.modules);
	tell.tell = unwinder.tell;
	tell.forget = unwinder.forget;
	tell.may_unwind = unwinder.may_unwind;
	memcpy(tell.locked, unwinder.locked, sizeof(tell.locked));
	upd_parcel_put(&reading->answer, &tell, sizeof(tell));
	return 0;
}

static int make_plan(struct upd_reading *reading, struct upd_cursor *question)
{
	struct upd_subject *subject = &reading->subject;
	INJ_FREE void *bytes = NULL;
	struct upd_ask_plan ask;
	size_t n = 0;
	int r;

	if (!upd_cursor_take(question, &ask, sizeof(ask)))
		return -EPROTO;
	ask.protocol[sizeof(ask.protocol) - 1] = '\0';
	r = open_patch(reading);
	if (r == 0)
		r = upd_reading_refresh(reading);
	if (r != 0)
		return r;
	upd_plan_free(INJ_TAKE(subject->plan));
	r = upd_plan_make(subject, reading->patch, ask.update_id, ask.n_members, ask.protocol);
	if (r != 0)
		reading->why = subject->why;
	else
		r = upd_plan_write(subject->plan, &bytes, &n, &reading->why);
	if (r == 0)
		upd_parcel_put(&reading->answer, bytes, n);
	return r;
}

static int answer(struct upd_reading *reading, struct upd_message *message)
{
	struct upd_cursor question = { message->bytes, message->n_bytes };

	switch (message->kind) {
	case UPD_ASK_PATCH: return tell_patch(reading);
	case UPD_ASK_ATTACH: return attach(reading, &question, &message->fd);
	case UPD_ASK_UNWINDER: return tell_unwinder(reading, &question);
	case UPD_ASK_PLAN: return make_plan(reading, &question);
	case UPD_ASK_PREPARE: return upd_reading_prepare(reading, &question);
	case UPD_ASK_FIND: return upd_reading_find(reading, &question);
	case UPD_ASK_STACK: return upd_reading_stack(reading, &question);
	case UPD_ASK_HANDLES: return upd_reading_handles(reading, &question);
	case UPD_ASK_SNAPSHOT: return upd_reading_snapshot(reading, &question);
	case UPD_ASK_NAMES: return upd_reading_names(reading, &question);
	default: return -EPROTO;
	}
}

static int say(struct upd_reading *reading, uint32_t kind, const void *bytes, size_t n_bytes)
{
	return upd_message_send(reading->socket, kind, bytes, n_bytes, -1, UINT64_MAX, -1);
}

static int refuse(struct upd_reading *reading, int code)
{
	const struct inj_why *why = &reading->why;
	struct upd_tell_refused told = { .code = code, .err = why->err, .tid = why->tid,
					 .address = why->address };

	memcpy(told.text, why->text, sizeof(told.text));
	return say(reading, UPD_TELL_REFUSED, &told, sizeof(told));
}

static int serve_one(struct upd_reading *reading)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message message = UPD_MESSAGE_NONE;
	int r = upd_message_receive(reading->socket, MAX_QUESTION, UINT64_MAX, -1, &message);

	if (r < 0)
		return r;
	reading->answer.n_bytes = 0;
	reading->why = (struct inj_why){};
	upd_reader_misdeed(reading, message.kind);
	r = answer(reading, &message);
	if (r == 0 && reading->answer.failed)
		r = inj_broke(&reading->why, -ENOMEM, "answering a question about process %d",
			      (int)reading->process.pid);
	if (r < 0 && reading->why.code == 0)
		inj_broke(&reading->why, r, "reading what belongs to process %d",
			  (int)reading->process.pid);
	return r == 0 ? say(reading, UPD_TELL_DONE, reading->answer.bytes, reading->answer.n_bytes)
		      : refuse(reading, r);
}

static void reset_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

void upd_reader_main(int socket, int patch_fd, const char *patch_name)
{
	const int fds[] = { socket, patch_fd };
	const struct inj_sandbox sandbox = {
		.name = "dsud-reader", .fds = fds, .n_fds = INJ_ARRAY_LENGTH(fds),
		.memory_bytes = INJ_SANDBOX_MEMORY_BYTES, .cpu_seconds = MAX_CPU_SECONDS,
		.max_fds = MAX_FDS,
	};
	struct upd_reading *reading = calloc(1, sizeof(*reading));

	reset_signals();
	/* Words of errors in another language would have to be opened. */
	setlocale(LC_ALL, "C");
	inj_walker_get_ready();
	if (!reading || inj_sandbox_enter(&sandbox) != 0)
		_exit(EXIT_FAILURE);
	reading->socket = socket;
	reading->patch_fd = patch_fd;
	reading->patch_name = patch_name ? patch_name : "patch";
	upd_subject_init(&reading->subject, 0);
	while (serve_one(reading) == 0)
		;
	_exit(EXIT_SUCCESS);
}
