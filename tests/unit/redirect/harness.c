/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls functions with every register under control, and steps through them with the trap flag,
 * asking libgcc's unwinder (the one that exceptions use) for its opinion at each step.
 */
#include "tests/unit/redirect/harness.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unwind.h>

#define TRAP_FLAG 0x100
#define MAX_STEPS 20000

/*
 * The unwinder of libgcc. Asked for by name, because libunwind has functions of the same names,
 * which know nothing of registered frames.
 */
static struct {
	__typeof__(_Unwind_Backtrace) *backtrace;
	__typeof__(_Unwind_GetIP) *get_pc;
	__typeof__(_Unwind_GetCFA) *get_cfa;
	__typeof__(_Unwind_GetGR) *get_register;
	void (*add)(void *frames);
	void *(*remove)(void *frames);
} unwinder;

static void *symbol(void *library, const char *name)
{
	void *found = library ? dlsym(library, name) : NULL;

	if (!found)
		abort();
	return found;
}

static void find_unwinder(void)
{
	void *library = dlopen("libgcc_s.so.1", RTLD_NOW);

	unwinder.backtrace = symbol(library, "_Unwind_Backtrace");
	unwinder.get_pc = symbol(library, "_Unwind_GetIP");
	unwinder.get_cfa = symbol(library, "_Unwind_GetCFA");
	unwinder.get_register = symbol(library, "_Unwind_GetGR");
	unwinder.add = symbol(library, "__register_frame");
	unwinder.remove = symbol(library, "__deregister_frame");
}

/* Shared with the assembly below. */
extern void *harness_function;
extern uint64_t harness_stack;
extern uint64_t harness_caller;
extern uint32_t harness_stepping;
extern uint8_t harness_area[524288];
extern const char harness_return[];
void *harness_function;
uint64_t harness_stack;  /* rsp at the call */
uint64_t harness_caller; /* rsp of whoever called the harness */
uint32_t harness_stepping;
uint8_t harness_area[524288] __attribute__((aligned(64))); /* a stack that is always the same */

__asm__(
	"	.text\n"
	"	.globl	harness_call\n"
	"	.type	harness_call, @function\n"
	"harness_call:\n"
	"	pushq	%rbp\n"
	"	pushq	%rbx\n"
	"	pushq	%r12\n"
	"	pushq	%r13\n"
	"	pushq	%r14\n"
	"	pushq	%r15\n"
	"	movq	%rsp, harness_caller(%rip)\n"
	"	leaq	harness_area+524288-16(%rip), %rsp\n"
	"	movq	%rdx, (%rsp)\n"
	"	movq	%rdi, harness_function(%rip)\n"
	"	movq	%rsp, harness_stack(%rip)\n"
	"	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
	"	movdqu	128+16*\\i(%rsi), %xmm\\i\n"
	"	.endr\n"
	"	movq	0(%rsi), %rax\n"
	"	movq	8(%rsi), %rbx\n"
	"	movq	16(%rsi), %rcx\n"
	"	movq	24(%rsi), %rdx\n"
	"	movq	40(%rsi), %rdi\n"
	"	movq	48(%rsi), %rbp\n"
	"	.irp	i, 8, 9, 10, 11, 12, 13, 14, 15\n"
	"	movq	56+8*(\\i-8)(%rsi), %r\\i\n"
	"	.endr\n"
	"	cmpl	$0, harness_stepping(%rip)\n"
	"	je	1f\n"
	"	pushfq\n"
	"	orl	$0x100, (%rsp)\n"
	"	popfq\n"
	"1:	movq	32(%rsi), %rsi\n"
	"	call	*harness_function(%rip)\n"
	"harness_return:\n"
	"	pushq	%rax\n"
	"	movq	8(%rsp), %rax\n"
	"	popq	(%rax)\n"
	"	movq	%rbx, 8(%rax)\n"
	"	movq	%rcx, 16(%rax)\n"
	"	movq	%rdx, 24(%rax)\n"
	"	movq	%rsi, 32(%rax)\n"
	"	movq	%rdi, 40(%rax)\n"
	"	movq	%rbp, 48(%rax)\n"
	"	.irp	i, 8, 9, 10, 11, 12, 13, 14, 15\n"
	"	movq	%r\\i, 56+8*(\\i-8)(%rax)\n"
	"	.endr\n"
	"	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
	"	movdqu	%xmm\\i, 128+16*\\i(%rax)\n"
	"	.endr\n"
	"	movq	harness_caller(%rip), %rsp\n"
	"	popq	%r15\n"
	"	popq	%r14\n"
	"	popq	%r13\n"
	"	popq	%r12\n"
	"	popq	%rbx\n"
	"	popq	%rbp\n"
	"	ret\n"
	"	.size	harness_call, . - harness_call\n");

static struct {
	uint64_t start, end;
	uint64_t steps;
	uint64_t failed_pc;
	int checks;
	bool failed;
	const struct registers *in;
} trace;

struct walk {
	uint64_t pc;
	bool started, arrived, right;
};

static bool callee_saved_intact(struct _Unwind_Context *context)
{
	/* DWARF numbers and places in struct registers */
	static const uint8_t saved[][2] = { { 3, RBX }, { 6, RBP }, { 12, R12 },
					    { 13, R13 }, { 14, R14 }, { 15, R15 } };

	for (unsigned i = 0; i < sizeof(saved) / sizeof(saved[0]); i++)
		if (unwinder.get_register(context, saved[i][0]) != trace.in->general[saved[i][1]])
			return false;
	return true;
}

static _Unwind_Reason_Code visit(struct _Unwind_Context *context, void *argument)
{
	struct walk *walk = argument;
	uint64_t pc = unwinder.get_pc(context);

	if (!walk->started) {
		walk->started = pc == walk->pc;
		return _URC_NO_REASON;
	}
	if (pc != (uint64_t)(uintptr_t)harness_return)
		return _URC_NO_REASON;
	walk->arrived = true;
	walk->right = unwinder.get_cfa(context) == harness_stack && callee_saved_intact(context);
	return _URC_NORMAL_STOP;
}

static void step(int signal, siginfo_t *info, void *argument)
{
	ucontext_t *context = argument;
	struct walk walk = { .pc = (uint64_t)context->uc_mcontext.gregs[REG_RIP] };

	(void)signal;
	(void)info;
	if (walk.pc == (uint64_t)(uintptr_t)harness_return || ++trace.steps > MAX_STEPS)
		context->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	if (walk.pc < trace.start || walk.pc >= trace.end || trace.failed)
		return;
	unwinder.backtrace(visit, &walk);
	trace.checks++;
	if (walk.arrived && walk.right)
		return;
	trace.failed = true;
	trace.failed_pc = walk.pc;
}

int harness_trace(void *function, void *frames, const struct registers *in, struct registers *out,
		  uint64_t start, uint64_t end, uint64_t *ret_pc)
{
	struct sigaction action = { .sa_sigaction = step, .sa_flags = SA_SIGINFO };
	struct sigaction before;

	if (!unwinder.backtrace)
		find_unwinder();
	memset(&trace, 0, sizeof(trace));
	trace.start = start;
	trace.end = end;
	trace.in = in;
	unwinder.add(frames);
	sigaction(SIGTRAP, &action, &before);
	harness_stepping = 1;
	harness_call(function, in, out);
	harness_stepping = 0;
	sigaction(SIGTRAP, &before, NULL);
	unwinder.remove(frames);
	*ret_pc = trace.failed_pc;
	return trace.failed ? -1 : trace.checks;
}

static struct {
	uint64_t from, to;
	uint64_t steps;
	bool arrived;
} diversion;

static void divert(int signal, siginfo_t *info, void *argument)
{
	ucontext_t *context = argument;
	uint64_t pc = (uint64_t)context->uc_mcontext.gregs[REG_RIP];

	(void)signal;
	(void)info;
	if (pc == diversion.from) {
		diversion.arrived = true;
		context->uc_mcontext.gregs[REG_RIP] = (greg_t)diversion.to;
	}
	if (diversion.arrived || pc == (uint64_t)(uintptr_t)harness_return ||
	    ++diversion.steps > MAX_STEPS)
		context->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

bool harness_divert(void *function, const struct registers *in, struct registers *out,
		    uint64_t from, uint64_t to)
{
	struct sigaction action = { .sa_sigaction = divert, .sa_flags = SA_SIGINFO };
	struct sigaction before;

	memset(&diversion, 0, sizeof(diversion));
	diversion.from = from;
	diversion.to = to;
	sigaction(SIGTRAP, &action, &before);
	harness_stepping = 1;
	harness_call(function, in, out);
	harness_stepping = 0;
	sigaction(SIGTRAP, &before, NULL);
	return diversion.arrived;
}
