/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns what can be known of a sleeping thread without waking it: since when it sleeps, and whether
 * it has entered another call since. Always holds: what is uncertain is told as a later beginning
 * or not at all, so that nothing computed from it is early. Refuses to guess.
 *
 * The beginning: /proc/PID/task/TID/sched has the time at which the thread left its CPU, on that
 * CPU's clock of tasks. These clocks leave out what interrupts and the host took, so they differ
 * from each other, and run slow; the calling thread goes there to compare, after the beginning was
 * read, and so takes it for later than it was. A sleeper that is still queued may be moved to
 * another CPU; the kernel then forgets the beginning, which is zero until the thread runs again.
 *
 * The same call: breakpoints of the kernel's perf events, which note and do nothing else. One
 * behind the `syscall` instruction: whoever comes there has returned. One on the instruction: the
 * kernel makes a call again by putting the thread back onto it, with rcx as the instruction has
 * left it, which is the address behind. A program that makes another call, be it from where a
 * longjmp out of a signal handler took it, has used rcx since.
 * Source: perf_event_open(2), proc(5), the processor's manual on SYSCALL; update_curr(),
 * proc_sched_show_task() and arch_do_signal_or_restart() of the kernel.
 */
#include <asm/perf_regs.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "injector/base/clock.h"
#include "injector/base/io.h"
#include "injector/stop/repair-priv.h"
#include "injector/stop/waits-priv.h"

#define FILE_MAX_BYTES 16384
/* A page for the kernel to say how far it is, and one of notes. */
#define NOTES_BYTES (2 * INJ_PAGE_BYTES)
#define N_COMPARISONS 3
/* Good enough; most take a tenth of it. */
#define COMPARISON_NS 100000u

static int watch_instruction(pid_t tid, inj_addr at, struct perf_event_attr attributes)
{
	attributes.type = PERF_TYPE_BREAKPOINT;
	attributes.size = sizeof(attributes);
	attributes.bp_type = HW_BREAKPOINT_X;
	attributes.bp_addr = at;
	attributes.bp_len = sizeof(long);
	attributes.exclude_kernel = 1;
	attributes.exclude_hv = 1;

	int fd = (int)syscall(SYS_perf_event_open, &attributes, tid, -1, -1,
			      PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int inj_witness_open(pid_t tid, inj_addr pc, struct inj_witness *ret)
{
	const struct perf_event_attr counting = {0};
	const struct perf_event_attr noting = {
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_REGS_USER,
		.sample_regs_user = 1u << PERF_REG_X86_CX,
	};
	INJ_CLOSE int returned = watch_instruction(tid, pc, counting);
	INJ_CLOSE int entered =
		returned < 0 ? -1 : watch_instruction(tid, pc - INJ_SYSCALL_BYTES, noting);

	if (returned < 0 || entered < 0)
		return returned < 0 ? returned : entered;

	struct inj_witness witness = {returned, entered, NULL, 0, pc};
	int r = inj_witness_inherit(&witness);

	if (r < 0)
		return r;
	inj_take_fd(&returned);
	inj_take_fd(&entered);
	*ret = witness;
	return 0;
}

int inj_witness_inherit(struct inj_witness *witness)
{
	void *notes = mmap(NULL, NOTES_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			   witness->entered_fd, 0);

	/* An old one was not copied by fork(2), and something else may be there by now. */
	witness->notes = notes == MAP_FAILED ? NULL : notes;
	return notes == MAP_FAILED ? -errno : 0;
}

void inj_witness_close(struct inj_witness *witness)
{
	if (witness->notes)
		munmap(witness->notes, NOTES_BYTES);
	inj_close_guard(&witness->entered_fd);
	inj_close_guard(&witness->returned_fd);
	*witness = INJ_WITNESS_NONE;
}

struct note {
	struct perf_event_header header;
	uint64_t abi;
	uint64_t rcx;
};

/* Was it the kernel each time? Notes are as long as each other, unless one tells of a loss. */
static bool all_by_kernel(struct inj_witness *witness)
{
	struct perf_event_mmap_page *page = witness->notes;
	const uint8_t *bytes = (const uint8_t *)witness->notes + INJ_PAGE_BYTES;
	uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = page->data_tail;

	for (; head - tail >= sizeof(struct note); tail += sizeof(struct note)) {
		struct note note;

		for (size_t i = 0; i < sizeof(note); i++)
			((uint8_t *)&note)[i] = bytes[(tail + i) % INJ_PAGE_BYTES];
		if (note.header.type != PERF_RECORD_SAMPLE || note.header.size != sizeof(note) ||
		    note.rcx != witness->pc)
			return false;
		witness->n_notes++;
	}
	__atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
	return head == tail;
}

static bool read_count(int fd, uint64_t *ret)
{
	return read(fd, ret, sizeof(*ret)) == (ssize_t)sizeof(*ret);
}

/*
 * The kernel takes the breakpoints away when the thread ends, and when it gets other rights with an
 * execve. Another thread may have its number and its start time by then.
 */
static bool still_watches(const struct inj_witness *witness)
{
	struct pollfd poller = {.fd = witness->entered_fd};

	return poll(&poller, 1, 0) == 0;
}

bool inj_witness_same(struct inj_witness *witness)
{
	uint64_t n_entered = 0, n_returned = 0;

	/* Notes get lost where there is no room, and where nobody has them mapped any more. */
	return still_watches(witness) && read_count(witness->entered_fd, &n_entered) &&
	       all_by_kernel(witness) && witness->n_notes >= n_entered &&
	       read_count(witness->returned_fd, &n_returned) && n_returned == 0;
}

static int read_text(int folder_fd, const char *name, char *text, size_t size)
{
	INJ_CLOSE int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	int r = fd < 0 ? -errno : inj_read_full(fd, text, size - 1, &length);

	if (r == 0)
		text[length] = '\0';
	return r;
}

/* "se.exec_start   :   11778348.518363": milliseconds, and six digits of a fraction. */
static int read_exec_start(int folder_fd, const char *name, uint64_t *ret_ns)
{
	char text[FILE_MAX_BYTES];
	unsigned long long ms, ns;
	int r = read_text(folder_fd, name, text, sizeof(text));
	/* The first line has the name of the thread, which is the target's to choose. */
	const char *line = r == 0 ? strchr(text, '\n') : NULL;
	const char *at = line ? strstr(line, "\nse.exec_start ") : NULL;

	if (!at)
		return r < 0 ? r : -ENODATA;
	at += strcspn(at, ":");
	if (sscanf(at, ": %llu.%6llu", &ms, &ns) != 2 || ms > UINT64_MAX / 2000000u ||
	    (ms == 0 && ns == 0))
		return -ENODATA;
	*ret_ns = ms * 1000000u + ns;
	return 0;
}

/* The n-th field of a stat file, n >= 3: the first two are not numbers. */
static int stat_field(const char *text, unsigned n, uint64_t *ret)
{
	const char *at = strrchr(text, ')');
	unsigned long long value;

	for (unsigned i = 2; at && i < n; i++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	if (!at || sscanf(at, "%llu", &value) != 1)
		return -ENODATA;
	*ret = value;
	return 0;
}

#define FIELD_START 22
#define FIELD_CPU 39

int inj_thread_start_ticks(pid_t pid, pid_t tid, uint64_t *ret)
{
	char name[64], text[FILE_MAX_BYTES];

	snprintf(name, sizeof(name), "/proc/%d/task/%d/stat", (int)pid, (int)tid);

	int r = read_text(AT_FDCWD, name, text, sizeof(text));

	return r < 0 ? r : stat_field(text, FIELD_START, ret);
}

static int read_stat(const struct inj_process *process, pid_t tid, struct inj_sleep *sleep)
{
	char name[48], text[FILE_MAX_BYTES];
	uint64_t cpu = 0;

	snprintf(name, sizeof(name), "task/%d/stat", (int)tid);

	int r = read_text(process->proc_fd, name, text, sizeof(text));

	if (r == 0)
		r = stat_field(text, FIELD_START, &sleep->start_ticks);
	if (r == 0)
		r = stat_field(text, FIELD_CPU, &cpu);
	sleep->cpu = (unsigned)cpu;
	return r;
}

int inj_sleep_read(const struct inj_process *process, pid_t tid, const struct inj_call *call,
		   struct inj_sleep *ret)
{
	struct inj_sleep sleep;
	struct inj_call again;
	uint64_t since_ns = 0;
	char name[48];

	snprintf(name, sizeof(name), "task/%d/sched", (int)tid);

	int r = read_exec_start(process->proc_fd, name, &sleep.since_ns);

	if (r == 0)
		r = read_stat(process, tid, &sleep);
	/* Awake and not run yet: the CPU may be another one already. */
	if (r == 0)
		r = inj_call_read(process, tid, &again);
	if (r == 0)
		r = read_exec_start(process->proc_fd, name, &since_ns);
	if (r < 0)
		return r;
	if (since_ns != sleep.since_ns || memcmp(&again, call, sizeof(again)) != 0)
		return -EAGAIN;
	*ret = sleep;
	return 0;
}

/*
 * Asking for the time that we ran makes the kernel note the time of that CPU in our own file; it is
 * over before we look at the clock. ret_took_ns: how much later that may have been.
 */
static int compare_once(uint64_t *ret_offset_ns, uint64_t *ret_took_ns)
{
	uint64_t began_ns = inj_now_ns();
	uint64_t noted_ns = 0;
	struct timespec ran;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ran);

	int r = read_exec_start(AT_FDCWD, "/proc/thread-self/sched", &noted_ns);
	uint64_t now_ns = inj_now_ns();

	*ret_offset_ns = now_ns - noted_ns;
	*ret_took_ns = now_ns - began_ns;
	return r;
}

int inj_sleep_clock(unsigned cpu, uint64_t *ret_offset_ns)
{
	uint64_t best_ns = UINT64_MAX;
	cpu_set_t there, home;
	int r = 0;

	if (cpu >= CPU_SETSIZE)
		return -ERANGE;
	if (sched_getaffinity(0, sizeof(home), &home) < 0)
		return -errno;
	CPU_ZERO(&there);
	CPU_SET(cpu, &there);
	if (sched_setaffinity(0, sizeof(there), &there) < 0)
		return -errno;
	for (int i = 0; r == 0 && i < N_COMPARISONS && best_ns > COMPARISON_NS; i++) {
		uint64_t offset_ns = 0, took_ns = 0;

		r = compare_once(&offset_ns, &took_ns);
		if (r == 0 && took_ns < best_ns) {
			best_ns = took_ns;
			*ret_offset_ns = offset_ns;
		}
	}
	sched_setaffinity(0, sizeof(home), &home);
	return best_ns == UINT64_MAX ? r : 0;
}
