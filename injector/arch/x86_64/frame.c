/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Follows the stack pointer, the frame pointer and the saved registers through a few instructions
 * at a function's entry, and says so in DWARF call frame instructions. It knows what compilers put
 * there; every other way to change rsp is refused, because a wrong rule is worse than none: an
 * exception or a stack check that passes would read garbage.
 */
#include "injector/arch/x86_64/frame.h"

#include <errno.h>
#include <string.h>

#include <Zydis/Zydis.h>

#define SLOT 8

enum {
	DW_CFA_ADVANCE_LOC = 0x40,
	DW_CFA_OFFSET = 0x80,
	DW_CFA_RESTORE = 0xc0,
	DW_CFA_ADVANCE_LOC1 = 0x02,
	DW_CFA_ADVANCE_LOC2 = 0x03,
	DW_CFA_DEF_CFA = 0x0c,
	DW_CFA_DEF_CFA_REGISTER = 0x0d,
	DW_CFA_DEF_CFA_OFFSET = 0x0e,
};

struct decoded {
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

/* DWARF number of the 64-bit register around `reg`, or -1 (psABI figure 3.36). */
static int dwarf_number(ZydisRegister reg)
{
	static const int8_t numbers[16] = { 0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15 };
	ZydisRegister full =
		ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

	if (full < ZYDIS_REGISTER_RAX || full > ZYDIS_REGISTER_R15)
		return -1;
	return numbers[full - ZYDIS_REGISTER_RAX];
}

/* rbx, rbp, r12..r15 */
static bool belongs_to_caller(int reg)
{
	return reg == 3 || reg == INJ_DW_RBP || (reg >= 12 && reg <= 15);
}

static bool is_register(const ZydisDecodedOperand *operand, int reg)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER && operand->size == 64 &&
	       dwarf_number(operand->reg.value) == reg;
}

void inj_frame_start(struct inj_frame_rule *ret_rule)
{
	*ret_rule = (struct inj_frame_rule){ .depth_known = true, .depth = SLOT };
}

static int set_depth(struct inj_frame_rule *rule, int64_t depth)
{
	if (depth < SLOT || depth > INT32_MAX)
		return -EOPNOTSUPP;
	rule->depth = (int32_t)depth;
	return 0;
}

/* The caller's value of `reg` was stored `depth` bytes below the CFA. */
static void save(struct inj_frame_rule *rule, int reg, int64_t depth)
{
	if (!belongs_to_caller(reg) || rule->saved[reg] || (rule->changed & (1u << reg)))
		return;
	if (depth > SLOT && depth % SLOT == 0 && depth / SLOT <= UINT8_MAX)
		rule->saved[reg] = (uint8_t)(depth / SLOT);
}

static int step_push(struct inj_frame_rule *rule, const struct decoded *code)
{
	const ZydisDecodedOperand *source = &code->operands[0];
	int reg = source->type == ZYDIS_OPERAND_TYPE_REGISTER ? dwarf_number(source->reg.value) :
								 -1;

	if (code->insn.operand_width != 64)
		return -EOPNOTSUPP;
	if (!rule->depth_known) /* where it is saved is not known either */
		return belongs_to_caller(reg) ? -EOPNOTSUPP : 0;
	int r = set_depth(rule, (int64_t)rule->depth + SLOT);

	if (r == 0 && reg >= 0)
		save(rule, reg, rule->depth);
	return r;
}

static int step_pop(struct inj_frame_rule *rule, const struct decoded *code)
{
	const ZydisDecodedOperand *target = &code->operands[0];
	int reg = target->type == ZYDIS_OPERAND_TYPE_REGISTER ? dwarf_number(target->reg.value) :
								 -1;

	if (code->insn.operand_width != 64 || reg == INJ_DW_RSP)
		return -EOPNOTSUPP;
	if (!rule->depth_known)
		return belongs_to_caller(reg) ? -EOPNOTSUPP : 0;
	bool restored = reg >= 0 && rule->saved[reg] && rule->saved[reg] * SLOT == rule->depth;

	if (reg == INJ_DW_RBP && rule->by_rbp && !restored)
		return -EOPNOTSUPP;
	int r = set_depth(rule, (int64_t)rule->depth - SLOT);

	if (r < 0)
		return r;
	if (restored) {
		rule->saved[reg] = 0;
		rule->changed &= (uint16_t)~(1u << reg);
		if (reg == INJ_DW_RBP)
			rule->by_rbp = false;
	} else if (reg >= 0) {
		rule->changed |= (uint16_t)(1u << reg);
	}
	return 0;
}

/* rsp = rbp; pop rbp */
static int step_leave(struct inj_frame_rule *rule, const struct decoded *code)
{
	if (!rule->by_rbp || code->insn.operand_width != 64)
		return -EOPNOTSUPP;
	struct inj_frame_rule next = *rule;

	if (next.saved[INJ_DW_RBP] * SLOT != next.rbp_depth)
		return -EOPNOTSUPP;
	next.depth_known = true;
	next.by_rbp = false;
	next.saved[INJ_DW_RBP] = 0;
	next.changed &= (uint16_t)~(1u << INJ_DW_RBP);
	int r = set_depth(&next, (int64_t)next.rbp_depth - SLOT);

	if (r == 0)
		*rule = next;
	return r;
}

static int step_add(struct inj_frame_rule *rule, const ZydisDecodedOperand *amount, int sign)
{
	if (amount->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return -EOPNOTSUPP;
	if (!rule->depth_known)
		return 0;
	/* an immediate of at most 32 bits, sign-extended: no overflow */
	return set_depth(rule, rule->depth - sign * amount->imm.value.s);
}

static int step_lea_rsp(struct inj_frame_rule *rule, const ZydisDecodedOperand *source)
{
	if (source->mem.index != ZYDIS_REGISTER_NONE || source->mem.base != ZYDIS_REGISTER_RSP)
		return -EOPNOTSUPP;
	if (!rule->depth_known)
		return 0;
	return set_depth(rule, rule->depth - source->mem.disp.value);
}

static int step_move(struct inj_frame_rule *rule, const ZydisDecodedOperand *to,
		     const ZydisDecodedOperand *from)
{
	if (is_register(to, INJ_DW_RBP)) { /* mov %rsp, %rbp */
		if (!rule->depth_known)
			return -EOPNOTSUPP;
		rule->by_rbp = true;
		rule->rbp_depth = rule->depth;
		rule->changed |= 1u << INJ_DW_RBP;
		return 0;
	}
	if (!rule->by_rbp) /* mov %rbp, %rsp */
		return -EOPNOTSUPP;
	(void)from;
	rule->depth_known = true;
	return set_depth(rule, rule->rbp_depth);
}

/* mov %reg, disp(%rsp) or disp(%rbp): how some functions save registers without pushing */
static void step_store(struct inj_frame_rule *rule, const ZydisDecodedOperand *to,
		       const ZydisDecodedOperand *from)
{
	if (to->mem.index != ZYDIS_REGISTER_NONE || to->size != 64 ||
	    to->mem.segment == ZYDIS_REGISTER_FS || to->mem.segment == ZYDIS_REGISTER_GS)
		return;
	int64_t disp = to->mem.disp.has_displacement ? to->mem.disp.value : 0;

	if (to->mem.base == ZYDIS_REGISTER_RSP && rule->depth_known)
		save(rule, dwarf_number(from->reg.value), rule->depth - disp);
	else if (to->mem.base == ZYDIS_REGISTER_RBP && rule->by_rbp)
		save(rule, dwarf_number(from->reg.value), rule->rbp_depth - disp);
}

/* Anything else may change a register, but neither rsp nor the base of the CFA. */
static int step_other(struct inj_frame_rule *rule, const struct decoded *code)
{
	uint16_t changed = 0;

	for (unsigned i = 0; i < code->insn.operand_count; i++) {
		const ZydisDecodedOperand *operand = &code->operands[i];

		if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER ||
		    !(operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		int reg = dwarf_number(operand->reg.value);

		if (reg == INJ_DW_RSP || (reg == INJ_DW_RBP && rule->by_rbp))
			return -EOPNOTSUPP;
		if (reg >= 0)
			changed |= (uint16_t)(1u << reg);
	}
	rule->changed |= changed;
	return 0;
}

static int step_on_rsp(struct inj_frame_rule *rule, const struct decoded *code)
{
	const ZydisDecodedOperand *source = &code->operands[1];

	switch (code->insn.mnemonic) {
	case ZYDIS_MNEMONIC_SUB:
		return step_add(rule, source, -1);
	case ZYDIS_MNEMONIC_ADD:
		return step_add(rule, source, 1);
	case ZYDIS_MNEMONIC_LEA:
		return step_lea_rsp(rule, source);
	case ZYDIS_MNEMONIC_AND: /* alignment: fine while rbp tells where the frame is */
		if (!rule->by_rbp)
			return -EOPNOTSUPP;
		rule->depth_known = false;
		return 0;
	case ZYDIS_MNEMONIC_MOV:
		return is_register(source, INJ_DW_RBP) ? step_move(rule, code->operands, source) :
							 -EOPNOTSUPP;
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_TEST:
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

static int step_decoded(struct inj_frame_rule *rule, const struct decoded *code)
{
	const ZydisDecodedOperand *operands = code->operands;

	switch (code->insn.mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
		return step_push(rule, code);
	case ZYDIS_MNEMONIC_POP:
		return step_pop(rule, code);
	case ZYDIS_MNEMONIC_LEAVE:
		return step_leave(rule, code);
	case ZYDIS_MNEMONIC_CALL: /* rsp is the same again when it comes back */
	case ZYDIS_MNEMONIC_RET:
		return 0;
	default:
		break;
	}
	if (code->insn.operand_count_visible == 2) {
		if (is_register(&operands[0], INJ_DW_RSP))
			return step_on_rsp(rule, code);
		if (code->insn.mnemonic == ZYDIS_MNEMONIC_MOV &&
		    is_register(&operands[0], INJ_DW_RBP) &&
		    is_register(&operands[1], INJ_DW_RSP))
			return step_move(rule, &operands[0], &operands[1]);
		if (code->insn.mnemonic == ZYDIS_MNEMONIC_MOV &&
		    operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
			step_store(rule, &operands[0], &operands[1]);
	}
	return step_other(rule, code);
}

int inj_frame_step(struct inj_frame_rule *rule, const uint8_t *bytes, size_t n)
{
	ZydisDecoder decoder;
	struct decoded code;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, bytes, n, &code.insn, code.operands)))
		return -EILSEQ;
	struct inj_frame_rule next = *rule;
	int r = step_decoded(&next, &code);

	if (r == 0)
		*rule = next;
	return r;
}

static int cfa_offset(const struct inj_frame_rule *rule)
{
	return rule->by_rbp ? rule->rbp_depth : rule->depth;
}

bool inj_frame_same(const struct inj_frame_rule *a, const struct inj_frame_rule *b)
{
	return a->by_rbp == b->by_rbp && cfa_offset(a) == cfa_offset(b) &&
	       memcmp(a->saved, b->saved, sizeof(a->saved)) == 0;
}

struct writer {
	uint8_t *bytes;
	size_t capacity;
	size_t n;
	bool full;
};

static void put(struct writer *writer, unsigned byte)
{
	if (writer->n == writer->capacity) {
		writer->full = true;
		return;
	}
	writer->bytes[writer->n++] = (uint8_t)byte;
}

static void put_uleb(struct writer *writer, uint32_t value)
{
	while (value >= 0x80) {
		put(writer, (value & 0x7f) | 0x80);
		value >>= 7;
	}
	put(writer, value);
}

static void put_cfa(struct writer *writer, const struct inj_frame_rule *from,
		    const struct inj_frame_rule *to)
{
	unsigned reg = to->by_rbp ? INJ_DW_RBP : INJ_DW_RSP;
	bool same_register = from->by_rbp == to->by_rbp;
	bool same_offset = cfa_offset(from) == cfa_offset(to);

	if (same_register && same_offset)
		return;
	if (same_register) {
		put(writer, DW_CFA_DEF_CFA_OFFSET);
	} else {
		put(writer, same_offset ? DW_CFA_DEF_CFA_REGISTER : DW_CFA_DEF_CFA);
		put_uleb(writer, reg);
	}
	if (!same_offset)
		put_uleb(writer, (uint32_t)cfa_offset(to));
}

static void put_advance(struct writer *writer, unsigned advance)
{
	if (advance == 0)
		return;
	if (advance < 0x40) {
		put(writer, DW_CFA_ADVANCE_LOC | advance);
		return;
	}
	put(writer, advance <= UINT8_MAX ? DW_CFA_ADVANCE_LOC1 : DW_CFA_ADVANCE_LOC2);
	put(writer, advance & UINT8_MAX);
	if (advance > UINT8_MAX)
		put(writer, advance >> 8);
}

int inj_frame_encode(const struct inj_frame_rule *from, const struct inj_frame_rule *to,
		     unsigned advance, uint8_t *program, size_t capacity, size_t *n,
		     bool *ret_written)
{
	struct writer writer = { .bytes = program, .capacity = capacity, .n = *n };

	if (inj_frame_same(from, to)) {
		*ret_written = false;
		return 0;
	}
	put_advance(&writer, advance);
	put_cfa(&writer, from, to);
	for (unsigned reg = 0; reg < INJ_DW_REGISTERS; reg++) {
		if (from->saved[reg] == to->saved[reg])
			continue;
		if (to->saved[reg]) {
			put(&writer, DW_CFA_OFFSET | reg);
			put_uleb(&writer, to->saved[reg]);
		} else {
			put(&writer, DW_CFA_RESTORE | reg);
		}
	}
	if (writer.full)
		return -ENOSPC;
	*n = writer.n;
	*ret_written = true;
	return 0;
}
