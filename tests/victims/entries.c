/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * entries [N [handler | asleep]]: functions of assembly that begin in every way that matters to a
 * redirect; each adds 1 to its argument. N threads (default 2) call all of them all the time, or
 * sleep for ever if `asleep`. `handler`: catches SIGCONT.
 * Questions:
 *   NAME      what the function makes of 0
 *   rounds    how often the slowest thread came round
 *   wrong     how many calls of the threads returned neither what the old nor what the new
 *             version returns
 *   conts     how many SIGCONT were caught
 *   quit
 */
#include <signal.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/victims/line.h"

#define MAX_THREADS 64

/* Only `short_one` and what follows it stand without a gap, so that there is nothing to jump
 * through. */
__asm__(".text\n"
	".macro begin name\n"
	".globl \\name\n"
	".type \\name, @function\n"
	"\\name:\n"
	"	.cfi_startproc\n"
	".endm\n"
	".macro end name\n"
	"	.cfi_endproc\n"
	"	.size \\name, . - \\name\n"
	".endm\n"

	/* Five bytes: just enough. */
	"	.balign 16, 0xcc\n"
	"begin plain\n"
	"	lea 1(%rdi), %rax\n"
	"	ret\n"
	"end plain\n"

	/* Four bytes, and padding behind it. */
	"	.balign 16, 0xcc\n"
	"begin tiny\n"
	"	xchg %edi, %eax\n"
	"	inc %eax\n"
	"	ret\n"
	"end tiny\n"
	"	.balign 32, 0xcc\n"

	/* A loop whose head is the entry. */
	"begin looping\n"
	"	inc %rdi\n"
	"	test $1, %dil\n"
	"	jz looping\n"
	"	mov %rdi, %rax\n"
	"	ret\n"
	"end looping\n"
	"	.balign 32, 0xcc\n"

	/* A loop whose head is the second instruction: inside of what a long jump covers. */
	"begin winding\n"
	"	mov %edi, %eax\n"
	"1:	inc %eax\n"
	"	test $1, %al\n"
	"	jz 1b\n"
	"	ret\n"
	"end winding\n"
	"	.balign 32, 0xcc\n"

	/* What may be the target of an indirect call. */
	"begin marked\n"
	"	endbr64\n"
	"	lea 1(%rdi), %rax\n"
	"	ret\n"
	"end marked\n"
	"	.balign 32, 0xcc\n"

	"begin calling\n"
	"	call helper\n"
	"	add %rdi, %rax\n"
	"	ret\n"
	"end calling\n"
	"begin helper\n"
	"	mov $1, %eax\n"
	"	ret\n"
	"end helper\n"
	"	.balign 32, 0xcc\n"

	"begin relative\n"
	"	mov entries_one(%rip), %rax\n"
	"	add %rdi, %rax\n"
	"	ret\n"
	"end relative\n"
	"	.balign 32, 0xcc\n"

	"begin leaping\n"
	"	jmp plain\n"
	"end leaping\n"
	"	.balign 32, 0xcc\n"

	"begin branching\n"
	"	test %rdi, %rdi\n"
	"	js 1f\n"
	"	lea 1(%rdi), %rax\n"
	"	ret\n"
	"1:	lea 1(%rdi), %rax\n"
	"	ret\n"
	"end branching\n"
	"	.balign 32, 0xcc\n"

	/* The first two bytes on one page, the rest on the next; no padding in reach. */
	"	.balign 4096, 0xf4\n"
	"	.skip 4096 - 66, 0xf4\n"
	"begin before_crossing\n"
	"	.skip 63, 0x90\n"
	"	ret\n"
	"end before_crossing\n"
	"begin crossing\n"
	"	lea 1(%rdi), %rax\n"
	"	jmp 1f\n"
	"	.skip 120, 0x90\n"
	"1:	ret\n"
	"end crossing\n"

	/* Its second instruction is a jump's target and no padding is near: it cannot be inert. */
	"begin crowded\n"
	"	mov %edi, %eax\n"
	"1:	inc %eax\n"
	"	test $1, %al\n"
	"	jz 1b\n"
	"	jmp 2f\n"
	"	.skip 120, 0x90\n"
	"2:	ret\n"
	"end crowded\n"

	/* Four bytes with something else right behind it. */
	"begin short_one\n"
	"	xchg %edi, %eax\n"
	"	inc %eax\n"
	"	ret\n"
	"end short_one\n"
	"begin behind_short_one\n"
	"	.skip 200, 0x90\n"
	"	ret\n"
	"end behind_short_one\n");

#define FUNCTIONS(X)                                                                              \
	X(plain) X(tiny) X(looping) X(winding) X(marked) X(calling) X(relative) X(leaping)        \
	X(branching) X(crossing) X(crowded) X(short_one)

#define DECLARE(name) long name(long x);
FUNCTIONS(DECLARE)

long entries_one = 1;

#define ITEM(name) {#name, name},
static const struct {
	const char *name;
	long (*volatile function)(long x);
} functions[] = {FUNCTIONS(ITEM)};

#define N_FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

static _Atomic long rounds[MAX_THREADS];
static _Atomic long wrong;
static long n_threads = 2;
static volatile sig_atomic_t conts;

static void *run(void *argument)
{
	long i = (long)argument;

	for (;;) {
		for (size_t k = 0; k < N_FUNCTIONS; k++) {
			long result = functions[k].function(0);

			if (result != 1 && result != 1000)
				wrong++;
		}
		rounds[i]++;
	}
	return NULL;
}

static void *sleep_on(void *argument)
{
	for (;;)
		pause();
	return argument;
}

static void count_cont(int number)
{
	(void)number;
	conts++;
}

static void answer(const char *line)
{
	long least = rounds[0];

	for (size_t k = 0; k < N_FUNCTIONS; k++)
		if (strcmp(line, functions[k].name) == 0) {
			printf("%ld\n", functions[k].function(0));
			return;
		}
	for (long i = 1; i < n_threads; i++)
		least = rounds[i] < least ? rounds[i] : least;
	if (strcmp(line, "rounds") == 0)
		printf("%ld\n", least);
	else if (strcmp(line, "wrong") == 0)
		printf("%ld\n", (long)wrong);
	else if (strcmp(line, "conts") == 0)
		printf("%d\n", (int)conts);
	else
		puts("?");
}

int main(int argc, char **argv)
{
	const char *line;

	void *(*body)(void *) = argc > 2 && strcmp(argv[2], "asleep") == 0 ? sleep_on : run;

	n_threads = argc > 1 ? atol(argv[1]) : n_threads;
	if (argc > 2 && strcmp(argv[2], "handler") == 0)
		signal(SIGCONT, count_cont);
	for (long i = 0; i < n_threads; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, body, (void *)i) != 0)
			return 1;
	}
	line_ready();
	while ((line = line_next()))
		answer(line);
	return 0;
}
