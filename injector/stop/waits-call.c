/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the knowledge of which system calls end at a time, where their program told it, and what
 * they return then. Always holds: a call is named here only if its arguments and memory are all
 * that its end depends on. Left out is what needs no help: the kernel itself keeps the end of
 * nanosleep, poll and futex in a restart block, and absolute times stay what they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "injector/base/io.h"
#include "injector/process/mem.h"
#include "injector/stop/waits-priv.h"

#define SECOND_NS 1000000000ull
#define FILE_MAX_BYTES 512
/* Longer waits need nobody who looks at microseconds, and sums cannot overflow. */
#define LONGEST_NS (100ull * 365 * 86400 * SECOND_NS)

enum where {
	MILLISECONDS, /* an int argument, negative: endless */
	TIMESPEC,     /* behind a pointer argument, NULL: endless */
	RECEIVING,    /* an option of the socket in the first argument */
	SENDING,
	REST_TIMESPEC,
	REST_TIMEVAL,
};

static const struct {
	long number;
	enum where where;
	int argument;
	int64_t result; /* when the time is over */
} table[] = {
	{SYS_epoll_wait, MILLISECONDS, 3, 0},
	{SYS_epoll_pwait, MILLISECONDS, 3, 0},
	{SYS_epoll_pwait2, TIMESPEC, 3, 0},
	{SYS_io_getevents, TIMESPEC, 4, 0},
	{SYS_io_pgetevents, TIMESPEC, 4, 0},
	{SYS_semtimedop, TIMESPEC, 3, -EAGAIN},
	{SYS_rt_sigtimedwait, TIMESPEC, 2, -EAGAIN},
	{SYS_read, RECEIVING, 0, -EAGAIN},
	{SYS_readv, RECEIVING, 0, -EAGAIN},
	{SYS_recvfrom, RECEIVING, 0, -EAGAIN},
	{SYS_recvmsg, RECEIVING, 0, -EAGAIN},
	{SYS_recvmmsg, RECEIVING, 0, -EAGAIN},
	{SYS_accept, RECEIVING, 0, -EAGAIN},
	{SYS_accept4, RECEIVING, 0, -EAGAIN},
	{SYS_write, SENDING, 0, -EAGAIN},
	{SYS_writev, SENDING, 0, -EAGAIN},
	{SYS_sendto, SENDING, 0, -EAGAIN},
	{SYS_sendmsg, SENDING, 0, -EAGAIN},
	{SYS_sendmmsg, SENDING, 0, -EAGAIN},
	{SYS_select, REST_TIMEVAL, 4, 0},
	{SYS_pselect6, REST_TIMESPEC, 4, 0},
	{SYS_ppoll, REST_TIMESPEC, 2, 0},
};

int inj_call_read(const struct inj_process *process, pid_t tid, struct inj_call *ret)
{
	char name[48], text[FILE_MAX_BYTES];
	struct inj_call call;
	uint64_t *a = call.arguments;
	size_t length = 0;

	snprintf(name, sizeof(name), "task/%d/syscall", (int)tid);

	INJ_CLOSE int fd = inj_process_openat(process, name, O_RDONLY);
	int r = fd < 0 ? fd : inj_read_full(fd, text, sizeof(text) - 1, &length);

	if (r < 0)
		return r;
	text[length] = '\0';
	/* "running", or the number, six arguments, stack pointer and pc; -1 outside of calls. */
	if (sscanf(text, "%ld %lx %lx %lx %lx %lx %lx %lx %lx", &call.number, &a[0], &a[1], &a[2],
		   &a[3], &a[4], &a[5], &call.sp, &call.pc) != 9 || call.number < 0)
		return -EAGAIN;
	*ret = call;
	return 0;
}

bool inj_call_matches(const struct inj_call *call, const struct user_regs_struct *regs)
{
	const uint64_t arguments[6] = {regs->rdi, regs->rsi, regs->rdx,
				       regs->r10, regs->r8, regs->r9};

	return (long)regs->orig_rax == call->number && regs->rip == call->pc &&
	       regs->rsp == call->sp &&
	       memcmp(arguments, call->arguments, sizeof(arguments)) == 0;
}

int inj_time_decode(const int64_t words[2], bool in_us, uint64_t *ret_ns)
{
	const int64_t parts = in_us ? 1000000 : 1000000000;

	if (words[0] < 0 || words[1] < 0 || words[1] >= parts ||
	    (uint64_t)words[0] > LONGEST_NS / SECOND_NS)
		return -EINVAL;
	*ret_ns = (uint64_t)words[0] * SECOND_NS +
		  (uint64_t)words[1] * (SECOND_NS / (uint64_t)parts);
	return 0;
}

void inj_time_encode(uint64_t ns, bool in_us, int64_t ret_words[2])
{
	/* Rounded up: never early. */
	if (in_us)
		ns += 999;
	ret_words[0] = (int64_t)(ns / SECOND_NS);
	ret_words[1] = (int64_t)(ns % SECOND_NS / (in_us ? 1000 : 1));
}

static int read_time(const struct inj_process *process, inj_addr at, bool in_us, uint64_t *ret_ns)
{
	int64_t words[2];

	if (!at || inj_mem_read(process, at, words, sizeof(words)) < 0 ||
	    inj_time_decode(words, in_us, ret_ns) < 0)
		return -ENODATA;
	return 0;
}

/*
 * The thread that sleeps in a call on the socket keeps it open for that long, so that our
 * descriptor of it delays nobody's close.
 */
static int read_socket(const struct inj_process *process, int number, int option, uint64_t *ret_ns)
{
	INJ_CLOSE int fd = (int)syscall(SYS_pidfd_getfd, process->pidfd, number, 0);
	int64_t words[2];
	socklen_t length = sizeof(words);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, option, words, &length) < 0 ||
	    length != sizeof(words) || inj_time_decode(words, true, ret_ns) < 0 || *ret_ns == 0)
		return -ENODATA;
	return 0;
}

static int read_timeout(const struct inj_process *process, enum where where, uint64_t argument,
			uint64_t *ret_ns)
{
	switch (where) {
	case MILLISECONDS:
		/* An int: only the low half is the argument's. */
		if ((int32_t)argument < 0)
			return -ENODATA;
		*ret_ns = (uint64_t)(int32_t)argument * 1000000u;
		return 0;
	case TIMESPEC:
	case REST_TIMESPEC:
		return read_time(process, argument, false, ret_ns);
	case REST_TIMEVAL:
		return read_time(process, argument, true, ret_ns);
	case RECEIVING:
		return read_socket(process, (int)argument, SO_RCVTIMEO, ret_ns);
	case SENDING:
		return read_socket(process, (int)argument, SO_SNDTIMEO, ret_ns);
	}
	return -ENODATA;
}

static short ready_of(long number, enum where where)
{
	if (where == SENDING)
		return POLLOUT;
	if (where == RECEIVING || number == SYS_epoll_wait || number == SYS_epoll_pwait ||
	    number == SYS_epoll_pwait2)
		return POLLIN;
	return 0;
}

int inj_timed_call_read(const struct inj_process *process, const struct inj_call *call,
			struct inj_timed_call *ret)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(table); i++) {
		if (table[i].number != call->number)
			continue;

		uint64_t argument = call->arguments[table[i].argument];
		bool in_us = table[i].where == REST_TIMEVAL;
		bool rest = in_us || table[i].where == REST_TIMESPEC;

		*ret = (struct inj_timed_call){
			.timing = rest ? INJ_TIMING_REST : INJ_TIMING_RESULT,
			.result = table[i].result,
			.rest = argument,
			.rest_in_us = in_us,
			.ready = ready_of(call->number, table[i].where),
		};
		return read_timeout(process, table[i].where, argument, &ret->timeout_ns);
	}
	return -ENODATA;
}
