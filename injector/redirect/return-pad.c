/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Machine code of return pads. Memory operands that are words of a pad are absolute 32-bit
 * addresses (ModRM + SIB without base and index), so a pad may stand anywhere while its words stand
 * below 2 GiB. A pad and its personality routine stand side by side and reach each other from the
 * instruction pointer.
 */
#include "injector/redirect/return-pad.h"

#include <errno.h>
#include <string.h>

#include "injector/abi/ledger.h"

#define HIGHEST_WORD 0x7fffff00u

static const uint8_t code[] = {
	0x90,                                           /* nop: covers entry - 1 */
	0xf0, 0xff, 0x04, 0x25, 0, 0, 0, 0,             /* lock incl arrived */
	0x83, 0x3c, 0x25, 0, 0, 0, 0, 0x00,             /* wait: cmpl $0, armed */
	0x74, 0x0e,                                     /* je out */
	0x83, 0x2c, 0x25, 0, 0, 0, 0, 0x01,             /* subl $1, spins */
	0x72, 0x04,                                     /* jb out */
	0xf3, 0x90,                                     /* pause */
	0xeb, 0xe8,                                     /* jmp wait */
	0xff, 0x24, 0x25, 0, 0, 0, 0,                   /* out: jmp *back */
};

/* Where the personality routine lets an exception land, which is in rax; behind the code above. */
static const uint8_t landing[] = {
	0xf0, 0xff, 0x04, 0x25, 0, 0, 0, 0,             /* lock incl arrived */
	0x83, 0x3c, 0x25, 0, 0, 0, 0, 0x00,             /* wait: cmpl $0, armed */
	0x74, 0x0e,                                     /* je out */
	0x83, 0x2c, 0x25, 0, 0, 0, 0, 0x01,             /* subl $1, spins */
	0x72, 0x04,                                     /* jb out */
	0xf3, 0x90,                                     /* pause */
	0xeb, 0xe8,                                     /* jmp wait */
	0xff, 0x34, 0x25, 0, 0, 0, 0,                   /* out: push back */
	0x48, 0x89, 0xc7,                               /* mov %rax, %rdi */
	0xff, 0x25, 0, 0, 0, 0,                         /* jmp *resume(%rip) */
};

/* Offsets of the operands from the `lock incl`, the same in both; of the last jump's from the
 * landing. */
#define ARRIVED_AT 4
#define ARMED_AT 11
#define SPINS_AT 21
#define BACK_AT 35
#define RESUME_AT 44

#define RETURNING_AT 1
#define LANDING_AT sizeof(code)

_Static_assert(sizeof(code) + sizeof(landing) <= INJ_RETURN_PAD_BYTES, "pads stand side by side");
_Static_assert(INJ_RETURN_PAD_POPPED == sizeof(code) + BACK_AT + 4, "behind the push");

/*
 * _Unwind_Reason_Code personality(int version, int actions, uint64_t class, void *exception, void
 * *context):
 * search phase: nothing here; cleanup phase: land, with the exception in rax. ip is the return
 * address, which is one byte behind the start of the pad.
 */
static const uint8_t personality_code[] = {
	0x40, 0xf6, 0xc6, 0x02,                         /* test $_UA_CLEANUP_PHASE, %sil */
	0x75, 0x06,                                     /* jne land */
	0xb8, 8, 0, 0, 0,                               /* mov $_URC_CONTINUE_UNWIND, %eax */
	0xc3,                                           /* ret */
	0x48, 0x83, 0xec, 0x18,                         /* land: sub $24, %rsp */
	0x4c, 0x89, 0x04, 0x24,                         /* mov %r8, (%rsp) */
	0x48, 0x89, 0x4c, 0x24, 0x08,                   /* mov %rcx, 8(%rsp) */
	0x4c, 0x89, 0xc7,                               /* mov %r8, %rdi */
	0xff, 0x15, 0, 0, 0, 0,                         /* call *get_ip(%rip) */
	0x48, 0x8b, 0x3c, 0x24,                         /* mov (%rsp), %rdi */
	0x48, 0x8d, 0x70, LANDING_AT - RETURNING_AT,    /* lea landing(%rax), %rsi */
	0xff, 0x15, 0, 0, 0, 0,                         /* call *set_ip(%rip) */
	0x48, 0x8b, 0x3c, 0x24,                         /* mov (%rsp), %rdi */
	0x31, 0xf6,                                     /* xor %esi, %esi: register 0 is rax */
	0x48, 0x8b, 0x54, 0x24, 0x08,                   /* mov 8(%rsp), %rdx */
	0xff, 0x15, 0, 0, 0, 0,                         /* call *set_gr(%rip) */
	0xb8, 7, 0, 0, 0,                               /* mov $_URC_INSTALL_CONTEXT, %eax */
	0x48, 0x83, 0xc4, 0x18,                         /* add $24, %rsp */
	0xc3,                                           /* ret */
};

#define GET_IP_AT 30
#define SET_IP_AT 44
#define SET_GR_AT 61
#define PUSHED_FROM 16
#define PUSHED_TO 74
/* The addresses of the helpers, at the end. */
#define HELPERS_AT (INJ_PAD_PERSONALITY_BYTES - sizeof(struct inj_pad_helpers))
#define HELPER_AT(name) (HELPERS_AT + offsetof(struct inj_pad_helpers, name))

_Static_assert(sizeof(personality_code) <= HELPERS_AT, "code before data");
_Static_assert(sizeof(struct inj_pad_helpers) == 32, "four addresses");

static void put32(uint8_t *place, uint64_t value)
{
	for (int i = 0; i < 4; i++)
		place[i] = (uint8_t)(value >> (8 * i));
}

static void put_words(uint8_t *place, inj_addr words)
{
	put32(place + ARRIVED_AT, words + offsetof(struct dsu_pad, arrived));
	put32(place + ARMED_AT, words + offsetof(struct dsu_pad, armed));
	put32(place + SPINS_AT, words + offsetof(struct dsu_pad, spins));
	put32(place + BACK_AT, words + offsetof(struct dsu_pad, back));
}

static void describe_pad(inj_addr back, bool lands, struct inj_stub *ret)
{
	uint8_t *cfi = ret->cfi;

	/* The return address was popped already; the real one stands in the pad's words. */
	*cfi++ = 0x0e; /* DW_CFA_def_cfa_offset 0 */
	*cfi++ = 0;
	*cfi++ = 0x10; /* DW_CFA_expression: return address, 9 bytes */
	*cfi++ = 16;
	*cfi++ = 9;
	*cfi++ = 0x03; /* DW_OP_addr */
	for (int i = 0; i < 8; i++)
		*cfi++ = (uint8_t)(back >> (8 * i));
	if (lands) {
		*cfi++ = 0x02; /* DW_CFA_advance_loc1: pushed */
		*cfi++ = INJ_RETURN_PAD_POPPED;
		*cfi++ = 0x0e; /* DW_CFA_def_cfa_offset 8 */
		*cfi++ = 8;
		*cfi++ = 0x80 | 16; /* DW_CFA_offset: return address at CFA - 8 */
		*cfi++ = 1;
	}
	ret->n_cfi = (size_t)(cfi - ret->cfi);
}

int inj_return_pad_emit(inj_addr words, int32_t personality, struct inj_stub *ret)
{
	uint8_t *land;

	if (words > HIGHEST_WORD)
		return -ERANGE;
	*ret = (struct inj_stub){ .n_bytes = INJ_RETURN_PAD_BYTES };
	memset(ret->bytes, 0xcc, INJ_RETURN_PAD_BYTES);
	memcpy(ret->bytes, code, sizeof(code));
	put_words(ret->bytes + RETURNING_AT, words);
	describe_pad(words + offsetof(struct dsu_pad, back), personality != 0, ret);
	if (personality == 0)
		return 0;
	land = ret->bytes + LANDING_AT;
	memcpy(land, landing, sizeof(landing));
	put_words(land, words);
	put32(land + RESUME_AT, (uint64_t)personality + HELPER_AT(resume) - sizeof(code) -
					sizeof(landing));
	return 0;
}

void inj_pad_personality_emit(const struct inj_pad_helpers *helpers, struct inj_stub *ret)
{
	static const uint8_t cfi[] = {
		0x40 | PUSHED_FROM, 0x0e, 32,              /* DW_CFA_advance_loc, def_cfa_offset */
		0x40 | (PUSHED_TO - PUSHED_FROM), 0x0e, 8,
	};

	*ret = (struct inj_stub){ .n_bytes = INJ_PAD_PERSONALITY_BYTES, .n_cfi = sizeof(cfi) };
	memset(ret->bytes, 0xcc, INJ_PAD_PERSONALITY_BYTES);
	memcpy(ret->bytes, personality_code, sizeof(personality_code));
	memcpy(ret->cfi, cfi, sizeof(cfi));
	put32(ret->bytes + GET_IP_AT, HELPER_AT(get_ip) - (GET_IP_AT + 4));
	put32(ret->bytes + SET_IP_AT, HELPER_AT(set_ip) - (SET_IP_AT + 4));
	put32(ret->bytes + SET_GR_AT, HELPER_AT(set_gr) - (SET_GR_AT + 4));
	memcpy(ret->bytes + HELPERS_AT, helpers, sizeof(*helpers));
}
