/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * registers [N [M]]: N threads (default 2) that fill every register they have with known values,
 * spin, and compare; M of them (default 0) wait in system calls instead. Questions:
 *   laps     completed rounds of the thread that has made fewest
 *   wrong    what was found changed so far, as a sentence, or "nothing"
 *   wide     "512", "256" or "128": bits of the widest vector registers that are compared
 *   version  1; what there is to be patched
 *   quit
 * Between two rounds every thread also compares its signal mask, its alternate stack, errno, and
 * what the kernel knows of it: where its rseq area is and its robust list, its name, its bases.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/victims/line.h"

#define MAX_THREADS 64
#define ROUNDS	    20000
#define SITTING_ROUNDS 5
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

/* How a vector register is loaded. */
__asm__(".altmacro\n"
	".macro load_sse n\n"
	"	movdqu 128+64*\\n(%rcx), %xmm\\n\n"
	".endm\n"
	".macro load_avx n\n"
	"	vmovdqu 128+64*\\n(%rcx), %ymm\\n\n"
	".endm\n"
	".macro load_wide n\n"
	"	vmovdqu64 128+64*\\n(%rcx), %zmm\\n\n"
	".endm\n");

/* Save what belongs to the caller; fill everything. */
#define FILL \
	"	push %rbp\n" \
	"	push %rbx\n" \
	"	push %r12\n" \
	"	push %r13\n" \
	"	push %r14\n" \
	"	push %r15\n" \
	"	push %rdi\n" \
	"	mov %rdi, %rcx\n" \
	"	finit\n" \
	"	fldpi\n" \
	"	fld1\n" \
	"	fldl2e\n" \
	"	fldln2\n" \
	"	fldlg2\n" \
	"	fldl2t\n" \
	"	fldpi\n" \
	"	fld1\n" \
	"	cmpq $1, 120(%rcx)\n" \
	"	ja 2f\n" \
	"	je 1f\n" \
	".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" \
	"	load_sse \\n\n" \
	".endr\n" \
	"	jmp 3f\n" \
	"1:\n" \
	".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" \
	"	load_avx \\n\n" \
	".endr\n" \
	"	jmp 3f\n" \
	"2:\n" \
	".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29," \
	"30,31\n" \
	"	load_wide \\n\n" \
	".endr\n" \
	".irp n, 1,2,3,4,5,6,7\n" \
	"	kmovw 128+64*\\n(%rcx), %k\\n\n" \
	".endr\n" \
	"3:\n" \
	"	mov 2176(%rcx), %eax\n" \
	"	mov 2180(%rcx), %edx\n" \
	"	xsave64 2240(%rcx)\n" \
	/* Values that nobody else would leave in the red zone. */ \
	"	movq $0x11223344, -8(%rsp)\n" \
	"	movq $0x55667788, -64(%rsp)\n" \
	"	movq $0x13572468, -128(%rsp)\n" \
	"	mov 0(%rcx), %rax\n" \
	"	mov 8(%rcx), %rdx\n" \
	"	mov 16(%rcx), %rbx\n" \
	"	mov 24(%rcx), %rsi\n" \
	"	mov 32(%rcx), %rdi\n" \
	"	mov 40(%rcx), %rbp\n" \
	"	mov 48(%rcx), %r8\n" \
	"	mov 56(%rcx), %r9\n" \
	"	mov 64(%rcx), %r10\n" \
	"	mov 72(%rcx), %r11\n" \
	"	mov 80(%rcx), %r12\n" \
	"	mov 88(%rcx), %r13\n" \
	"	mov 96(%rcx), %r14\n" \
	"	mov 104(%rcx), %r15\n" \
	"	mov 112(%rcx), %rcx\n"

/* The address of the patterns into rcx; compare the red zone. */
#define COMPARE_RED_ZONE \
	"	mov (%rsp), %rcx\n" \
	"	cmpq $0x55667788, -64(%rsp)\n" \
	"	jne 7f\n" \
	"	cmpq $0x13572468, -128(%rsp)\n" \
	"	jne 7f\n"

/* What neither of the two uses. */
#define COMPARE_OTHERS \
	"	cmp 8(%rcx), %rdx\n" \
	"	jne 6f\n" \
	"	cmp 16(%rcx), %rbx\n" \
	"	jne 6f\n" \
	"	cmp 24(%rcx), %rsi\n" \
	"	jne 6f\n" \
	"	cmp 32(%rcx), %rdi\n" \
	"	jne 6f\n" \
	"	cmp 40(%rcx), %rbp\n" \
	"	jne 6f\n" \
	"	cmp 48(%rcx), %r8\n" \
	"	jne 6f\n" \
	"	cmp 56(%rcx), %r9\n" \
	"	jne 6f\n" \
	"	cmp 64(%rcx), %r10\n" \
	"	jne 6f\n" \
	"	cmp 80(%rcx), %r12\n" \
	"	jne 6f\n" \
	"	cmp 88(%rcx), %r13\n" \
	"	jne 6f\n" \
	"	cmp 96(%rcx), %r14\n" \
	"	jne 6f\n" \
	"	cmp 104(%rcx), %r15\n" \
	"	jne 6f\n"

/* Save the rest for the caller, and give back what is his. */
#define LEAVE \
	"	mov 2176(%rcx), %eax\n" \
	"	mov 2180(%rcx), %edx\n" \
	"	xsave64 18624(%rcx)\n" \
	"	xor %eax, %eax\n" \
	"	jmp 9f\n" \
	"6:	mov $1, %eax\n" \
	"	jmp 9f\n" \
	"7:	mov $2, %eax\n" \
	"	jmp 9f\n" \
	"8:	mov $3, %eax\n" \
	"9:\n" \
	"	cmpq $0, 120(%rcx)\n" \
	"	je 5f\n" \
	"	vzeroupper\n" \
	"5:	finit\n" \
	"	pop %rdi\n" \
	"	pop %r15\n" \
	"	pop %r14\n" \
	"	pop %r13\n" \
	"	pop %r12\n" \
	"	pop %rbx\n" \
	"	pop %rbp\n" \
	"	ret\n"

/*
 * Fill, spin, compare. Return: 0; 1 a general register changed, 2 the red zone, 3 the flags.
 * Vector, mask and x87 registers are saved to `before` and `after` for the caller to compare.
 */
int spin(struct patterns *patterns);

__asm__(".text\n"
	".globl spin\n"
	".type spin, @function\n"
	"spin:\n"
	FILL
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
	COMPARE_RED_ZONE
	"	cmp 0(%rcx), %rax\n"
	"	jne 6f\n"
	"	cmp 72(%rcx), %r11\n"
	"	jne 6f\n"
	COMPARE_OTHERS
	LEAVE
	".size spin, .-spin\n");

/*
 * The same, but waits in epoll_wait(2) instead of spinning: patterns->general has its arguments in
 * their places. The call itself changes rax, rcx and r11. Return: also 3 when the call did not
 * run into its timeout.
 */
int sit(struct patterns *patterns);

__asm__(".text\n"
	".globl sit\n"
	".type sit, @function\n"
	"sit:\n"
	FILL
	"4:\n"
	"	mov $232, %eax\n"
	"	syscall\n"
	"	test %rax, %rax\n"
	"	mov (%rsp), %rcx\n"
	"	jnz 8f\n"
	"	decq 112(%rcx)\n"
	"	jnz 4b\n"
	COMPARE_RED_ZONE
	COMPARE_OTHERS
	LEAVE
	".size sit, .-sit\n");

static const char *const faults[] = {
	"nothing", "a general register", "the red zone", "the flags, or the end of a call",
	"a vector, mask or x87 register", "the signal mask", "the alternate stack", "errno",
	"the rseq area", "the robust list", "the name", "a base register",
};

#define FAULT_VECTOR 4
#define FAULT_MASK   5
#define FAULT_STACK  6
#define FAULT_ERRNO  7
#define FAULT_RSEQ   8
#define FAULT_ROBUST 9
#define FAULT_NAME   10
#define FAULT_BASE   11

/* What the kernel knows of a thread. */
struct standing {
	sigset_t mask;
	stack_t stack;
	struct robust_list_head *robust;
	size_t robust_bytes;
	char name[16];
	unsigned long fs, gs;
};

long version(void);

static long (*volatile call_version)(void) = version;
static long n_threads = 2;
static long n_sitting;
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

__attribute__((noinline)) long version(void)
{
	__asm__ volatile("");
	return 1;
}

static void read_standing(struct standing *standing)
{
	memset(standing, 0, sizeof(*standing));
	pthread_sigmask(SIG_SETMASK, NULL, &standing->mask);
	sigaltstack(NULL, &standing->stack);
	syscall(SYS_get_robust_list, 0, &standing->robust, &standing->robust_bytes);
	prctl(PR_GET_NAME, standing->name);
	syscall(SYS_arch_prctl, ARCH_GET_FS, &standing->fs);
	syscall(SYS_arch_prctl, ARCH_GET_GS, &standing->gs);
}

/* The area is where the C library has put it, and nobody else is inside of a sequence. */
static bool has_rseq(void)
{
	struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);

	if (__rseq_size == 0)
		return true;
	/* The kernel refuses to register the same one again. */
	return area->rseq_cs == 0 && (int)area->cpu_id >= 0 &&
	       syscall(SYS_rseq, area, sizeof(*area), 0, RSEQ_SIG) < 0 && errno == EBUSY;
}

static int check_standing(const struct standing *before)
{
	struct standing now;

	read_standing(&now);
	/* The kernel's part of sigset_t is its first word. */
	if (memcmp(&now.mask, &before->mask, sizeof(uint64_t)) != 0)
		return FAULT_MASK;
	if (now.stack.ss_sp != before->stack.ss_sp ||
	    now.stack.ss_size != before->stack.ss_size ||
	    now.stack.ss_flags != before->stack.ss_flags)
		return FAULT_STACK;
	if (now.robust != before->robust || now.robust_bytes != before->robust_bytes)
		return FAULT_ROBUST;
	if (memcmp(now.name, before->name, sizeof(now.name)) != 0)
		return FAULT_NAME;
	if (now.fs != before->fs || now.gs != before->gs)
		return FAULT_BASE;
	return has_rseq() ? 0 : FAULT_RSEQ;
}

static void take_stand(long index, struct standing *ret)
{
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536 - 16 * (size_t)index};
	char name[16];
	sigset_t mask;

	sigaltstack(&stack, NULL);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigaddset(&mask, index % 2 ? SIGHUP : SIGWINCH);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	snprintf(name, sizeof(name), "thread-%ld", index);
	prctl(PR_SET_NAME, name);
	read_standing(ret);
}

/* The arguments of the call are known values, too. */
static void prepare_call(struct patterns *patterns, int epoll, struct epoll_event *event)
{
	patterns->general[4] = (uint64_t)epoll; /* rdi */
	patterns->general[3] = (uintptr_t)event; /* rsi */
	patterns->general[1] = 1;                /* rdx */
	patterns->general[8] = 1;                /* r10: milliseconds */
	patterns->rounds = SITTING_ROUNDS;
}

static int fill_and_compare(long index, uint64_t seed, struct patterns *patterns, int epoll)
{
	struct epoll_event event;
	int expected = 1000 + (int)(seed % 1000);
	int fault;

	fill(patterns, seed);
	errno = expected;
	if (index < n_sitting) {
		prepare_call(patterns, epoll, &event);
		fault = sit(patterns);
	} else {
		fault = spin(patterns);
	}
	if (!fault && errno != expected)
		fault = FAULT_ERRNO;
	if (!fault && memcmp(patterns->before, patterns->after, XSAVE_BYTES) != 0)
		fault = FAULT_VECTOR;
	return fault;
}

static void *run(void *argument)
{
	long index = (long)argument;
	struct patterns *patterns = aligned_alloc(64, sizeof(*patterns));
	int epoll = epoll_create1(0);
	struct standing standing;

	memset(patterns, 0, sizeof(*patterns));
	take_stand(index, &standing);
	for (uint64_t seed = (uint64_t)index;; seed++) {
		int fault = fill_and_compare(index, seed, patterns, epoll);

		if (!fault)
			fault = check_standing(&standing);
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
	if (argc > 2)
		n_sitting = strtol(argv[2], NULL, 10);
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
		else if (strcmp(line, "version") == 0)
			printf("%ld\n", call_version());
		else if (strcmp(line, "wide") == 0)
			puts(wide == 2 ? "512" : wide == 1 ? "256" : "128");
		else
			puts("?");
	}
	return 0;
}
