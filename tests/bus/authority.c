/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns a stand-in for polkit: the one interface that the daemon uses, with moods.
 */
#include "tests/bus/authority.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define NAME "org.freedesktop.PolicyKit1"
#define PATH "/org/freedesktop/PolicyKit1/Authority"
#define INTERFACE "org.freedesktop.PolicyKit1.Authority"
#define MAX_SILENT 64

static sd_bus_message *silent[MAX_SILENT];
static size_t n_silent;

static void tick(const struct authority *authority)
{
	eventfd_write(authority->events, 1);
}

static int read_question(sd_bus_message *call, struct authority *authority)
{
	const char *kind, *action, *key, *name, *id;
	uint32_t flags;

	if (sd_bus_message_enter_container(call, 'r', "sa{sv}") <= 0 ||
	    sd_bus_message_read(call, "s", &kind) <= 0 ||
	    sd_bus_message_enter_container(call, 'a', "{sv}") <= 0 ||
	    sd_bus_message_enter_container(call, 'e', "sv") <= 0 ||
	    sd_bus_message_read(call, "s", &key) <= 0 ||
	    sd_bus_message_read(call, "v", "s", &name) <= 0 ||
	    sd_bus_message_exit_container(call) < 0 || sd_bus_message_exit_container(call) < 0 ||
	    sd_bus_message_exit_container(call) < 0 ||
	    sd_bus_message_read(call, "s", &action) <= 0 ||
	    sd_bus_message_skip(call, "a{ss}") < 0 ||
	    sd_bus_message_read(call, "us", &flags, &id) <= 0)
		return -EBADMSG;
	snprintf(authority->action, sizeof(authority->action), "%s", action);
	snprintf(authority->subject, sizeof(authority->subject), "%s %s %s", kind, key, name);
	authority->flags = flags;
	return 0;
}

static int answer(sd_bus_message *call, bool yes, bool challenge)
{
	return sd_bus_reply_method_return(call, "(bba{ss})", yes, challenge, 1, "some", "detail");
}

static int on_question(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	struct authority *authority = userdata;
	int r = read_question(call, authority);

	if (r < 0)
		return r;
	authority->n_asked++;
	tick(authority);
	switch (authority->mood) {
	case AUTHORITY_YES:
		return answer(call, true, false);
	case AUTHORITY_NO:
		return answer(call, false, false);
	case AUTHORITY_CHALLENGE:
		return answer(call, false, true);
	case AUTHORITY_BROKEN:
		return sd_bus_reply_method_errorf(call, NAME ".Error.Failed",
						  "bro\nken \033[31mred");
	case AUTHORITY_NONSENSE:
		return sd_bus_reply_method_return(call, "s", "yes, of course");
	case AUTHORITY_DIES:
		_exit(0);
	default:
		if (n_silent < MAX_SILENT)
			silent[n_silent++] = sd_bus_message_ref(call);
		return 1;
	}
}

static int on_cancel(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	struct authority *authority = userdata;

	authority->n_cancelled++;
	tick(authority);
	return sd_bus_reply_method_return(call, NULL);
}

/* No vtable: that would not let wrong answers pass. */
static int on_call(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	if (sd_bus_message_is_method_call(call, INTERFACE, "CheckAuthorization"))
		return on_question(call, userdata, error);
	if (sd_bus_message_is_method_call(call, INTERFACE, "CancelCheckAuthorization"))
		return on_cancel(call, userdata, error);
	return 0;
}

static volatile sig_atomic_t relented;

static void on_relent(int number)
{
	relented = 1;
}

static void answer_silent(struct authority *authority)
{
	while (n_silent > 0) {
		answer(silent[--n_silent], true, false);
		sd_bus_message_unref(silent[n_silent]);
	}
	authority->mood = AUTHORITY_YES;
	relented = 0;
	tick(authority);
}

static void serve(const struct bus_fixture *fixture, struct authority *authority, pid_t parent)
{
	sd_bus *bus = NULL;
	struct sigaction action = {.sa_handler = on_relent};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigaction(SIGUSR1, &action, NULL);
	if (sd_bus_new(&bus) < 0 || sd_bus_set_address(bus, fixture->bus_address) < 0 ||
	    sd_bus_set_bus_client(bus, 1) < 0 || sd_bus_start(bus) < 0 ||
	    sd_bus_add_object(bus, NULL, PATH, on_call, authority) < 0 ||
	    sd_bus_request_name(bus, NAME, 0) < 0)
		_exit(1);
	tick(authority);
	for (;;) {
		int r = sd_bus_process(bus, NULL);

		if (relented)
			answer_silent(authority);
		if (r < 0 && r != -EINTR)
			_exit(1);
		/* Not for ever: a signal may come between the look at the flag and the wait. */
		if (r == 0)
			sd_bus_wait(bus, 100000);
	}
}

struct authority *authority_start(const struct bus_fixture *fixture, enum authority_mood mood)
{
	struct authority *authority = mmap(NULL, sizeof(*authority), PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t parent = getpid();

	cr_assert(authority != MAP_FAILED);
	authority->mood = mood;
	authority->events = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);

	pid_t pid = fork();

	cr_assert(pid >= 0);
	if (pid == 0)
		serve(fixture, authority, parent);
	authority->pid = pid;
	authority_await(authority);
	return authority;
}

void authority_await(struct authority *authority)
{
	struct pollfd polled = {.fd = authority->events, .events = POLLIN};
	eventfd_t value;

	cr_assert_eq(poll(&polled, 1, BUS_DEADLINE_MS), 1, "nobody asks polkit");
	cr_assert_eq(eventfd_read(authority->events, &value), 0);
}

void authority_relent(struct authority *authority)
{
	cr_assert_eq(kill(authority->pid, SIGUSR1), 0);
	authority_await(authority);
}
