/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * registers [N]: N threads (default 2) that fill every register they have with known values,
 * spin, and compare. Questions:
 *   laps     completed rounds of the thread that has made fewest
 *   wrong    what was found changed so far, as a sentence, or "nothing"
 *   wide     "512", "256" or "128": bits of the widest vector registers that are compared
 *   quit
 * Between two rounds every thread also compares its signal mask and its alternate stack.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/victims/line.h"

#define MAX_THREADS 64
#define ROUNDS	    20000
#define XSAVE_BYTES 16384

/* What spin() reads and writes; offsets stand in the assembly. */
struct patterns {
	uint64_t general[14];             /* 0 */
	uint64_t rounds;                  /* 112 */
	uint64_t wide;                    /* 120: 2 for 512 bits, 1 for 256, 0 for 128 */
	uint64_t vector[32][8];           /* 128 */
	uint64_t features;                /* 2176: for xsave */
	uint64_t pad[7];
	uint8_t before[XSAVE_BYTES];      /* 2240 */
	uint8_t after[XSAVE_BYTES];       /* 18624 */
};

_Static_assert(offsetof(struct patterns, vector) == 128, "assembly");
_Static_assert(offsetof(struct patterns, features) == 2176, "assembly");
_Static_assert(offsetof(struct patterns, before) == 2240, "assembly");
_Static_assert(offsetof(struct patterns, after) == 18624, "assembly");

/*
 * Fill, spin, compare. Return: 0; 1 a general register changed, 2 the red zone, 3 the flags.
 * Vector, mask and x87 registers are saved to `before` and `after` for the caller to compare.
 */
int spin(struct patterns *patterns);

__asm__(".text\n"
	".globl spin\n"
	".type spin, @function\n"
	"spin:\n"
	"	push %rbp\n"
	"	push %rbx\n"
	"	push %r12\n"
	"	push %r13\n"
	"	push %r14\n"
	"	push %r15\n"
	"	push %rdi\n"
	"	mov %rdi, %rcx\n"
	"	finit\n"
	"	fldpi\n"
	"	fld1\n"
	"	fldl2e\n"
	"	fldln2\n"
	"	fldlg2\n"
	"	fldl2t\n"
	"	fldpi\n"
	"	fld1\n"
	"	cmpq $1, 120(%rcx)\n"
	"	ja 2f\n"
	"	je 1f\n"
	".altmacro\n"
	".macro load_sse n\n"
	"	movdqu 128+64*\\n(%rcx), %xmm\\n\n"
	".endm\n"
	".macro load_avx n\n"
	"	vmovdqu 128+64*\\n(%rcx), %ymm\\n\n"
	".endm\n"
	".macro load_wide n\n"
	"	vmovdqu64 128+64*\\n(%rcx), %zmm\\n\n"
	".endm\n"
	".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	load_sse \\n\n"
	".endr\n"
	"	jmp 3f\n"
	"1:\n"
	".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	load_avx \\n\n"
	".endr\n"
	"	jmp 3f\n"
	"2:\n"
	".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,"
	"30,31\n"
	"	load_wide \\n\n"
	".endr\n"
	".irp n, 1,2,3,4,5,6,7\n"
	"	kmovw 128+64*\\n(%rcx), %k\\n\n"
	".endr\n"
	"3:\n"
	"	mov 2176(%rcx), %eax\n"
	"	mov 2180(%rcx), %edx\n"
	"	xsave64 2240(%rcx)\n"
	/* Values that nobody else would leave in the red zone. */
	"	movq $0x11223344, -8(%rsp)\n"
	"	movq $0x55667788, -64(%rsp)\n"
	"	movq $0x13572468, -128(%rsp)\n"
	"	mov 0(%rcx), %rax\n"
	"	mov 8(%rcx), %rdx\n"
	"	mov 16(%rcx), %rbx\n"
	"	mov 24(%rcx), %rsi\n"
	"	mov 32(%rcx), %rdi\n"
	"	mov 40(%rcx), %rbp\n"
	"	mov 48(%rcx), %r8\n"
	"	mov 56(%rcx), %r9\n"
	"	mov 64(%rcx), %r10\n"
	"	mov 72(%rcx), %r11\n"
	"	mov 80(%rcx), %r12\n"
	"	mov 88(%rcx), %r13\n"
	"	mov 96(%rcx), %r14\n"
	"	mov 104(%rcx), %r15\n"
	"	mov 112(%rcx), %rcx\n"
	"4:\n"
	"	stc\n"
	"	pause\n"
	"	jnc 8f\n"
	"	std\n"
	"	pushf\n"
	"	cld\n"
	"	testl $0x400, (%rsp)\n"
	"	lea 8(%rsp), %rsp\n"
	"	jz 8f\n"
	/* pushf used the topmost slot of the red zone: put the value back. */
	"	movq $0x11223344, -8(%rsp)\n"
	"	dec %rcx\n"
	"	jnz 4b\n"
	"	mov (%rsp), %rcx\n"
	"	cmpq $0x55667788, -64(%rsp)\n"
	"	jne 7f\n"
	"	cmpq $0x13572468, -128(%rsp)\n"
	"	jne 7f\n"
	"	cmp 0(%rcx), %rax\n"
	"	jne 6f\n"
	"	cmp 8(%rcx), %rdx\n"
	"	jne 6f\n"
	"	cmp 16(%rcx), %rbx\n"
	"	jne 6f\n"
	"	cmp 24(%rcx), %rsi\n"
	"	jne 6f\n"
	"	cmp 32(%rcx), %rdi\n"
	"	jne 6f\n"
	"	cmp 40(%rcx), %rbp\n"
	"	jne 6f\n"
	"	cmp 48(%rcx), %r8\n"
	"	jne 6f\n"
	"	cmp 56(%rcx), %r9\n"
	"	jne 6f\n"
	"	cmp 64(%rcx), %r10\n"
	"	jne 6f\n"
	"	cmp 72(%rcx), %r11\n"
	"	jne 6f\n"
	"	cmp 80(%rcx), %r12\n"
	"	jne 6f\n"
	"	cmp 88(%rcx), %r13\n"
	"	jne 6f\n"
	"	cmp 96(%rcx), %r14\n"
	"	jne 6f\n"
	"	cmp 104(%rcx), %r15\n"
	"	jne 6f\n"
	"	mov 2176(%rcx), %eax\n"
	"	mov 2180(%rcx), %edx\n"
	"	xsave64 18624(%rcx)\n"
	"	xor %eax, %eax\n"
	"	jmp 9f\n"
	"6:	mov $1, %eax\n"
	"	jmp 9f\n"
	"7:	mov $2, %eax\n"
	"	jmp 9f\n"
	"8:	mov $3, %eax\n"
	"9:\n"
	"	cmpq $0, 120(%rcx)\n"
	"	je 5f\n"
	"	vzeroupper\n"
	"5:	finit\n"
	"	pop %rdi\n"
	"	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %rbx\n"
	"	pop %rbp\n"
	"	ret\n"
	".size spin, .-spin\n");

static const char *const faults[] = {
	"nothing", "a general register", "the red zone", "the flags",
	"a vector, mask or x87 register", "the signal mask", "the alternate stack",
};

#define FAULT_VECTOR 4
#define FAULT_MASK   5
#define FAULT_STACK  6

static long n_threads = 2;
static uint64_t wide;
static uint64_t features;
static _Atomic long laps[MAX_THREADS];
static atomic_int wrong;

static void fill(struct patterns *patterns, uint64_t seed)
{
	uint64_t *word = (uint64_t *)patterns;

	for (size_t i = 0; i < offsetof(struct patterns, features) / sizeof(*word); i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		word[i] = seed;
	}
	patterns->rounds = ROUNDS;
	patterns->wide = wide;
	patterns->features = features;
}

static int check_signals(const sigset_t *mask, const stack_t *stack)
{
	sigset_t mask_now;
	stack_t stack_now;

	pthread_sigmask(SIG_SETMASK, NULL, &mask_now);
	sigaltstack(NULL, &stack_now);
	/* The kernel's part of sigset_t is its first word. */
	if (memcmp(&mask_now, mask, sizeof(uint64_t)) != 0)
		return FAULT_MASK;
	if (stack_now.ss_sp != stack->ss_sp || stack_now.ss_size != stack->ss_size ||
	    stack_now.ss_flags != stack->ss_flags)
		return FAULT_STACK;
	return 0;
}

static void set_signals(long index, sigset_t *mask, stack_t *stack)
{
	*stack = (stack_t){.ss_sp = malloc(65536), .ss_size = 65536 - 16 * (size_t)index};
	sigaltstack(stack, NULL);
	sigemptyset(mask);
	sigaddset(mask, SIGUSR2);
	sigaddset(mask, index % 2 ? SIGHUP : SIGWINCH);
	pthread_sigmask(SIG_SETMASK, mask, NULL);
}

static void *run(void *argument)
{
	long index = (long)argument;
	struct patterns *patterns = aligned_alloc(64, sizeof(*patterns));
	sigset_t mask;
	stack_t stack;

	memset(patterns, 0, sizeof(*patterns));
	set_signals(index, &mask, &stack);
	for (uint64_t seed = (uint64_t)index;; seed++) {
		fill(patterns, seed);

		int fault = spin(patterns);

		if (!fault && memcmp(patterns->before, patterns->after, XSAVE_BYTES) != 0)
			fault = FAULT_VECTOR;
		if (!fault)
			fault = check_signals(&mask, &stack);
		if (fault)
			wrong = fault;
		laps[index]++;
	}
	return NULL;
}

static uint64_t read_xcr0(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static void look_at_cpu(void)
{
	uint64_t xcr0 = read_xcr0();

	/* x87, SSE, AVX, and the three parts of AVX-512; protection keys are the kernel's. */
	features = xcr0 & 0xe7;
	wide = (xcr0 & 0xe0) == 0xe0 ? 2 : (xcr0 & 4) ? 1 : 0;
}

static long fewest(void)
{
	long least = laps[0];

	for (long i = 1; i < n_threads; i++)
		least = laps[i] < least ? laps[i] : least;
	return least;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	const char *line;

	if (argc > 1)
		n_threads = strtol(argv[1], NULL, 10);
	if (n_threads < 1 || n_threads > MAX_THREADS)
		return 2;
	look_at_cpu();
	for (long i = 0; i < n_threads; i++)
		if (pthread_create(&thread, NULL, run, (void *)i) != 0)
			return 1;
	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "laps") == 0)
			printf("%ld\n", fewest());
		else if (strcmp(line, "wrong") == 0)
			puts(faults[wrong]);
		else if (strcmp(line, "wide") == 0)
			puts(wide == 2 ? "512" : wide == 1 ? "256" : "128");
		else
			puts("?");
	}
	return 0;
}
