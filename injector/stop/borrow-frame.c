/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the signal frame that brings a borrowed thread home when we are dead. Always holds: what
 * rt_sigreturn(2) makes of the frame is the thread's state in user mode, complete: general and
 * extended registers, flags, signal mask; the alternate signal stack stays as it is. Refuses an
 * extended state whose description makes no sense.
 *
 *   stack pointer ->  |                          |
 *                     | red zone, 128 bytes      |
 *           end ->    +--------------------------+
 *                     | xstate, 64-byte aligned  |  XSAVE image, magic word behind it
 *        xstate ->    +--------------------------+
 *       context ->    | struct ucontext          |  16-byte aligned
 *         chain ->    | 15, address of syscall   |  for a gadget in two pieces
 *                     | red zone of the frame    |
 *       scratch ->    | arguments of calls       |
 *
 * Source: arch/x86/kernel/signal_64.c, arch/x86/kernel/fpu/signal.c of the kernel.
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include "injector/stop/borrow-priv.h"

#define RED_ZONE_BYTES 128u
#define NUMBER_RT_SIGRETURN 15u

/* UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */
#define CONTEXT_FLAGS 7u
/*
 * Neither SS_ONSTACK nor SS_DISABLE nor 0: do_sigaltstack() finds it invalid, and rt_sigreturn
 * ignores everything but EFAULT. So the alternate stack, which nobody can read from outside,
 * keeps its setting.
 */
#define ALTERNATE_STACK_UNTOUCHED 4

/* struct ucontext of the kernel for 64-bit programs. */
struct context {
	uint64_t flags;
	uint64_t link;
	uint64_t stack_base;
	int32_t stack_flags;
	uint32_t stack_pad;
	uint64_t stack_size;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2;
	uint64_t xstate;
	uint64_t reserved[8];
	uint64_t mask;
};

_Static_assert(offsetof(struct context, r8) == 40, "struct sigcontext");
_Static_assert(offsetof(struct context, cs) == 40 + 18 * 8, "struct sigcontext");
_Static_assert(offsetof(struct context, mask) == 296, "struct ucontext");
_Static_assert(sizeof(struct context) == 304, "struct ucontext");

/* The last 48 bytes of the legacy area (Intel SDM 13.4.1), which belong to software. */
struct software_bytes {
	uint32_t magic1;
	uint32_t extended_size;
	uint64_t features;
	uint32_t xstate_size;
	uint32_t pad[7];
};

_Static_assert(sizeof(struct software_bytes) == 48, "struct _fpx_sw_bytes");

#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u
#define MAGIC2_BYTES 4u

#define LEGACY_BYTES 512u
#define HEADER_BYTES 64u
#define SOFTWARE_OFFSET 464u
#define CONTROL_WORD_OFFSET 0u
#define CONTROL_STATUS_OFFSET 24u
#define DEFAULT_CONTROL_WORD 0x37fu
#define DEFAULT_CONTROL_STATUS 0x1f80u

#define FEATURES_LEGACY 3u
#define FEATURE_KEYS (1u << 9)
#define FEATURES_TILES ((1u << 17) | (1u << 18))
#define FEATURE_TILE_DATA (1u << 18)

#define CPUID_XSTATE 0xdu

static uint64_t word_at(const struct inj_xstate *xstate, size_t offset)
{
	uint64_t word;

	memcpy(&word, xstate->image + offset, sizeof(word));
	return word;
}

static void put_word(struct inj_xstate *xstate, size_t offset, uint64_t word)
{
	memcpy(xstate->image + offset, &word, sizeof(word));
}

/*
 * What the kernel saves for this thread. Tiles are in its buffer only since it first used them;
 * a longer image than the buffer would make the kernel restore the legacy part alone.
 */
static uint64_t features_in_frame(const struct inj_xstate *xstate)
{
	/* PTRACE_GETREGSET puts the features of XCR0 in front of the software bytes. */
	uint64_t features = word_at(xstate, SOFTWARE_OFFSET);

	if (!(word_at(xstate, LEGACY_BYTES) & FEATURE_TILE_DATA))
		features &= ~(uint64_t)FEATURES_TILES;
	return features;
}

int inj_xstate_measure(struct inj_xstate *xstate)
{
	size_t length = LEGACY_BYTES + HEADER_BYTES;

	if (xstate->length < length || xstate->length > sizeof(xstate->image))
		return -EBADMSG;

	uint64_t features = features_in_frame(xstate);

	for (unsigned i = 2; i < 63; i++) {
		uint32_t size, offset, flags, unused;

		if (!(features & (1ull << i)))
			continue;
		__cpuid_count(CPUID_XSTATE, i, size, offset, flags, unused);
		/* Bit 0: supervisor state, never in an image for programs. */
		if (!(flags & 1) && (size_t)offset + size > length)
			length = (size_t)offset + size;
	}
	if (length > xstate->length)
		return -EBADMSG;
	xstate->frame_length = length;
	return 0;
}

void inj_xstate_clean(const struct inj_xstate *xstate, struct inj_xstate *ret)
{
	uint64_t keys = word_at(xstate, LEGACY_BYTES) & FEATURE_KEYS;
	uint16_t control_word = DEFAULT_CONTROL_WORD;
	uint32_t control_status = DEFAULT_CONTROL_STATUS;

	*ret = *xstate;
	memset(ret->image, 0, SOFTWARE_OFFSET);
	memcpy(ret->image + CONTROL_WORD_OFFSET, &control_word, sizeof(control_word));
	memcpy(ret->image + CONTROL_STATUS_OFFSET, &control_status, sizeof(control_status));
	put_word(ret, LEGACY_BYTES, FEATURES_LEGACY | keys);
}

static size_t frame_bytes(const struct inj_xstate *xstate)
{
	return RED_ZONE_BYTES + 64 + xstate->frame_length + MAGIC2_BYTES + sizeof(struct context) +
	       16 + 2 * sizeof(uint64_t) + RED_ZONE_BYTES + INJ_SCRATCH_BYTES + 16;
}

int inj_frame_plan(inj_addr stack_pointer, const struct inj_xstate *xstate,
		   struct inj_frame *ret)
{
	struct inj_frame frame;

	if (stack_pointer < frame_bytes(xstate) || stack_pointer > INT64_MAX)
		return -EFAULT;
	frame.end = stack_pointer - RED_ZONE_BYTES;
	frame.xstate = (frame.end - xstate->frame_length - MAGIC2_BYTES) & ~(inj_addr)63;
	frame.context = (frame.xstate - sizeof(struct context)) & ~(inj_addr)15;
	frame.chain = frame.context - 2 * sizeof(uint64_t);
	frame.scratch = (frame.chain - RED_ZONE_BYTES - INJ_SCRATCH_BYTES) & ~(inj_addr)15;
	*ret = frame;
	return 0;
}

static struct context make_context(const struct inj_frame *frame,
				   const struct user_regs_struct *next, uint64_t mask)
{
	return (struct context){
		.flags = CONTEXT_FLAGS, .stack_flags = ALTERNATE_STACK_UNTOUCHED,
		.r8 = next->r8, .r9 = next->r9, .r10 = next->r10, .r11 = next->r11,
		.r12 = next->r12, .r13 = next->r13, .r14 = next->r14, .r15 = next->r15,
		.rdi = next->rdi, .rsi = next->rsi, .rbp = next->rbp, .rbx = next->rbx,
		.rdx = next->rdx, .rax = next->rax, .rcx = next->rcx, .rsp = next->rsp,
		.rip = next->rip, .eflags = next->eflags,
		.cs = (uint16_t)next->cs, .ss = (uint16_t)next->ss,
		.xstate = frame->xstate, .mask = mask,
	};
}

static void write_xstate(const struct inj_xstate *xstate, uint8_t *at)
{
	struct software_bytes software = {
		.magic1 = MAGIC1,
		.extended_size = (uint32_t)xstate->frame_length + MAGIC2_BYTES,
		.features = features_in_frame(xstate),
		.xstate_size = (uint32_t)xstate->frame_length,
	};
	uint32_t magic2 = MAGIC2;

	memcpy(at, xstate->image, xstate->frame_length);
	memcpy(at + SOFTWARE_OFFSET, &software, sizeof(software));
	memcpy(at + xstate->frame_length, &magic2, sizeof(magic2));
}

void inj_frame_build(const struct inj_frame *frame, const struct inj_gadget *gadget,
		     const struct user_regs_struct *next, uint64_t mask,
		     const struct inj_xstate *xstate, uint8_t *buffer)
{
	struct context context = make_context(frame, next, mask);
	uint64_t chain[2] = {NUMBER_RT_SIGRETURN, gadget->syscall};

	memset(buffer, 0, frame->end - frame->chain);
	memcpy(buffer, chain, sizeof(chain));
	memcpy(buffer + (frame->context - frame->chain), &context, sizeof(context));
	write_xstate(xstate, buffer + (frame->xstate - frame->chain));
}
