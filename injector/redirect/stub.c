/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes dispatch stubs. What always holds: a stub changes no register and no memory, only flags,
 * which no calling convention keeps across a call (but for the wrapper of a site whose callers ask
 * for one: wrapper.c); its copies of the covered instructions do what the originals did; its call
 * frame program describes every one of its instructions.
 *
 *	cmpb $0, generation (or %gs:generation, where every thread has its own answer)
 *	jne  new            (or the far jump at the end)
 *	... covered instructions, relocated ...        <- old path
 *	jmp  site + n_covered
 *	jmp  *new(%rip)     (only when new is out of reach; or the wrapper)
 */
#include "injector/redirect/site.h"

#include <errno.h>
#include <string.h>

#include "injector/arch/x86_64/decode.h"
#include "injector/arch/x86_64/encode.h"
#include "injector/arch/x86_64/frame.h"
#include "injector/redirect/wrapper-priv.h"

/* One covered instruction. */
struct piece {
	struct inj_insn insn;
	uint8_t from;   /* offset in the site */
	uint8_t to;     /* offset in the stub */
	bool live;      /* control can arrive at it */
	bool described; /* rule is known */
	struct inj_frame_rule rule; /* before it */
};

struct plan {
	const struct inj_site *site;
	unsigned n_written;         /* bytes overwritten at the entry */
	struct piece pieces[INJ_SITE_MAX_COVERED];
	size_t n_pieces;
	bool runs_on;               /* into what follows the covered bytes */
	uint8_t back;               /* offset of the jump back, or where it would be */
	struct inj_frame_rule back_rule;
	struct inj_wrapper_marks marks; /* when site->keep.wanted */
};

/* Offset of what comes behind the question. */
static uint8_t old_path(const struct inj_site *site)
{
	return (site->per_thread ? INJ_CMPB_GS_BYTES : INJ_CMPB_BYTES) + INJ_JCC32_BYTES;
}

static unsigned written_bytes(const struct inj_site *site)
{
	return site->kind == INJ_SITE_SHORT ? INJ_JMP8_BYTES : INJ_JMP32_BYTES;
}

static struct piece *piece_at(struct plan *plan, uint64_t offset)
{
	for (size_t i = 0; i < plan->n_pieces; i++)
		if (plan->pieces[i].from == offset)
			return &plan->pieces[i];
	return NULL;
}

/*
 * The copy that a direct jump of the old code leads to, or NULL when it leaves the covered bytes.
 * A jump to the entry stays in the old version.
 */
static struct piece *jump_inside(struct plan *plan, const struct inj_insn *insn)
{
	uint64_t offset = insn->target - plan->site->address;

	if (!insn->has_target || insn->flow == INJ_FLOW_CALL)
		return NULL;
	if (offset <= plan->site->n_kept)
		return &plan->pieces[0];
	return piece_at(plan, offset);
}

static bool overwritten_inside(const struct plan *plan, inj_addr address)
{
	uint64_t offset = address - plan->site->address;

	return offset > plan->site->n_kept && offset < plan->site->n_kept + plan->n_written;
}

/* Would the copy do the same as the original, once the entry is overwritten? */
static bool can_move(struct plan *plan, const struct piece *piece)
{
	const struct inj_insn *insn = &piece->insn;

	if (!insn->movable)
		return false;
	if (insn->rip_relative && overwritten_inside(plan, insn->operand))
		return false;
	if (!insn->has_target)
		return true;
	/* `call` to the next instruction asks for its own address */
	if (insn->flow == INJ_FLOW_CALL &&
	    insn->target == plan->site->address + piece->from + insn->n_bytes)
		return false;
	return jump_inside(plan, insn) || !overwritten_inside(plan, insn->target);
}

/* Bytes behind the last decodable instruction are unreachable padding, else it is an error. */
static int decode_pieces(struct plan *plan)
{
	const struct inj_site *site = plan->site;
	unsigned offset = site->n_kept;

	while (offset < site->n_covered) {
		struct piece *piece = &plan->pieces[plan->n_pieces];

		if (inj_insn_decode(site->covered + offset, site->n_covered - offset,
				    site->address + offset, &piece->insn) < 0)
			break;
		piece->from = (uint8_t)offset;
		offset += piece->insn.n_bytes;
		plan->n_pieces++;
	}
	if (plan->n_pieces == 0)
		return -EOPNOTSUPP;
	if (offset != site->n_covered &&
	    inj_insn_runs_on(&plan->pieces[plan->n_pieces - 1].insn))
		return -EOPNOTSUPP;
	return 0;
}

static bool spread(struct plan *plan, size_t i)
{
	struct piece *piece = &plan->pieces[i];
	struct piece *target = jump_inside(plan, &piece->insn);
	bool changed = false;

	if (target && !target->live)
		changed = target->live = true;
	if (i + 1 < plan->n_pieces && inj_insn_runs_on(&piece->insn) &&
	    !plan->pieces[i + 1].live)
		changed = plan->pieces[i + 1].live = true;
	return changed;
}

/* Only what control can reach is copied; padding behind a return is not. */
static int mark_live(struct plan *plan)
{
	bool changed = true;

	plan->pieces[0].live = true;
	while (changed) {
		changed = false;
		for (size_t i = 0; i < plan->n_pieces; i++)
			if (plan->pieces[i].live && spread(plan, i))
				changed = true;
	}
	for (size_t i = 0; i < plan->n_pieces; i++)
		if (plan->pieces[i].live && !can_move(plan, &plan->pieces[i]))
			return -EOPNOTSUPP;
	const struct piece *last = &plan->pieces[plan->n_pieces - 1];

	plan->runs_on = last->live && inj_insn_runs_on(&last->insn);
	return 0;
}

/* Offsets must fit the map's bytes. */
static int lay_out(struct plan *plan)
{
	size_t at = old_path(plan->site);

	for (size_t i = 0; i < plan->n_pieces; i++) {
		if (!plan->pieces[i].live)
			continue;
		plan->pieces[i].to = (uint8_t)at;
		at += inj_insn_moved_bytes(&plan->pieces[i].insn);
		if (at + INJ_JMP32_BYTES > UINT8_MAX)
			return -EOPNOTSUPP;
	}
	plan->back = (uint8_t)at;
	return 0;
}

static int meet(struct piece *piece, const struct inj_frame_rule *rule)
{
	if (piece->described)
		return inj_frame_same(&piece->rule, rule) ? 0 : -EOPNOTSUPP;
	piece->rule = *rule;
	piece->described = true;
	return 0;
}

/* Follow the frame rule along all paths; paths that meet must agree. */
static int describe(struct plan *plan)
{
	int r = 0;

	inj_frame_start(&plan->pieces[0].rule);
	plan->pieces[0].described = true;
	for (size_t i = 0; i < plan->n_pieces && r == 0; i++) {
		struct piece *piece = &plan->pieces[i];
		struct piece *target = jump_inside(plan, &piece->insn);

		if (!piece->live)
			continue;
		if (!piece->described) /* reached only from further on: no compiler does it */
			return -EOPNOTSUPP;
		struct inj_frame_rule rule = piece->rule;

		r = inj_frame_step(&rule, plan->site->covered + piece->from, piece->insn.n_bytes);
		if (r == 0 && target)
			r = meet(target, &rule);
		if (r == 0 && inj_insn_runs_on(&piece->insn)) {
			if (i + 1 < plan->n_pieces)
				r = meet(&plan->pieces[i + 1], &rule);
			else
				plan->back_rule = rule;
		}
	}
	return r;
}

static int make_plan(const struct inj_site *site, struct plan *plan)
{
	*plan = (struct plan){ .site = site, .n_written = written_bytes(site) };
	int r = decode_pieces(plan);

	if (r == 0)
		r = mark_live(plan);
	if (r == 0)
		r = lay_out(plan);
	if (r == 0)
		r = describe(plan);
	return r;
}

static void emit_code(struct plan *plan, struct inj_encoder *encoder, inj_addr generation,
		      inj_addr replacement)
{
	const bool wraps = plan->site->keep.wanted;
	bool far = wraps || !inj_reaches32(encoder->address + old_path(plan->site), replacement);
	inj_addr far_jump = encoder->address + plan->back + (plan->runs_on ? INJ_JMP32_BYTES : 0);

	if (plan->site->per_thread)
		inj_emit_cmpb_gs(encoder, generation, 0);
	else
		inj_emit_cmpb(encoder, generation, 0);
	inj_emit_jcc32(encoder, INJ_IF_NOT_EQUAL, far ? far_jump : replacement);
	for (size_t i = 0; i < plan->n_pieces; i++) {
		const struct piece *piece = &plan->pieces[i];
		const struct piece *target = jump_inside(plan, &piece->insn);

		if (piece->live)
			inj_insn_move(encoder, &piece->insn, plan->site->covered + piece->from,
				      target ? encoder->address + target->to : piece->insn.target);
	}
	if (plan->runs_on)
		inj_emit_jmp32(encoder, plan->site->address + plan->site->n_covered);
	if (wraps)
		inj_wrapper_emit(encoder, &plan->site->keep, replacement, &plan->marks);
	else if (far)
		inj_emit_jmp_far(encoder, replacement);
}

/* At most 28 covered instructions and two more entries: the map never overflows. */
static void fill_map(const struct plan *plan, struct inj_stub *stub)
{
	size_t back_end = plan->back + (plan->runs_on ? INJ_JMP32_BYTES : 0u);

	for (size_t i = 0; i < plan->n_pieces; i++)
		if (plan->pieces[i].live)
			stub->map[stub->n_map++] = (struct inj_relocated){
				plan->pieces[i].from, plan->pieces[i].to };
	if (plan->runs_on)
		stub->map[stub->n_map++] =
			(struct inj_relocated){ plan->site->n_covered, plan->back };
	if (back_end < stub->n_bytes)
		stub->map[stub->n_map++] = (struct inj_relocated){ 0, (uint8_t)back_end };
}

struct cfi_writer {
	struct inj_stub *stub;
	struct inj_frame_rule rule;
	unsigned at;
};

static int write_rule(struct cfi_writer *writer, const struct inj_frame_rule *rule, unsigned at)
{
	bool written;
	int r = inj_frame_encode(&writer->rule, rule, at - writer->at, writer->stub->cfi,
				 sizeof(writer->stub->cfi), &writer->stub->n_cfi, &written);

	if (r == 0 && written) {
		writer->rule = *rule;
		writer->at = at;
	}
	return r;
}

/* The wrapper's frame; the rule before it is that of a function's entry. */
static int describe_wrapper(struct cfi_writer *writer, const struct inj_wrapper_marks *marks)
{
	struct inj_frame_rule rule, start;
	int r;

	inj_frame_start(&start);
	rule = start;
	rule.depth = 16;
	rule.saved[INJ_DW_RBP] = 2;
	r = write_rule(writer, &rule, (unsigned)marks->pushed);
	rule.by_rbp = true;
	rule.rbp_depth = 16;
	if (r == 0)
		r = write_rule(writer, &rule, (unsigned)marks->framed);
	return r == 0 ? write_rule(writer, &start, (unsigned)marks->left) : r;
}

static int fill_cfi(const struct plan *plan, struct inj_stub *stub)
{
	struct cfi_writer writer = { .stub = stub };
	struct inj_frame_rule start;
	size_t back_end = plan->back;
	int r = 0;

	inj_frame_start(&start);
	writer.rule = start;
	for (size_t i = 0; i < plan->n_pieces && r == 0; i++)
		if (plan->pieces[i].live)
			r = write_rule(&writer, &plan->pieces[i].rule, plan->pieces[i].to);
	if (r == 0 && plan->runs_on) {
		r = write_rule(&writer, &plan->back_rule, plan->back);
		back_end += INJ_JMP32_BYTES;
	}
	if (r == 0 && back_end < stub->n_bytes)
		r = write_rule(&writer, &start, (unsigned)back_end);
	if (r == 0 && plan->site->keep.wanted)
		r = describe_wrapper(&writer, &plan->marks);
	return r;
}

static int refuse_move(const struct inj_site *site, struct inj_why *why)
{
	int r = inj_refuse(why, INJ_FUNCTION_TOO_SHORT,
			   "The first instructions of the function at 0x%llx cannot run anywhere "
			   "else; replace the functions that call it instead.",
			   (unsigned long long)site->address);

	if (why)
		why->address = site->address;
	return r;
}

static void emit_late(struct plan *plan, struct inj_encoder *encoder, inj_addr replacement)
{
	if (plan->site->keep.wanted)
		inj_wrapper_emit(encoder, &plan->site->keep, replacement, &plan->marks);
	else if (inj_reaches32(encoder->address + INJ_JMP32_BYTES, replacement))
		inj_emit_jmp32(encoder, replacement);
	else
		inj_emit_jmp_far(encoder, replacement);
}

int inj_stub_emit(const struct inj_site *site, inj_addr stub, inj_addr generation,
		  inj_addr replacement, struct inj_stub *ret_stub, struct inj_why *why)
{
	struct inj_stub result = { .n_bytes = 0 };
	struct inj_encoder encoder = {
		.bytes = result.bytes,
		.capacity = sizeof(result.bytes),
		.address = stub,
	};
	struct plan plan = { .site = site };
	bool late = site->kind == INJ_SITE_LATE;

	if (late) {
		emit_late(&plan, &encoder, replacement);
	} else {
		if (site->n_covered > INJ_SITE_MAX_COVERED - 4 || make_plan(site, &plan) < 0)
			return refuse_move(site, why);
		emit_code(&plan, &encoder, generation, replacement);
	}
	if (encoder.error)
		return inj_broke(why, encoder.error,
				 "The stub at 0x%llx for the function at 0x%llx cannot reach what "
				 "it refers to",
				 (unsigned long long)stub, (unsigned long long)site->address);
	result.n_bytes = encoder.n;
	if (!late) {
		result.old_path = old_path(site);
		fill_map(&plan, &result);
	}
	if (fill_cfi(&plan, &result) < 0)
		return refuse_move(site, why);
	*ret_stub = result;
	return 0;
}
