/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guarded MODE: a program whose sandbox kills it for what a borrowed thread does.
 *   filter   a seccomp filter that kills the process on mmap, munmap, mprotect and memfd_create
 *   strict   seccomp mode 1: only read, write, exit and rt_sigreturn
 *   coroutine  no sandbox, but its only thread runs on a small stack from malloc
 *   rseq     no sandbox, but its only other thread runs restartable sequences all the time
 * Questions: count (questions so far), aborts (sequences restarted), finished (sequences that
 * came to their end), torn (sequences that went on after the kernel had seen the thread outside
 * of them), quit. Uses nothing but read and write after the start.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define COROUTINE_BYTES 65536

static volatile long n_questions;

/* What the sequences count. */
struct tally {
	volatile uint64_t n_finished;
	volatile uint64_t n_aborted;
	volatile uint64_t n_torn;
};

static struct tally tally;

static void filter(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_munmap, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog whole = {sizeof(program) / sizeof(program[0]), program};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole) != 0)
		_exit(1);
}

static void strict(void)
{
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
		_exit(1);
}

static void nothing(void)
{
}

static void say(const char *text)
{
	if (write(1, text, strlen(text)) < 0)
		syscall(SYS_exit, 1);
}

static void say_number(uint64_t number)
{
	char digits[24];
	size_t at = sizeof(digits) - 1;

	digits[at] = '\0';
	digits[--at] = '\n';
	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	say(digits + at);
}

/* One question at a time: the one who asks waits for the answer. */
static void answer(void)
{
	char line[64];
	ssize_t n;

	say("ready\n");
	while ((n = read(0, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		n_questions++;
		if (strncmp(line, "quit", 4) == 0)
			break;
		if (strncmp(line, "aborts", 6) == 0)
			say_number(tally.n_aborted);
		else if (strncmp(line, "torn", 4) == 0)
			say_number(tally.n_torn);
		else if (strncmp(line, "finished", 8) == 0)
			say_number(tally.n_finished);
		else
			say_number((uint64_t)n_questions);
	}
	/* Not exit_group, which strict mode forbids. */
	syscall(SYS_exit, 0);
}

static void answer_on_small_stack(void)
{
	static ucontext_t here, there;

	getcontext(&there);
	there.uc_stack.ss_sp = malloc(COROUTINE_BYTES);
	there.uc_stack.ss_size = COROUTINE_BYTES;
	makecontext(&there, answer, 0);
	swapcontext(&here, &there);
}

/*
 * A sequence that is nearly always under way: whoever interrupts the thread interrupts it. Its
 * abort handler lies behind it, with the signature in front that the C library registered.
 */
static void *run_sequences(void *argument)
{
	struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);

	for (;;) {
		__asm__ volatile(
			".pushsection __rseq_cs, \"aw\"\n"
			".balign 32\n"
			"3:	.long 0, 0\n"
			"	.quad 1f, 2f - 1f, 4f\n"
			".popsection\n"
			"	lea 3b(%%rip), %%rax\n"
			"	mov %%rax, %[section]\n"
			"1:	mov $1000000, %%ecx\n"
			"5:	dec %%ecx\n"
			"	jnz 5b\n"
			/* The kernel forgets a sequence when it sees the thread elsewhere. */
			"	cmpq $0, %[section]\n"
			"	je 7f\n"
			"	incq %[finished]\n"
			"2:	jmp 6f\n"
			"7:	incq %[torn]\n"
			"	jmp 6f\n"
			"	.long %c[signature]\n"
			"4:	incq %[aborted]\n"
			"6:\n"
			: [section] "+m"(area->rseq_cs), [finished] "+m"(tally.n_finished),
			  [aborted] "+m"(tally.n_aborted), [torn] "+m"(tally.n_torn)
			: [signature] "i"(RSEQ_SIG)
			: "rax", "rcx", "cc", "memory");
	}
	return argument;
}

static void start_sequences(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run_sequences, NULL) != 0)
		_exit(1);
}

static const struct {
	const char *name;
	void (*prepare)(void);
	void (*answer)(void);
} modes[] = {
	{"filter", filter, answer},
	{"strict", strict, answer},
	{"coroutine", nothing, answer_on_small_stack},
	{"rseq", start_sequences, answer},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(argv[1], modes[i].name) == 0) {
			modes[i].prepare();
			modes[i].answer();
		}
	}
	return 2;
}
