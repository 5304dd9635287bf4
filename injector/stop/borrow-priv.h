/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_BORROW_PRIV_H
#define INJ_STOP_BORROW_PRIV_H

#include "injector/stop/agent-priv.h"
#include "injector/stop/borrow.h"
#include "injector/stop/ptrace-priv.h"
#include "injector/stop/waits-priv.h"

/* ---- borrow-gadget.c: instructions of the target that end a signal handler ---- */

/*
 * Two ways to rt_sigreturn(2). One piece: `mov $15,%eax; syscall`, as in __restore_rt of the C
 * libraries. Two pieces: `pop %rax; ret` and `syscall`, with {15, address of the syscall} on the
 * stack.
 */
struct inj_gadget {
	inj_addr start;        /* where a thread goes to return by itself */
	inj_addr syscall;      /* the syscall instruction */
	bool in_two_pieces;
};

/*
 * Is the gadget still there? An execve or a dlclose may have taken it away since it was found.
 * Asked while the thread that is to use it is stopped.
 */
bool inj_gadget_is_there(const struct inj_process *process, const struct inj_gadget *gadget);

/* Return: 0; INJ_UNSUPPORTED_PROCESS; negative errno. State: running or held. */
int inj_gadget_find(const struct inj_process *process, const struct inj_maps *maps,
		    struct inj_gadget *ret, struct inj_why *why);
/* Pure: look into bytes that lie at `address`; fills what is still missing. True: complete. */
bool inj_gadget_scan(const uint8_t *bytes, size_t length, inj_addr address,
		     struct inj_gadget *gadget, inj_addr *pop_ret);

/* ---- borrow-frame.c: the signal frame ---- */

#define INJ_XSTATE_MAX 16384
#define INJ_SCRATCH_BYTES 1024

/* The extended state of a thread as PTRACE_GETREGSET gives it. */
struct inj_xstate {
	size_t length;       /* of the whole image, for PTRACE_SETREGSET */
	size_t frame_length; /* what belongs into a signal frame, <= length */
	uint8_t image[INJ_XSTATE_MAX] __attribute__((aligned(64)));
};

/* Where things lie below the thread's stack pointer. */
struct inj_frame {
	inj_addr scratch;  /* INJ_SCRATCH_BYTES, lowest */
	inj_addr chain;    /* two words, for a gadget in two pieces */
	inj_addr context;  /* struct ucontext of the kernel: rsp at the entry of rt_sigreturn */
	inj_addr xstate;
	inj_addr end;      /* the red zone begins here */
};

/* Compute frame_length. Return: 0, or -EBADMSG for an image that makes no sense. */
int inj_xstate_measure(struct inj_xstate *xstate);
/* A copy as the psABI wants it at the entry of a function; protection keys stay. */
void inj_xstate_clean(const struct inj_xstate *xstate, struct inj_xstate *ret);
/* Return: 0, or -EFAULT when the stack pointer is too low. */
int inj_frame_plan(inj_addr stack_pointer, const struct inj_xstate *xstate,
		   struct inj_frame *ret);
/*
 * Bytes from frame->chain up to frame->end. next: continuation, see inj_repair_continuation().
 * buffer: frame->end - frame->chain bytes.
 */
void inj_frame_build(const struct inj_frame *frame, const struct inj_gadget *gadget,
		     const struct user_regs_struct *next, uint64_t mask,
		     const struct inj_xstate *xstate, uint8_t *buffer);

/* ---- borrow-pick.c: whom to borrow ---- */

/* Threads in the order in which they should be tried; those that never stop are left out. */
struct inj_candidate {
	pid_t tid;
	int rank; /* lower is better */
	bool has_seccomp;
};

/* only: this thread or nobody; 0: any. */
int inj_candidates_read(const struct inj_process *process, pid_t only,
			struct inj_candidate **ret, size_t *ret_n);
/*
 * May the bytes from `low` up to the stack pointer be written? True when they belong to the
 * thread's own stack by all that can be seen from outside.
 */
bool inj_stack_has_room(const struct inj_maps *maps, const struct user_regs_struct *regs,
			inj_addr low);

/* ---- borrow.c ---- */

/* As inj_borrow_open(), for one thread; tid 0: any. */
int inj_borrow_open_thread(const struct inj_process *process, const struct inj_maps *maps,
			   pid_t tid, uint64_t deadline_ns, struct inj_borrow **ret,
			   struct inj_why *why);

/* ---- borrow-take.c: taking one thread ---- */

/* How long a thread has to stop. */
#define INJ_TAKE_NS 20000000u

struct inj_take_request {
	struct inj_borrow *borrow;
	pid_t only; /* nobody else, unless 0 */
	pid_t tid;
	bool has_seccomp;
	const char *reason; /* why this thread is not usable, with -EAGAIN */
	struct inj_why *why;
};

/*
 * Runs on the agent. Return: 0, taken; -EAGAIN: not this one; -ETIMEDOUT: not this one, and the
 * agent must end to let it go; a refusal; other negative errno.
 */
int inj_borrow_take(void *request);
/* Put the thread's name on a refusal and pass it on. */
int inj_take_refused(const struct inj_take_request *request, int r);
/* All bytes or an error. */
int inj_borrow_write(pid_t tid, inj_addr address, const void *bytes, size_t length);

/* ---- borrow-call.c: what a borrowed thread does; all on the agent's thread ---- */

enum borrow_phase {
	BORROW_HOME,   /* nothing was changed */
	BORROW_AWAY,   /* stopped; when let go, it returns by itself through the frame */
	BORROW_LOST,   /* not ours any more */
};

struct inj_borrow {
	struct inj_agent *agent;
	const struct inj_process *process;
	const struct inj_maps *maps;
	struct inj_maps *own_maps; /* read again when those of the caller are too old */
	struct inj_gadget gadget;
	enum borrow_phase phase;
	pid_t tid;
	bool has_seccomp;
	struct user_regs_struct home; /* what is put back, for the kernel to go on from */
	uint64_t mask;
	struct inj_frame frame;
	struct inj_xstate xstate;
	struct inj_xstate clean; /* for functions; here, so that a call needs no memory */
	bool xstate_changed;
	struct inj_stop stop; /* in which it was found, or is to be given back: TRAP or GROUP */
	bool at_trap;       /* still in the former */
	struct inj_wait *wait; /* that it was taken from, or NULL */
	bool block_lost; /* the kernel's restart block may belong to another call now */
	uint64_t first_interrupt_ns;
	uint64_t held_ns;
};

/* Options of the tracee: seccomp suspended where there is any, or not. */
unsigned long inj_borrow_options(bool suspend_seccomp);
/* Registers with which the thread, let go, returns through the frame by itself. */
struct user_regs_struct inj_borrow_away(const struct inj_borrow *borrow);
/* Signals kept back while borrowed. */
uint64_t inj_borrow_blocked(void);
/*
 * Wait for the thread's next stop at the entry or exit of a system call, passing on what
 * interferes. ret: kind SYSCALL, or SIGNAL for a fault of the thread itself.
 * Return: 0; -ETIMEDOUT; -ESRCH (it ended, or runs another program).
 */
int inj_borrow_await(struct inj_borrow *borrow, uint64_t deadline_ns, struct inj_stop *ret);
/* The thread is not ours any more; everything that was attached goes free. */
void inj_borrow_lose(struct inj_borrow *borrow);
/* Answer to a call when there is no thread any more. */
int inj_borrow_refuse_lost(const struct inj_borrow *borrow, struct inj_why *why);

#endif
