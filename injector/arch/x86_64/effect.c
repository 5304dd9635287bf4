/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which registers an instruction writes and what it does to the stack, from Zydis' full view of
 * it, hidden operands included. Errs on the side of more: a conditional write is a write, and a
 * stack pointer from an unusual source is lost.
 */
#include "injector/arch/x86_64/effect.h"

#include <errno.h>

#include <Zydis/Zydis.h>

struct decoded {
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

static bool is_register(const ZydisDecodedOperand *operand, ZydisRegister name)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER && operand->reg.value == name;
}

static bool is_vector(ZydisRegisterClass class)
{
	return class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM ||
	       class == ZYDIS_REGCLASS_ZMM;
}

static void note_register(struct inj_effect *effect, const ZydisDecodedOperand *operand)
{
	const ZydisRegister name = operand->reg.value;
	const ZydisRegisterClass class = ZydisRegisterGetClass(name);
	const bool written = (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;

	if (is_vector(class)) {
		const uint32_t bit = 1u << (ZydisRegisterGetId(name) & 31);

		if (written)
			effect->written.vectors |= bit;
		if (class != ZYDIS_REGCLASS_XMM || bit > 1u << (INJ_N_XMMS - 1))
			effect->wide.vectors |= bit;
		return;
	}
	switch (class) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		if (written)
			effect->written.gprs |=
				(uint16_t)(1u
					   << ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(
						      ZYDIS_MACHINE_MODE_LONG_64, name)));
		return;
	case ZYDIS_REGCLASS_X87:
	case ZYDIS_REGCLASS_MMX:
	case ZYDIS_REGCLASS_TMM:
		effect->wide.other = true;
		effect->written.other |= written;
		return;
	case ZYDIS_REGCLASS_MASK:
		/* k0 as an operand's write mask means that there is none */
		if (name == ZYDIS_REGISTER_K0)
			return;
		effect->wide.other = true;
		effect->written.other |= written;
		return;
	default:
		return;
	}
}

/* Memory reached from rsp or rbp by a written-out operand (push and its kind have hidden ones). */
static void note_memory(struct inj_effect *effect, const ZydisDecodedOperand *operand)
{
	const bool formed = operand->mem.type == ZYDIS_MEMOP_TYPE_AGEN;
	const int64_t end = operand->mem.disp.value + (formed ? 1 : operand->size / 8);

	if (operand->visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
		return;
	if (operand->mem.base == ZYDIS_REGISTER_RSP) {
		effect->uses_rsp = true;
		effect->rsp_end = end;
	} else if (operand->mem.base == ZYDIS_REGISTER_RBP ||
		   operand->mem.index == ZYDIS_REGISTER_RBP) {
		effect->uses_rbp = true;
		effect->rbp_end = end;
	}
}

static void move_by(struct inj_effect *effect, enum inj_stack_move move, int64_t down)
{
	const bool fits = down > -(1 << 30) && down < 1 << 30;

	effect->move = fits ? move : INJ_STACK_LOST;
	effect->down = fits ? (int32_t)down : 0;
}

/* add, sub: of a number, exactly; sub of a register: a variable array, which only lowers rsp. */
static void step_arithmetic(struct inj_effect *effect, const struct decoded *code)
{
	const ZydisDecodedOperand *from = &code->operands[1];
	const bool adds = code->insn.mnemonic == ZYDIS_MNEMONIC_ADD;

	if (from->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		move_by(effect, INJ_STACK_MOVED, adds ? -from->imm.value.s : from->imm.value.s);
	else
		effect->move = adds ? INJ_STACK_LOST : INJ_STACK_KEPT;
}

static void step_copy(struct inj_effect *effect, const ZydisDecodedOperand *to,
		      const ZydisDecodedOperand *from)
{
	if (is_register(to, ZYDIS_REGISTER_RBP) && is_register(from, ZYDIS_REGISTER_RSP)) {
		move_by(effect, INJ_STACK_TO_FRAME, 0);
	} else if (is_register(to, ZYDIS_REGISTER_RSP)) {
		move_by(effect, is_register(from, ZYDIS_REGISTER_RBP) ? INJ_STACK_FROM_FRAME :
									INJ_STACK_LOST, 0);
	} else if (is_register(from, ZYDIS_REGISTER_RSP)) { /* as good as lea (%rsp) */
		effect->uses_rsp = true;
		effect->rsp_end = 1;
	} else if (is_register(from, ZYDIS_REGISTER_RBP)) {
		effect->uses_rbp = true;
		effect->rbp_end = 1;
	}
}

static void step_lea(struct inj_effect *effect, const ZydisDecodedOperand *to,
		     const ZydisDecodedOperand *from)
{
	const bool plain = from->mem.index == ZYDIS_REGISTER_NONE;
	const int64_t disp = from->mem.disp.value;

	if (is_register(to, ZYDIS_REGISTER_RSP)) {
		effect->uses_rsp = effect->uses_rbp = false;
		if (plain && from->mem.base == ZYDIS_REGISTER_RSP)
			move_by(effect, INJ_STACK_MOVED, -disp);
		else if (plain && from->mem.base == ZYDIS_REGISTER_RBP)
			move_by(effect, INJ_STACK_FROM_FRAME, -disp);
		else
			effect->move = INJ_STACK_LOST;
	} else if (is_register(to, ZYDIS_REGISTER_RBP) && plain &&
		   from->mem.base == ZYDIS_REGISTER_RSP) {
		move_by(effect, INJ_STACK_TO_FRAME, -disp);
	}
}

static void step_stack(struct inj_effect *effect, const struct decoded *code)
{
	const ZydisDecodedOperand *operands = code->operands;
	const int64_t width = code->insn.operand_width / 8;
	const bool to_rsp = is_register(&operands[0], ZYDIS_REGISTER_RSP);

	switch (code->insn.mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
		if (is_register(&operands[0], ZYDIS_REGISTER_RSP)) /* its address escapes */
			effect->move = INJ_STACK_LOST;
		else
			move_by(effect, INJ_STACK_MOVED, width);
		return;
	case ZYDIS_MNEMONIC_PUSHFQ:
		move_by(effect, INJ_STACK_MOVED, width);
		return;
	case ZYDIS_MNEMONIC_POP:
	case ZYDIS_MNEMONIC_POPFQ:
		move_by(effect, to_rsp ? INJ_STACK_LOST : INJ_STACK_MOVED, -width);
		return;
	case ZYDIS_MNEMONIC_LEAVE:
		move_by(effect, INJ_STACK_FROM_FRAME, -8);
		return;
	case ZYDIS_MNEMONIC_LEA:
		step_lea(effect, &operands[0], &operands[1]);
		return;
	case ZYDIS_MNEMONIC_MOV:
		step_copy(effect, &operands[0], &operands[1]);
		return;
	case ZYDIS_MNEMONIC_CALL: /* back when it has returned */
	case ZYDIS_MNEMONIC_RET:
		return;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
		if (to_rsp) {
			step_arithmetic(effect, code);
			return;
		}
		break;
	case ZYDIS_MNEMONIC_AND:
		if (to_rsp && operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return; /* aligned downwards */
		break;
	default:
		break;
	}
	/* Any other use of rsp as a register: its value goes who knows where. */
	for (size_t i = 0; i < code->insn.operand_count; i++)
		if (is_register(&operands[i], ZYDIS_REGISTER_RSP) &&
		    operands[i].visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			effect->move = INJ_STACK_LOST;
	if (effect->written.gprs & 1u << INJ_RSP)
		effect->move = INJ_STACK_LOST;
}

int inj_effect_decode(const uint8_t *bytes, size_t n, struct inj_effect *ret_effect)
{
	ZydisDecoder decoder;
	struct decoded code;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, bytes, n, &code.insn, code.operands)))
		return -EILSEQ;
	struct inj_effect effect = { .move = INJ_STACK_KEPT };

	if (code.insn.mnemonic == ZYDIS_MNEMONIC_NOP) { /* its operand is never looked at */
		*ret_effect = effect;
		return 0;
	}
	for (size_t i = 0; i < code.insn.operand_count; i++) {
		if (code.operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
			note_register(&effect, &code.operands[i]);
		else if (code.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			note_memory(&effect, &code.operands[i]);
	}
	if (code.insn.meta.category == ZYDIS_CATEGORY_SYSCALL) /* results and what the CPU uses */
		effect.written.gprs |= 1u << INJ_RAX | 1u << INJ_RCX | 1u << INJ_R11;
	if (code.insn.mnemonic == ZYDIS_MNEMONIC_INT)
		effect.written.gprs |= 1u << INJ_RAX;
	effect.tests_al = code.insn.mnemonic == ZYDIS_MNEMONIC_TEST &&
			  is_register(&code.operands[0], ZYDIS_REGISTER_AL) &&
			  is_register(&code.operands[1], ZYDIS_REGISTER_AL);
	step_stack(&effect, &code);
	*ret_effect = effect;
	return 0;
}
