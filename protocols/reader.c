/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker's end of a reader: its life, and asking. Always holds: one question at a time, each
 * with a deadline; a reader that dies, is late or answers what cannot be is ended and stays dead,
 * and whoever asked gets a refusal; bytes of an answer are bounded before they are read; questions
 * that are asked while targets are held open no files, whose owners may keep who opens them
 * waiting.
 * Its end needs no cooperation: it is killed.
 */
#include "protocols/reader.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "protocols/reader-priv.h"

#define MAX_WISH 8192

struct upd_reader {
	pid_t pid;
	int socket;
	bool dead;
	struct inj_why why; /* of its death */
	struct upd_broker broker;
};

int upd_reader_start(int patch_fd, const char *patch_name, struct upd_reader **ret,
		     struct inj_why *why)
{
	INJ_CLEANUP(upd_reader_guard) struct upd_reader *reader = calloc(1, sizeof(*reader));
	INJ_CLOSE int theirs = -1;
	int pair[2];

	if (!reader)
		return inj_broke(why, -ENOMEM, "starting a reader");
	reader->socket = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return inj_broke(why, -errno, "starting a reader");
	reader->socket = pair[0];
	theirs = pair[1];
	reader->pid = fork();
	if (reader->pid < 0)
		return inj_broke(why, -errno, "starting a reader");
	if (reader->pid == 0)
		upd_reader_main(theirs, patch_fd, patch_name);
	*ret = INJ_TAKE(reader);
	return 0;
}

/* Return: the wait status, 0 when there is none. */
static int bury(struct upd_reader *reader)
{
	int status = 0;

	if (reader->pid <= 0)
		return 0;
	kill(reader->pid, SIGKILL);
	inj_fault_point("reader-ended");
	while (waitpid(reader->pid, &status, 0) < 0)
		if (errno != EINTR) {
			status = 0;
			break;
		}
	reader->pid = 0;
	return status;
}

void upd_reader_free(struct upd_reader *reader)
{
	if (!reader)
		return;
	bury(reader);
	inj_close_guard(&reader->socket);
	upd_broker_deinit(&reader->broker);
	free(reader);
}

bool upd_reader_is_dead(const struct upd_reader *reader)
{
	return reader->dead;
}

bool upd_reader_is_attached(const struct upd_reader *reader)
{
	return reader->broker.process != NULL;
}

const struct inj_maps *upd_reader_maps(const struct upd_reader *reader)
{
	return reader->broker.maps;
}

static int end(struct upd_reader *reader, int code, const struct inj_why *story,
	       struct inj_why *why)
{
	bury(reader);
	reader->dead = true;
	reader->why = *story;
	if (why)
		*why = *story;
	return code;
}

int upd_reader_lied(struct upd_reader *reader, struct inj_why *why)
{
	struct inj_why story = {};

	inj_refuse(&story, INJ_BAD_PATCH,
		   "The process that reads the patch and the files of the target answered what "
		   "cannot be, so one of them attacks whoever reads it; find out where they come "
		   "from. It was ended; nothing was changed.");
	return end(reader, INJ_BAD_PATCH, &story, why);
}

/* It hung up: the way it ended says more. */
static int tell_death(struct upd_reader *reader, struct inj_why *why)
{
	struct inj_why story = {};
	int status = 0;

	/* What ended by itself keeps its own status, however late the kill comes. */
	status = bury(reader);
	if (WIFSIGNALED(status))
		inj_refuse(&story, INJ_BAD_PATCH,
			   "The process that reads the patch and the files of the target was ended "
			   "by signal %d (%s)%s. Nothing was changed. The patch or a file of the "
			   "target is damaged, or made to attack; find out where they come from.",
			   WTERMSIG(status), strsignal(WTERMSIG(status)),
			   WTERMSIG(status) == SIGSYS ? ": it tried what it may not do" : "");
	else
		inj_refuse(&story, INJ_BAD_PATCH,
			   "The process that reads the patch and the files of the target could not "
			   "be confined or gave up (status %d). Nothing was changed. See whether "
			   "this kernel has seccomp filters.",
			   WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	reader->dead = true;
	reader->why = story;
	if (why)
		*why = story;
	return INJ_BAD_PATCH;
}

static int failed(struct upd_reader *reader, int r, struct inj_why *why)
{
	struct inj_why story = {};

	if (r == -EPIPE)
		return tell_death(reader, why);
	if (r == -EMSGSIZE)
		return upd_reader_lied(reader, why);
	if (r == -ECANCELED) {
		inj_refuse(&story, INJ_CANCELLED, "Cancelled; nothing was changed.");
		return end(reader, INJ_CANCELLED, &story, why);
	}
	if (r == -ETIMEDOUT) {
		inj_refuse(&story, INJ_BAD_PATCH,
			   "The process that reads the patch and the files of the target did not "
			   "come to an end in time and was ended. Nothing was changed. Allow a "
			   "longer --timeout, or find out whether these files are made to delay "
			   "it.");
		return end(reader, INJ_BAD_PATCH, &story, why);
	}
	inj_broke(&story, r, "asking the reader of foreign files");
	return end(reader, r, &story, why);
}

/* A refusal in the reader's words, which are an attacker's words perhaps. */
static int take_refusal(struct upd_reader *reader, const struct upd_message *answer,
			struct inj_why *why)
{
	struct upd_tell_refused told;
	int code;

	if (answer->n_bytes != sizeof(told))
		return upd_reader_lied(reader, why);
	memcpy(&told, answer->bytes, sizeof(told));
	told.text[sizeof(told.text) - 1] = '\0';
	code = told.code;
	if (code == 0 || code < -4095 ||
	    (code > 0 && inj_code_from_bus_name(inj_code_bus_name(code)) != code))
		return upd_reader_lied(reader, why);
	inj_printable(told.text);
	if (why) {
		*why = (struct inj_why){ .code = code > 0 ? code : INJ_INTERNAL, .err = told.err,
					 .tid = told.tid, .address = told.address };
		memcpy(why->text, told.text, sizeof(why->text));
	}
	return code;
}

/* Wishes that come without a pause never make us wait, so waiting is not where time runs out. */
static int check_patience(const struct upd_patience *patience)
{
	struct pollfd cancel = { .fd = patience->cancel_fd, .events = POLLIN };

	if (inj_remaining_ns(patience->deadline_ns) == 0)
		return -ETIMEDOUT;
	return poll(&cancel, 1, 0) > 0 ? -ECANCELED : 0;
}

static int grant(struct upd_reader *reader, const struct upd_message *wish,
		 const struct upd_patience *patience)
{
	int r = check_patience(patience);

	return r < 0 ? r : upd_broker_answer(&reader->broker, reader->socket, wish, patience);
}

static int await(struct upd_reader *reader, size_t max_bytes, const struct upd_patience *patience,
		 struct upd_message *ret, struct inj_why *why)
{
	for (;;) {
		INJ_CLEANUP(upd_message_deinit) struct upd_message message = UPD_MESSAGE_NONE;
		size_t most = max_bytes > MAX_WISH ? max_bytes : MAX_WISH;
		int r = upd_message_receive(reader->socket, most, patience->deadline_ns,
					    patience->cancel_fd, &message);

		if (r < 0)
			return failed(reader, r, why);
		switch (message.kind) {
		case UPD_TELL_DONE:
			if (message.n_bytes > max_bytes)
				return upd_reader_lied(reader, why);
			*ret = message;
			message = UPD_MESSAGE_NONE;
			return 0;
		case UPD_TELL_REFUSED:
			return take_refusal(reader, &message, why);
		case UPD_WANT_OPEN:
		case UPD_WANT_READ:
		case UPD_WANT_MAPPED:
		case UPD_WANT_DEBUG:
			r = grant(reader, &message, patience);
			if (r < 0)
				return failed(reader, r, why);
			break;
		default:
			return upd_reader_lied(reader, why);
		}
	}
}

/* Is it asked at moments when targets may be held? */
static bool is_urgent(enum upd_message_kind kind)
{
	return kind == UPD_ASK_FIND || kind == UPD_ASK_STACK || kind == UPD_ASK_HANDLES ||
	       kind == UPD_ASK_SNAPSHOT;
}

static int ask_with(struct upd_reader *reader, enum upd_message_kind kind, const void *bytes,
		    size_t n_bytes, int fd, size_t max_bytes, const struct upd_patience *patience,
		    struct upd_message *ret, struct inj_why *why)
{
	int r;

	if (reader->dead) {
		if (why)
			*why = reader->why;
		return reader->why.code;
	}
	reader->broker.may_open_files = !is_urgent(kind);
	r = upd_message_send(reader->socket, kind, bytes, n_bytes, fd, patience->deadline_ns,
			     patience->cancel_fd);
	if (r < 0)
		return failed(reader, r, why);
	return await(reader, max_bytes, patience, ret, why);
}

int upd_reader_ask(struct upd_reader *reader, enum upd_message_kind kind, const void *bytes,
		   size_t n_bytes, size_t max_bytes, const struct upd_patience *patience,
		   struct upd_message *ret, struct inj_why *why)
{
	return ask_with(reader, kind, bytes, n_bytes, -1, max_bytes, patience, ret, why);
}

int upd_reader_attach(struct upd_reader *reader, const struct inj_process *process, int memory_fd,
		      const struct upd_patience *patience, struct inj_why *why)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	struct upd_ask_attach ask = {
		.pid = process->pid, .ns_pid = process->ns_pid, .start_ticks = process->start_ticks,
	};

	if (memory_fd < 0)
		return inj_broke(why, -ESRCH, "reading the memory of process %d", process->pid);
	memcpy(ask.comm, process->comm, sizeof(ask.comm));
	memcpy(ask.exe, process->exe, sizeof(ask.exe));
	reader->broker.process = process;
	return ask_with(reader, UPD_ASK_ATTACH, &ask, sizeof(ask), memory_fd, 0, patience, &answer,
			why);
}
