/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns what a borrowed thread does for us. Always holds, at every moment at which we may die:
 * let go, the thread reaches rt_sigreturn(2) on the frame by itself. It enters the kernel with
 * that very call, which every seccomp filter lets pass; only in the stop at the entry is it
 * turned into another one, by one word, and after the exit it goes to rt_sigreturn again.
 * Between writing that word and resuming, our death would show the other call to a filter; these
 * are two adjacent calls of ours. Refuses to go on with a thread that does not answer.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "injector/stop/borrow-priv.h"

#define SYSCALL_BYTES 2
/* Long enough for any call that only waits for memory or a lock of the kernel. */
#define CALL_NS 2000000000u

#define MESSAGE_ENTRY 1 /* PTRACE_EVENTMSG_SYSCALL_ENTRY */
#define FLAGS_CLEAN 0x202u

/* See inj_borrow_pad(). */
static const uint8_t pad_bytes[] = {
	0xff, 0xd3,                   /* call *%rbx       the function */
	0x48, 0x89, 0xc3,             /* mov %rax,%rbx    its result, kept for us */
	0x4c, 0x89, 0xe4,             /* mov %r12,%rsp    the context of the signal frame */
	0xb8, 0x0f, 0x00, 0x00, 0x00, /* mov $15,%eax     rt_sigreturn */
	0x0f, 0x05,                   /* syscall */
	0x0f, 0x0b,                   /* ud2              not reached */
};

#define PAD_SYSCALL 13u

/*
 * Faults of the thread itself. Blocked, they would make the kernel reset the program's own
 * handler before it kills (force_sig_info_to_task()); so they stay open, and we are told first.
 */
static const int fault_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};

uint64_t inj_borrow_blocked(void)
{
	uint64_t mask = UINT64_MAX;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(fault_signals); i++)
		mask &= ~(1ull << (fault_signals[i] - 1));
	return mask;
}

static bool is_own_fault(const struct inj_borrow *borrow, int signal)
{
	int code = 0;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(fault_signals); i++)
		if (fault_signals[i] == signal)
			/* Codes above 0 come from the kernel, others from kill and the like. */
			return inj_pt_get_signal_code(borrow->tid, &code) == 0 && code > 0;
	return false;
}

unsigned long inj_borrow_options(bool suspend_seccomp)
{
	return PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC |
	       (suspend_seccomp ? PTRACE_O_SUSPEND_SECCOMP : 0);
}

struct user_regs_struct inj_borrow_away(const struct inj_borrow *borrow)
{
	struct user_regs_struct regs = borrow->home;

	regs.rip = borrow->gadget.start;
	regs.rsp = borrow->gadget.in_two_pieces ? borrow->frame.chain : borrow->frame.context;
	regs.eflags = FLAGS_CLEAN;
	regs.orig_rax = (uint64_t)-1;
	return regs;
}

void inj_borrow_lose(struct inj_borrow *borrow)
{
	inj_agent_end(borrow->agent);
	if (borrow->phase != BORROW_LOST && borrow->first_interrupt_ns)
		borrow->held_ns = inj_now_ns() - borrow->first_interrupt_ns;
	borrow->phase = BORROW_LOST;
}

int inj_borrow_refuse_lost(const struct inj_borrow *borrow, struct inj_why *why)
{
	int r = inj_refuse(why, INJ_PROCESS_GONE,
			   "thread %d of process %d (%s) is no longer borrowed: it ended, or was "
			   "left alone; look at the process again",
			   (int)borrow->tid, (int)borrow->process->pid, borrow->process->comm);

	if (why) {
		why->pid = borrow->process->pid;
		why->tid = borrow->tid;
	}
	return r;
}

int inj_borrow_await(struct inj_borrow *borrow, uint64_t deadline_ns, struct inj_stop *ret)
{
	for (;;) {
		struct inj_stop stop;
		int r = inj_pt_wait(borrow->tid, deadline_ns, &stop);

		if (r < 0)
			return r == -ECHILD ? -ESRCH : r;
		if (stop.kind == INJ_STOP_ENDED || stop.kind == INJ_STOP_EXEC)
			return -ESRCH;
		if (stop.kind == INJ_STOP_SYSCALL ||
		    (stop.kind == INJ_STOP_SIGNAL && is_own_fault(borrow, stop.signal))) {
			*ret = stop;
			return 0;
		}
		/*
		 * Stop and continue signals cannot be kept back and must not be: they undo each
		 * other. A wait of a function interrupted by one takes the restart block.
		 */
		borrow->block_lost |= borrow->xstate_changed;
		r = inj_pt_resume(borrow->tid, INJ_RESUME_TO_SYSCALL,
				  stop.kind == INJ_STOP_SIGNAL ? stop.signal : 0);
		if (r < 0)
			return r;
	}
}

static int resume_and_await(struct inj_borrow *borrow, uint64_t deadline_ns, struct inj_stop *ret)
{
	int r = inj_pt_resume(borrow->tid, INJ_RESUME_TO_SYSCALL, 0);

	return r < 0 ? r : inj_borrow_await(borrow, deadline_ns, ret);
}

/* Is the thread at the entry of rt_sigreturn on our frame, made by the instruction at `syscall`? */
static int is_at_sigreturn(const struct inj_borrow *borrow, inj_addr syscall,
			   struct user_regs_struct *ret_regs)
{
	unsigned long message = 0;
	int r = inj_pt_get_message(borrow->tid, &message);

	if (r == 0)
		r = inj_pt_get_regs(borrow->tid, ret_regs);
	if (r < 0)
		return r;
	return message == MESSAGE_ENTRY && ret_regs->orig_rax == SYS_rt_sigreturn &&
	       ret_regs->rip == syscall + SYSCALL_BYTES &&
	       ret_regs->rsp == borrow->frame.context;
}

/* Run until the thread is there. ret: SYSCALL when it is, SIGNAL for a fault of its own. */
static int run_to_sigreturn(struct inj_borrow *borrow, inj_addr syscall, uint64_t deadline_ns,
			    struct user_regs_struct *ret_regs, struct inj_stop *ret)
{
	for (;;) {
		int r = resume_and_await(borrow, deadline_ns, ret);

		if (r < 0 || ret->kind == INJ_STOP_SIGNAL)
			return r;
		r = is_at_sigreturn(borrow, syscall, ret_regs);
		if (r != 0)
			return r < 0 ? r : 0;
	}
}

/*
 * At the entry of rt_sigreturn: make another call of it. number -1: of none at all. Afterwards
 * the thread is in the stop at the exit, set to go home by itself.
 */
static int replace_call(struct inj_borrow *borrow, struct user_regs_struct regs, long number,
			const uint64_t arguments[6], int64_t *ret_result)
{
	struct inj_stop stop;
	struct user_regs_struct away = inj_borrow_away(borrow);

	regs.rip = away.rip;
	regs.rdi = arguments[0];
	regs.rsi = arguments[1];
	regs.rdx = arguments[2];
	regs.r10 = arguments[3];
	regs.r8 = arguments[4];
	regs.r9 = arguments[5];
	/* In two pieces the way home begins elsewhere on the stack: then all at once. */
	if (borrow->gadget.in_two_pieces) {
		regs.rsp = away.rsp;
		regs.orig_rax = (uint64_t)number;
	}

	int r = inj_pt_set_regs(borrow->tid, &regs);

	if (!borrow->gadget.in_two_pieces) {
		inj_fault_point("borrow-armed");
		if (r == 0)
			r = inj_pt_set_number(borrow->tid, number);
	}
	if (r == 0)
		r = resume_and_await(borrow, inj_now_ns() + CALL_NS, &stop);
	inj_fault_point("borrow-called");
	if (r == 0)
		r = inj_pt_get_regs(borrow->tid, &regs);
	if (r == 0)
		r = inj_pt_set_regs(borrow->tid, &away);
	if (r < 0)
		return r;
	if (ret_result)
		*ret_result = (int64_t)regs.rax;
	inj_fault_point("borrow-exited");
	return stop.kind == INJ_STOP_SYSCALL ? 0 : -EFAULT;
}

/* From a stop in which the thread is set to go home, to the entry of rt_sigreturn. */
static int enter(struct inj_borrow *borrow, struct user_regs_struct *ret_regs)
{
	struct user_regs_struct regs = inj_borrow_away(borrow);
	struct inj_stop stop;

	/* In two pieces: straight to the second one, which leaves nothing on the stack. */
	regs.rip = borrow->gadget.in_two_pieces ? borrow->gadget.syscall : regs.rip;
	regs.rsp = borrow->frame.context;
	regs.rax = SYS_rt_sigreturn;

	int r = inj_pt_set_regs(borrow->tid, &regs);

	borrow->at_trap = false;
	if (r == 0)
		r = run_to_sigreturn(borrow, borrow->gadget.syscall, inj_now_ns() + CALL_NS,
				     ret_regs, &stop);
	if (r < 0)
		return r;
	inj_fault_point("borrow-entered");
	return stop.kind == INJ_STOP_SYSCALL ? 0 : -EFAULT;
}

struct syscall_request {
	struct inj_borrow *borrow;
	long number;
	const uint64_t *arguments;
	int64_t result;
};

static int run_syscall(void *argument)
{
	struct syscall_request *request = argument;
	struct user_regs_struct regs;
	int r = enter(request->borrow, &regs);

	return r < 0 ? r
		     : replace_call(request->borrow, regs, request->number, request->arguments,
				    &request->result);
}

/* A call could not be carried through: what became of the thread? */
static int fail(struct inj_borrow *borrow, int r, const char *what, struct inj_why *why)
{
	inj_borrow_lose(borrow);
	if (r == -ESRCH)
		return inj_borrow_refuse_lost(borrow, why);
	if (r == -ETIMEDOUT)
		r = inj_refuse(why, INJ_BLOCKED,
			       "thread %d of process %d did not get through %s in time, because "
			       "it may not run (a frozen control group, no processor time) or "
			       "waits for a lock of the kernel; it was left alone and goes on by "
			       "itself; try again",
			       (int)borrow->tid, (int)borrow->process->pid, what);
	else
		r = inj_broke(why, r, "cannot make %s in thread %d of process %d; the thread goes "
			      "on by itself", what, (int)borrow->tid, (int)borrow->process->pid);
	if (why) {
		why->pid = borrow->process->pid;
		why->tid = borrow->tid;
	}
	return r;
}

int inj_borrow_syscall(struct inj_borrow *borrow, long number, const uint64_t arguments[6],
		       int64_t *ret_result, struct inj_why *why)
{
	struct syscall_request request = {borrow, number, arguments, 0};

	if (borrow->phase != BORROW_AWAY)
		return inj_borrow_refuse_lost(borrow, why);

	int r = inj_agent_run(borrow->agent, run_syscall, &request);

	if (r < 0)
		return fail(borrow, r, "a system call", why);
	*ret_result = request.result;
	return 0;
}

struct call_request {
	struct inj_borrow *borrow;
	inj_addr pad;
	inj_addr stack_top;
	inj_addr function;
	const uint64_t *arguments;
	uint64_t deadline_ns;
	uint64_t result;
	int fault; /* signal by which the function failed, or 0 */
};

static struct user_regs_struct call_registers(const struct call_request *request)
{
	struct user_regs_struct regs = inj_borrow_away(request->borrow);

	regs.rip = request->pad;
	regs.rsp = request->stack_top;
	regs.rbx = request->function;
	regs.r12 = request->borrow->frame.context;
	regs.rbp = 0;
	regs.rax = 0;
	regs.rdi = request->arguments[0];
	regs.rsi = request->arguments[1];
	regs.rdx = request->arguments[2];
	regs.rcx = request->arguments[3];
	return regs;
}

/* The program's own filter applies to the function: it is the program's code now. */
static int begin_function(struct call_request *request)
{
	struct inj_borrow *borrow = request->borrow;
	struct user_regs_struct regs = call_registers(request);

	inj_xstate_clean(&borrow->xstate, &borrow->clean);

	int r = inj_pt_set_xstate(borrow->tid, borrow->clean.image, borrow->clean.length);

	borrow->xstate_changed = true;
	borrow->at_trap = false;
	if (r == 0)
		r = inj_pt_set_options(borrow->tid, inj_borrow_options(false));
	if (r == 0)
		r = inj_pt_set_regs(borrow->tid, &regs);
	if (r == 0)
		inj_fault_point("borrow-calling");
	return r;
}

static int run_function(void *argument)
{
	static const uint64_t nothing[6];
	struct call_request *request = argument;
	struct inj_borrow *borrow = request->borrow;
	struct user_regs_struct regs;
	struct inj_stop stop;
	int r = begin_function(request);

	if (r == 0)
		r = run_to_sigreturn(borrow, request->pad + PAD_SYSCALL, request->deadline_ns,
				     &regs, &stop);
	if (r == 0)
		r = inj_pt_set_options(borrow->tid, inj_borrow_options(borrow->has_seccomp));
	if (r < 0)
		return r;
	if (stop.kind == INJ_STOP_SIGNAL) {
		/* The fault goes no further: the thread leaves the function and goes home. */
		regs = inj_borrow_away(borrow);
		request->fault = stop.signal;
		return inj_pt_set_regs(borrow->tid, &regs);
	}
	request->result = regs.rbx;
	inj_fault_point("borrow-returned");
	return replace_call(borrow, regs, -1, nothing, NULL);
}

static int refuse_hook(const struct call_request *request, int r, struct inj_why *why)
{
	const struct inj_borrow *borrow = request->borrow;

	if (request->fault)
		r = inj_refuse(why, INJ_HOOK_FAILED,
			       "the function at %#lx ended by signal %s in thread %d of process "
			       "%d; the thread was brought back, what the function changed was "
			       "not", (unsigned long)request->function,
			       sigabbrev_np(request->fault), (int)borrow->tid,
			       (int)borrow->process->pid);
	else if (r == -ETIMEDOUT)
		r = inj_refuse(why, INJ_HOOK_FAILED,
			       "the function at %#lx did not return in time; thread %d of process "
			       "%d was left alone to finish it and to go on by itself",
			       (unsigned long)request->function, (int)borrow->tid,
			       (int)borrow->process->pid);
	else
		r = inj_borrow_refuse_lost(borrow, why);
	if (why) {
		why->pid = borrow->process->pid;
		why->tid = borrow->tid;
		why->address = request->function;
	}
	return r;
}

int inj_borrow_call(struct inj_borrow *borrow, inj_addr pad, inj_addr stack_top,
		    inj_addr function, const uint64_t arguments[4], uint64_t deadline_ns,
		    uint64_t *ret_result, struct inj_why *why)
{
	struct call_request request = {
		.borrow = borrow, .pad = pad, .stack_top = stack_top, .function = function,
		.arguments = arguments, .deadline_ns = deadline_ns};

	if (stack_top % 16 != 0)
		return inj_broke(why, -EINVAL, "the top of a stack is not aligned to 16 bytes");
	if (borrow->phase != BORROW_AWAY)
		return inj_borrow_refuse_lost(borrow, why);

	int r = inj_agent_run(borrow->agent, run_function, &request);

	if (r == 0 && request.fault == 0) {
		*ret_result = request.result;
		return 0;
	}
	if (r < 0)
		inj_borrow_lose(borrow);
	if (r < 0 && r != -ETIMEDOUT && r != -ESRCH)
		return fail(borrow, r, "a function", why);
	return refuse_hook(&request, r, why);
}

size_t inj_borrow_pad(uint8_t *buffer, size_t cap)
{
	memcpy(buffer, pad_bytes, cap < sizeof(pad_bytes) ? cap : sizeof(pad_bytes));
	return sizeof(pad_bytes);
}
