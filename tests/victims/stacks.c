/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stacks MODE [main]: one thread (the main thread when asked for) brings watched() into the
 * situation MODE and stays there; another one answers. Questions: tid (of the thread in question),
 * range (start and end of the watched code in hexadecimal), live (activations of it that are
 * certain), address (of the counter behind live), turns, quit.
 *
 * Each watched function is alone in a section of its own, so that the linker tells its bounds.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/victims/line.h"

#define WATCHED	 __attribute__((noinline, noclone, section("watched_code")))
#define NOINLINE __attribute__((noinline, noclone))

extern const char __start_watched_code[], __stop_watched_code[];

static _Atomic long live;
static _Atomic long turns;
static _Atomic long reached;
static _Atomic pid_t tid;
static int never[2]; /* nothing is ever written to this pipe */
static volatile long depth = 1;

/* Blocks for ever, in C code with unwind tables. */
static NOINLINE void block(void)
{
	char byte;

	atomic_store(&reached, 1);
	while (read(never[0], &byte, 1) != 1)
		;
}

/* The function in question: counts itself in and out around whatever brings about the situation. */
typedef void (*situation_fn)(void);
WATCHED void watched(situation_fn go)
{
	atomic_fetch_add(&live, 1);
	go();
	atomic_fetch_sub(&live, 1);
}

static situation_fn arranged; /* what the modes below put under watched() */

/* Spins on its first instruction, which is at the entry. */
void first_instruction(void);
__asm__(".pushsection watched_code,\"ax\",@progbits\n"
	".balign 16\n"
	".globl first_instruction\n.type first_instruction,@function\n"
	"first_instruction: .cfi_startproc\n"
	"	jmp first_instruction\n"
	"	ret\n"
	"	.cfi_endproc\n.size first_instruction, . - first_instruction\n"
	/* A callee-saved register is pushed and popped: the last instruction has the CFA of the
	   first. */
	".globl last_instruction\n.type last_instruction,@function\n"
	"last_instruction: .cfi_startproc\n"
	"	push %rbx\n	.cfi_adjust_cfa_offset 8\n	.cfi_rel_offset %rbx, 0\n"
	"	mov %rsp, %rbx\n"
	"	pop %rbx\n	.cfi_adjust_cfa_offset -8\n	.cfi_restore %rbx\n"
	"1:	jmp 1b\n"
	"	.cfi_endproc\n.size last_instruction, . - last_instruction\n"
	".popsection\n");
void last_instruction(void);

/* read(fd, a byte on the stack, 1) again and again, in a function without any unwind table and with
 * a frame that nobody can guess. */
void untold_block(long fd);
__asm__(".pushsection .text\n"
	".globl untold_block\n.type untold_block,@function\n"
	"untold_block:\n"
	"	push %rbx\n"
	"	mov %rdi, %rbx\n"
	"	sub $328, %rsp\n"
	"1:	mov %rbx, %rdi\n"
	"	mov %rsp, %rsi\n"
	"	mov $1, %edx\n"
	"	xor %eax, %eax\n"
	"	syscall\n"
	"	jmp 1b\n"
	".size untold_block, . - untold_block\n"
	".popsection\n");

static void go_untold(void)
{
	atomic_store(&reached, 1);
	untold_block(never[0]);
}

static void go_jit(void)
{
	/* mov %rdi,%rbx would need saving; the kernel preserves rdi: xor eax; mov rsi,rsp; mov
	 * edx,1; syscall; jmp */
	static const unsigned char code[] = {
		0x48, 0x81, 0xec, 0x08, 0x02, 0x00, 0x00, /* sub $520,%rsp */
		0x48, 0x89, 0xe6,			  /* mov %rsp,%rsi */
		0xba, 0x01, 0x00, 0x00, 0x00,		  /* mov $1,%edx */
		0x31, 0xc0,				  /* xor %eax,%eax */
		0x0f, 0x05,				  /* syscall */
		0xeb, 0xf2,				  /* jmp to mov %rsp,%rsi */
	};
	void *area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(area, code, sizeof(code));
	mprotect(area, 4096, PROT_READ | PROT_EXEC);
	atomic_store(&reached, 1);
	((void (*)(long))area)(never[0]);
}

static void on_signal(int number)
{
	(void)number;
	block();
}

static void signal_now(int flags)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};

	sigaction(SIGUSR1, &action, NULL);
	syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1);
}

static void go_signal(void)
{
	signal_now(0);
}

static void go_altstack(void)
{
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};

	sigaltstack(&stack, NULL);
	signal_now(SA_ONSTACK);
}

/* The signal stack is a variable of an older frame: the interrupted frames lie below it. */
static NOINLINE void with_cut_stack(situation_fn go)
{
	char cut[65536];
	stack_t stack = {.ss_sp = cut, .ss_size = sizeof(cut)};

	sigaltstack(&stack, NULL);
	watched(go);
	__asm__ volatile("" : : "r"(cut) : "memory");
}

static void go_cut(void)
{
	signal_now(SA_ONSTACK);
}

static void go_vdso(void)
{
	struct timespec now;

	atomic_store(&reached, 1);
	for (;;)
		clock_gettime(CLOCK_MONOTONIC, &now);
}

static NOINLINE long deep(long n)
{
	long below = 0;

	if (n > 0)
		below = deep(n - 1);
	else
		block();
	return below + depth;
}

static void go_deep(void)
{
	deep(100000);
}

static void go_deep_1000(void)
{
	deep(1000);
}

/* A thousand frames of a megabyte, of which only the ends are ever touched. */
static NOINLINE long huge(long n)
{
	char room[1 << 20];
	long below = 0;

	room[0] = room[sizeof(room) - 1] = (char)n;
	__asm__ volatile("" : : "r"(room) : "memory");
	if (n > 0)
		below = huge(n - 1);
	else
		block();
	return below + room[0];
}

static void go_huge(void)
{
	huge(1000);
}

static ucontext_t context_home, context_away;

static void away_blocks(void)
{
	block();
}

static void away_watched(void)
{
	watched(block);
}

static NOINLINE void start_away(void (*function)(void))
{
	size_t bytes = 256 * 1024;

	getcontext(&context_away);
	context_away.uc_stack.ss_sp =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	context_away.uc_stack.ss_size = bytes;
	context_away.uc_link = &context_home;
	makecontext(&context_away, function, 0);
	swapcontext(&context_home, &context_away);
}

static void go_away(void)
{
	start_away(away_blocks);
}

/* An address inside watched() lies on the stack, but nobody will return to it. */
static NOINLINE void stale(situation_fn go)
{
	const void *volatile words[8];

	for (int i = 0; i < 8; i++)
		words[i] = (const char *)(const void *)watched + 5 + i;
	go();
	__asm__ volatile("" : : "r"(words) : "memory");
}

static jmp_buf jump;

static void go_longjmp(void)
{
	if (setjmp(jump) == 0)
		longjmp(jump, 1);
}

static void yield_back(void)
{
	for (;;)
		swapcontext(&context_away, &context_home);
}

static void go_swap(void)
{
	swapcontext(&context_home, &context_away);
}

/* The same from watched code itself: for some instructions its pc is in no word of the stack. */
WATCHED static void watched_swap(void)
{
	atomic_fetch_add(&live, 1);
	swapcontext(&context_home, &context_away);
	atomic_fetch_sub(&live, 1);
}

static NOINLINE void jump_back(void)
{
	longjmp(jump, 1);
}

WATCHED static void watched_jump(void)
{
	atomic_fetch_add(&live, 1);
	if (setjmp(jump) == 0)
		jump_back();
	atomic_fetch_sub(&live, 1);
}

static void go_turn_signal(void)
{
	syscall(SYS_tgkill, getpid(), gettid(), SIGUSR2);
}

static void on_turn(int number)
{
	(void)number;
	atomic_fetch_add(&turns, 1);
}

static void go_plt(void)
{
	atomic_fetch_add(&turns, strnlen((const char *)&jump, 16) & 1);
}

static void *be_born(void *argument)
{
	watched(go_plt);
	return argument;
}

static void go_birth(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, be_born, NULL) == 0)
		pthread_join(thread, NULL);
}

static NOINLINE long turn_deep(long n)
{
	return n > 0 ? turn_deep(n - 1) + depth : (go_plt(), 0);
}

static void go_turn_deep(void)
{
	turn_deep(40);
}

/*
 * Everything again and again, quickly: whoever looks at a random moment, or steps through it, sees
 * every instruction of it in time.
 */
static const situation_fn all_turns[] = {go_plt,       go_longjmp,     go_swap,	     watched_swap,
					 watched_jump, go_turn_signal, go_turn_deep, go_birth};

static void turn_for_ever(size_t n_turns)
{
	static char alternate[65536];
	struct sigaction action = {.sa_handler = on_turn, .sa_flags = SA_ONSTACK};
	stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};

	sigaltstack(&stack, NULL);
	sigaction(SIGUSR2, &action, NULL);
	start_away(yield_back);
	atomic_store(&reached, 1);
	for (;;)
		for (size_t i = 0; i < n_turns; i++) {
			watched(all_turns[i]);
			all_turns[i]();
			atomic_fetch_add(&turns, 1);
		}
}

static void all_for_ever(void)
{
	turn_for_ever(sizeof(all_turns) / sizeof(*all_turns));
}

/* Without other threads, so that whatever is live is live in this one. */
static void alone_for_ever(void)
{
	turn_for_ever(sizeof(all_turns) / sizeof(*all_turns) - 1);
}

static void under_watched(void)
{
	watched(arranged);
}

static void plain(void)
{
	arranged();
}

static void under_stale(void)
{
	stale(arranged);
}

static void under_cut(void)
{
	with_cut_stack(arranged);
}

static void spin_first(void)
{
	atomic_store(&reached, 1);
	first_instruction();
}

static void spin_last(void)
{
	atomic_store(&reached, 1);
	last_instruction();
}

static const struct mode {
	const char *name;
	situation_fn run;
	situation_fn arranged;
} modes[] = {
	{"first", spin_first, NULL},
	{"last", spin_last, NULL},
	{"syscall", under_watched, block},
	{"signal", under_watched, go_signal},
	{"altstack", under_watched, go_altstack},
	{"cut", under_cut, go_cut},
	{"vdso", under_watched, go_vdso},
	{"untold", under_watched, go_untold},
	{"jit", under_watched, go_jit},
	{"deep", under_watched, go_deep},
	{"deep-1000", under_watched, go_deep_1000},
	{"huge", under_watched, go_huge},
	{"home-suspended", under_watched, go_away},
	{"not-syscall", plain, block},
	{"not-signal", plain, go_signal},
	{"not-altstack", plain, go_altstack},
	{"not-vdso", plain, go_vdso},
	{"not-untold", plain, go_untold},
	{"not-deep", plain, go_deep},
	{"not-huge", plain, go_huge},
	{"not-away", plain, go_away},
	{"stale-syscall", under_stale, block},
	{"stale-altstack", under_stale, go_altstack},
	{"stale-deep", under_stale, go_deep},
	{"stale-untold", under_stale, go_untold},
	{"turns", all_for_ever, NULL},
	{"turns-alone", alone_for_ever, NULL},
};

static void away_mode(void)
{
	start_away(away_watched);
}

static const struct mode away = {"away", away_mode, NULL};
static const struct mode *mode;

static void *be_in_question(void *argument)
{
	atomic_store(&tid, gettid());
	mode->run();
	return argument;
}

static void *answer(void *argument)
{
	const char *line;

	while (!atomic_load(&reached))
		sched_yield();
	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "tid") == 0)
			printf("%d\n", (int)atomic_load(&tid));
		else if (strcmp(line, "range") == 0)
			printf("%lx %lx\n", (unsigned long)__start_watched_code,
			       (unsigned long)__stop_watched_code);
		else if (strcmp(line, "live") == 0)
			printf("%ld\n", atomic_load(&live));
		else if (strcmp(line, "turns") == 0)
			printf("%ld\n", atomic_load(&turns));
		else if (strcmp(line, "address") == 0)
			printf("%lx\n", (unsigned long)&live);
		else
			puts("?");
	}
	_exit(0);
	return argument;
}

static const struct mode *find_mode(const char *name)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++)
		if (strcmp(modes[i].name, name) == 0)
			return &modes[i];
	return strcmp(away.name, name) == 0 ? &away : NULL;
}

int main(int argc, char **argv)
{
	pthread_attr_t attributes;
	pthread_t thread;

	mode = argc > 1 ? find_mode(argv[1]) : NULL;
	if (!mode || pipe(never))
		return 2;
	arranged = mode->arranged;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, (size_t)(strstr(mode->name, "huge") ? 1100 : 64)
						       << 20);
	if (argc > 2) {
		pthread_create(&thread, &attributes, answer, NULL);
		be_in_question(NULL);
	} else {
		pthread_create(&thread, &attributes, be_in_question, NULL);
		answer(NULL);
	}
	return 0;
}
