/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an instruction is and where it leads, from Zydis' raw view of it, and its copy at another
 * address. The bytes are foreign: whatever Zydis does not take as one complete instruction is
 * refused, and whatever would mean something else elsewhere is marked as not movable.
 */
#include "injector/arch/x86_64/decode.h"

#include <errno.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "injector/arch/x86_64/encode.h"

static bool has_prefix(const ZydisDecodedInstruction *zydis, uint8_t value)
{
	for (size_t i = 0; i < zydis->raw.prefix_count; i++)
		if (zydis->raw.prefixes[i].value == value)
			return true;
	return false;
}

static enum inj_flow direct_flow(const ZydisDecodedInstruction *zydis)
{
	switch (zydis->mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
		return INJ_FLOW_JUMP;
	case ZYDIS_MNEMONIC_CALL:
		return INJ_FLOW_CALL;
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		return INJ_FLOW_LOOP;
	case ZYDIS_MNEMONIC_XBEGIN:
		return INJ_FLOW_TRANSACTION;
	default:
		return INJ_FLOW_BRANCH;
	}
}

static enum inj_flow other_flow(const ZydisDecodedInstruction *zydis, bool through_slot)
{
	switch (zydis->meta.category) {
	case ZYDIS_CATEGORY_CALL:
		return INJ_FLOW_CALL_INDIRECT;
	case ZYDIS_CATEGORY_UNCOND_BR:
		return through_slot ? INJ_FLOW_JUMP_SLOT : INJ_FLOW_JUMP_INDIRECT;
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_SYSRET:
		return INJ_FLOW_RETURN;
	case ZYDIS_CATEGORY_SYSCALL:
		return INJ_FLOW_KERNEL;
	default:
		break;
	}
	switch (zydis->mnemonic) {
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
	case ZYDIS_MNEMONIC_HLT:
	case ZYDIS_MNEMONIC_INT3:
		return INJ_FLOW_STOP;
	case ZYDIS_MNEMONIC_INT:
		return INJ_FLOW_KERNEL;
	default:
		return INJ_FLOW_NEXT;
	}
}

static void read_target(const ZydisDecodedInstruction *zydis, inj_addr end, struct inj_insn *insn)
{
	insn->has_target = true;
	insn->target = end + (uint64_t)zydis->raw.imm[0].value.s;
	insn->flow = direct_flow(zydis);
	insn->condition = zydis->opcode & 15;
	/* An operand-size prefix truncates rip on some CPUs and is ignored by others. */
	if (has_prefix(zydis, 0x66) &&
	    !((zydis->attributes & ZYDIS_ATTRIB_HAS_REX) && zydis->raw.rex.W))
		insn->movable = false;
	if (insn->flow == INJ_FLOW_TRANSACTION)
		insn->movable = false;
}

static void read_memory(const ZydisDecodedInstruction *zydis, inj_addr end, struct inj_insn *insn)
{
	if (!(zydis->attributes & ZYDIS_ATTRIB_HAS_MODRM) || zydis->raw.modrm.mod != 0 ||
	    zydis->raw.disp.size != 32)
		return;
	if (zydis->raw.modrm.rm == 5) {
		insn->rip_relative = true;
		insn->disp_offset = zydis->raw.disp.offset;
		insn->operand = end + (uint64_t)zydis->raw.disp.value;
		if (zydis->address_width != 64) /* relative to eip: wraps at 4 GiB */
			insn->movable = false;
		if (zydis->mnemonic == ZYDIS_MNEMONIC_LEA)
			insn->refers[insn->n_refers++] = insn->operand;
	} else if (zydis->raw.modrm.rm == 4 && zydis->raw.sib.base == 5) {
		insn->refers[insn->n_refers++] = (uint64_t)zydis->raw.disp.value;
	}
}

int inj_insn_decode(const uint8_t *bytes, size_t n, inj_addr address, struct inj_insn *ret_insn)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction zydis;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&decoder, NULL, bytes, n, &zydis)))
		return -EILSEQ;
	struct inj_insn insn = { .n_bytes = zydis.length, .movable = true };
	inj_addr end = address + zydis.length;

	read_memory(&zydis, end, &insn);
	if (zydis.raw.imm[0].is_relative) {
		read_target(&zydis, end, &insn);
	} else {
		insn.flow = other_flow(&zydis, insn.rip_relative);
		if (zydis.raw.imm[0].size >= 32)
			insn.refers[insn.n_refers++] = zydis.raw.imm[0].value.u;
	}
	insn.is_nop = zydis.mnemonic == ZYDIS_MNEMONIC_NOP &&
		      (zydis.opcode == 0x90 || zydis.opcode == 0x1f);
	insn.is_endbr64 = zydis.mnemonic == ZYDIS_MNEMONIC_ENDBR64;
	insn.is_int3 = zydis.mnemonic == ZYDIS_MNEMONIC_INT3;
	*ret_insn = insn;
	return 0;
}

bool inj_insn_runs_on(const struct inj_insn *insn)
{
	switch (insn->flow) {
	case INJ_FLOW_JUMP:
	case INJ_FLOW_JUMP_INDIRECT:
	case INJ_FLOW_JUMP_SLOT:
	case INJ_FLOW_RETURN:
	case INJ_FLOW_STOP:
		return false;
	default:
		return true;
	}
}

size_t inj_insn_moved_bytes(const struct inj_insn *insn)
{
	switch (insn->flow) {
	case INJ_FLOW_JUMP:
		return INJ_JMP32_BYTES;
	case INJ_FLOW_BRANCH:
		return INJ_JCC32_BYTES;
	case INJ_FLOW_CALL:
		return INJ_CALL32_BYTES;
	case INJ_FLOW_LOOP:
		return insn->n_bytes + INJ_JMP8_BYTES + INJ_JMP32_BYTES;
	default:
		return insn->n_bytes;
	}
}

/*
 *	loop  1f	the original instruction, with displacement 2
 *	jmp   2f
 * 1:	jmp   target
 * 2:
 */
static void move_loop(struct inj_encoder *encoder, const struct inj_insn *insn,
		      const uint8_t *bytes, inj_addr target)
{
	inj_emit_bytes(encoder, bytes, insn->n_bytes - 1u);
	inj_emit_bytes(encoder, (const uint8_t[]){ INJ_JMP8_BYTES }, 1);
	inj_emit_jmp8(encoder,
		      encoder->address + encoder->n + INJ_JMP8_BYTES + INJ_JMP32_BYTES);
	inj_emit_jmp32(encoder, target);
}

static void move_plain(struct inj_encoder *encoder, const struct inj_insn *insn,
		       const uint8_t *bytes)
{
	uint8_t copy[INJ_INSN_MAX_BYTES];

	memcpy(copy, bytes, insn->n_bytes);
	if (insn->rip_relative) {
		inj_addr end = encoder->address + encoder->n + insn->n_bytes;
		uint32_t displacement = (uint32_t)(insn->operand - end);

		if (!encoder->error && !inj_reaches32(end, insn->operand))
			encoder->error = -ERANGE;
		for (int i = 0; i < 4; i++)
			copy[insn->disp_offset + i] = (uint8_t)(displacement >> (8 * i));
	}
	inj_emit_bytes(encoder, copy, insn->n_bytes);
}

int inj_insn_move(struct inj_encoder *encoder, const struct inj_insn *insn, const uint8_t *bytes,
		  inj_addr target)
{
	if (!insn->movable)
		return -EOPNOTSUPP;
	switch (insn->flow) {
	case INJ_FLOW_JUMP:
		inj_emit_jmp32(encoder, target);
		break;
	case INJ_FLOW_BRANCH:
		inj_emit_jcc32(encoder, insn->condition, target);
		break;
	case INJ_FLOW_CALL:
		inj_emit_call32(encoder, target);
		break;
	case INJ_FLOW_LOOP:
		move_loop(encoder, insn, bytes, target);
		break;
	default:
		move_plain(encoder, insn, bytes);
	}
	return 0;
}
