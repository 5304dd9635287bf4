/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a reader might do that fell into wrong hands, for tests of those who depend on it.
 * DSUD_MISDEED=QUESTION:DEED in the environment makes it do one of the deeds below when it is asked
 * that question. Built without the option `fault-points` there is nothing here.
 */
#include "protocols/reader-priv.h"

#ifdef DSU_FAULT_POINTS

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "injector/base/sandbox.h"

static const char *const questions[] = {
	[UPD_ASK_PATCH] = "patch", [UPD_ASK_ATTACH] = "attach", [UPD_ASK_UNWINDER] = "unwinder",
	[UPD_ASK_PLAN] = "plan", [UPD_ASK_PREPARE] = "prepare", [UPD_ASK_FIND] = "find",
	[UPD_ASK_STACK] = "stack", [UPD_ASK_HANDLES] = "handles", [UPD_ASK_SNAPSHOT] = "snapshot",
	[UPD_ASK_NAMES] = "names",
};

static void open_file(struct upd_reading *reading)
{
	syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}

static void make_socket(struct upd_reading *reading)
{
	syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
}

/* By number: whoever reads the sources for tracers finds only those that trace. */
static void trace(struct upd_reading *reading)
{
	syscall(SYS_ptrace, 16 /* PTRACE_ATTACH */, reading->subject.pid, 0, 0);
}

static void read_other_memory(struct upd_reading *reading)
{
	syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
}

static void send_signal(struct upd_reading *reading)
{
	syscall(SYS_kill, 1, 0);
}

static void make_process(struct upd_reading *reading)
{
	syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void run_program(struct upd_reading *reading)
{
	syscall(SYS_execve, "/bin/true", NULL, NULL);
}

static void make_code(struct upd_reading *reading)
{
	syscall(SYS_mmap, 0, INJ_PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void hang(struct upd_reading *reading)
{
	for (;;)
		syscall(SYS_poll, NULL, 0, -1);
}

static void crash(struct upd_reading *reading)
{
	__builtin_trap();
}

static void end(struct upd_reading *reading)
{
	_exit(EXIT_SUCCESS);
}

static void say(const struct upd_reading *reading, uint32_t kind, size_t n_bytes, int byte)
{
	uint8_t bytes[2048];

	memset(bytes, byte, sizeof(bytes));
	upd_message_send(reading->socket, kind, bytes, n_bytes, -1, UINT64_MAX, -1);
}

static void say_nonsense(struct upd_reading *reading)
{
	say(reading, UPD_TELL_DONE, 2048, 0xa5);
}

static void say_nothing(struct upd_reading *reading)
{
	say(reading, UPD_TELL_DONE, 0, 0);
}

static void say_unknown(struct upd_reading *reading)
{
	say(reading, 99, 16, 0);
}

static void refuse_badly(struct upd_reading *reading)
{
	say(reading, UPD_TELL_REFUSED, sizeof(struct upd_tell_refused), 0x7f);
}

/* Have a file opened, which is to be denied under a hold; the end tells which it was. */
static void wish_for_file(struct upd_reading *reading)
{
	const struct inj_module *module = inj_modules_main(reading->subject.modules);
	int fd = reading->door.open_mapped(reading->door.context, module->span.start);

	if (fd >= 0)
		crash(reading);
	end(reading);
}

/* See where in the machine's memory a page of the target lies; the end tells whether. */
static void find_page_frame(struct upd_reading *reading)
{
	const inj_addr address = inj_modules_main(reading->subject.modules)->span.start;
	int fd = reading->door.open(reading->door.context, "pagemap");
	uint64_t entry = 0;

	if (pread(fd, &entry, sizeof(entry), (off_t)(address / INJ_PAGE_BYTES * sizeof(entry))) !=
		    sizeof(entry) ||
	    entry >> 63 == 0 || (entry & ((1ull << 55) - 1)) != 0)
		crash(reading);
	end(reading);
}

/* A header that promises more than anybody has. */
static void promise_much(struct upd_reading *reading)
{
	const uint64_t header[2] = { UPD_TELL_DONE, 1ull << 60 };

	send(reading->socket, header, sizeof(header), MSG_NOSIGNAL);
}

/* Address space until it is refused; more than the limit ends otherwise. */
static void eat_memory(struct upd_reading *reading)
{
	const size_t piece = 256u << 20;

	for (size_t eaten = 0; eaten < INJ_SANDBOX_MEMORY_BYTES; eaten += piece)
		if (mmap(NULL, piece, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
			crash(reading);
	end(reading);
}

static const struct {
	const char *name;
	void (*run)(struct upd_reading *reading);
} deeds[] = {
	{"open", open_file},
	{"socket", make_socket},
	{"ptrace", trace},
	{"readv", read_other_memory},
	{"signal", send_signal},
	{"fork", make_process},
	{"exec", run_program},
	{"code", make_code},
	{"hang", hang},
	{"crash", crash},
	{"end", end},
	{"nonsense", say_nonsense},
	{"nothing", say_nothing},
	{"unknown", say_unknown},
	{"refuse-badly", refuse_badly},
	{"promise", promise_much},
	{"file", wish_for_file},
	{"frame", find_page_frame},
	{"memory", eat_memory},
};

void upd_reader_misdeed(struct upd_reading *reading, uint32_t question)
{
	const char *wanted = getenv("DSUD_MISDEED");
	size_t n;

	if (!wanted || question >= INJ_ARRAY_LENGTH(questions) || !questions[question])
		return;
	n = strlen(questions[question]);
	if (strncmp(wanted, questions[question], n) != 0 || wanted[n] != ':')
		return;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(deeds); i++)
		if (strcmp(deeds[i].name, wanted + n + 1) == 0) {
			deeds[i].run(reading);
			return;
		}
	/* A spelling mistake must not look like a reader that behaves. */
	_exit(EXIT_FAILURE);
}

#endif
