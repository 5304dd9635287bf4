/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decides how a function is redirected. What always holds for the answer: no instruction start
 * strictly inside the bytes to be overwritten can be reached by anything but the copies in the
 * stub (NEAR, SHORT), or nothing at all can run there when they are written (LATE). Refused are
 * functions that are too short for every form, and entries that somebody else has changed.
 */
#include "injector/redirect/site.h"

#include <errno.h>
#include <string.h>

#include "injector/arch/x86_64/decode.h"
#include "injector/arch/x86_64/encode.h"
#include "injector/redirect/flow-priv.h"

#define FUNCTION_ALIGNMENT 16u

/* What is known while a decision is made. */
struct survey {
	const struct inj_text *text;
	const uint8_t *entry;   /* text->bytes at the entry */
	uint64_t size;
	size_t n_tail;          /* padding right behind the function that may be overwritten */
	struct inj_flow_map map;
};

/* Length of one piece of padding at the start of the bytes; 0 when they are something else. */
static size_t padding_piece(const uint8_t *bytes, size_t n, inj_addr address)
{
	struct inj_insn insn;

	if (n == 0)
		return 0;
	if (bytes[0] == 0x00 || bytes[0] == 0xcc)
		return 1;
	if (inj_insn_decode(bytes, n, address, &insn) < 0 || !insn.is_nop)
		return 0;
	return insn.n_bytes;
}

/*
 * Padding behind the function. When it ends where something known begins, all of it is padding.
 * Otherwise unknown code follows, which may begin with nops of its own (room left for tracers),
 * but not before the next boundary that functions are aligned to.
 */
static size_t measure_tail(const struct survey *survey)
{
	const struct inj_text *text = survey->text;
	const uint8_t *bytes = survey->entry + survey->size;
	inj_addr end = text->address + survey->size;
	size_t run = 0;

	for (;;) {
		size_t piece = padding_piece(bytes + run, text->after - run, end + run);

		if (piece == 0)
			break;
		run += piece;
	}
	if (run == text->after && text->after < INJ_WINDOW_MAX)
		return run;
	size_t gap = (FUNCTION_ALIGNMENT - end % FUNCTION_ALIGNMENT) % FUNCTION_ALIGNMENT;

	return run < gap ? run : gap;
}

/*
 * Can control reach an instruction strictly inside [from, from + length), other than from
 * instructions that are covered with it?
 */
static bool entered_inside(const struct survey *survey, unsigned from, unsigned length,
			   unsigned n_covered)
{
	for (unsigned at = from + 1; at < from + length; at++) {
		if (survey->map.outside & (1u << at))
			return true;
		if (survey->map.sources[at] >> n_covered)
			return true;
	}
	return false;
}

static bool entered_at(const struct survey *survey, unsigned offset, unsigned n_covered)
{
	return (survey->map.outside & (1u << offset)) ||
	       (survey->map.sources[offset] >> n_covered);
}

/* Could a thread come back to the instruction behind this one long after it was left? */
static bool sleeps_at_end(const struct inj_insn *insn)
{
	return insn->flow == INJ_FLOW_CALL || insn->flow == INJ_FLOW_CALL_INDIRECT ||
	       insn->flow == INJ_FLOW_KERNEL;
}

/* Is the instruction at `offset` behind one that never runs on, and no branch leads to it? */
static bool unreachable(const struct survey *survey, unsigned offset, bool runs_on)
{
	return !runs_on && survey->map.sources[offset] == 0 &&
	       !(survey->map.outside & (1u << offset));
}

/*
 * Which whole instructions do `length` bytes from offset `from` on cover? The padding behind the
 * function may be covered, too: as code while it is nops, as anything when it is unreachable.
 * ret_starts: set when an instruction starts strictly inside the bytes.
 */
static bool cover(const struct survey *survey, unsigned from, unsigned length,
		  unsigned *ret_n_covered, bool *ret_starts)
{
	uint64_t total = survey->size + survey->n_tail;
	bool runs_on = true;
	unsigned offset = from;

	*ret_starts = false;
	if (total < from + length)
		return false;
	while (offset < from + length) {
		struct inj_insn insn;
		bool in_tail = offset >= survey->size;

		if (in_tail && unreachable(survey, offset, runs_on)) {
			offset = from + length;
			break;
		}
		if (inj_insn_decode(survey->entry + offset, total - offset,
				    survey->text->address + offset, &insn) < 0)
			return false;
		if (in_tail ? !insn.is_nop : offset + insn.n_bytes > survey->size)
			return false;
		if (survey->text->has_handlers && (insn.flow == INJ_FLOW_CALL ||
						   insn.flow == INJ_FLOW_CALL_INDIRECT))
			return false;
		if (offset > from)
			*ret_starts = true;
		offset += insn.n_bytes;
		if (sleeps_at_end(&insn) && offset < from + length)
			return false;
		runs_on = inj_insn_runs_on(&insn);
	}
	*ret_n_covered = offset;
	return true;
}

static bool page_crossed(inj_addr address, unsigned n)
{
	return address % INJ_PAGE_BYTES + n > INJ_PAGE_BYTES;
}

static bool covers_call(const struct inj_site *site)
{
	unsigned offset = site->n_kept;
	struct inj_insn insn;

	while (offset < site->n_covered &&
	       inj_insn_decode(site->covered + offset, site->n_covered - offset,
			       site->address + offset, &insn) == 0) {
		if (insn.flow == INJ_FLOW_CALL || insn.flow == INJ_FLOW_CALL_INDIRECT)
			return true;
		offset += insn.n_bytes;
	}
	return false;
}

/* NEAR, or SHORT as far as the entry is concerned. */
static bool try_inert(const struct survey *survey, enum inj_site_kind kind, unsigned n_kept,
		      struct inj_site *ret_site)
{
	unsigned length = kind == INJ_SITE_NEAR ? INJ_JMP32_BYTES : INJ_JMP8_BYTES;
	struct inj_site site = { .address = survey->text->address, .kind = kind };
	struct inj_stub trial;
	unsigned n_covered;
	bool starts;

	if (!cover(survey, n_kept, length, &n_covered, &starts))
		return false;
	if (starts && survey->map.opaque)
		return false;
	if (entered_inside(survey, n_kept, length, n_covered))
		return false;
	site.n_kept = (uint8_t)n_kept;
	site.n_covered = (uint8_t)n_covered;
	memcpy(site.covered, survey->entry, n_covered);
	/* Whether the copies can say the same elsewhere is best asked of the emitter. */
	if (inj_stub_emit(&site, site.address, 0, site.address, &trial, NULL) != 0)
		return false;
	site.crosses_page = page_crossed(site.address + n_kept, length);
	site.calls_out = covers_call(&site);
	site.loops_to_entry = survey->map.opaque || entered_at(survey, 0, n_covered) ||
			      entered_at(survey, n_kept, n_covered);
	*ret_site = site;
	return true;
}

static bool untouched(const uint8_t *hits, size_t n)
{
	return memchr(hits, 1, n) == NULL;
}

static void use_padding(struct inj_site *site, inj_addr pad, const uint8_t *bytes)
{
	site->pad = pad;
	site->n_pad = INJ_JMP32_BYTES;
	memcpy(site->pad_bytes, bytes, INJ_JMP32_BYTES);
}

static bool pad_behind(const struct survey *survey, inj_addr jump_end, struct inj_site *site)
{
	inj_addr end = survey->text->address + survey->size;

	if (survey->map.runs_on) /* control would run through it into the next function */
		return false;
	for (size_t i = 0; i + INJ_JMP32_BYTES <= survey->n_tail; i++) {
		if (!inj_reaches8(jump_end, end + i) ||
		    !untouched(survey->map.after + i, INJ_JMP32_BYTES))
			continue;
		use_padding(site, end + i, survey->entry + survey->size + i);
		return true;
	}
	return false;
}

/*
 * Padding in front of the function. All of it, from something known to the entry, must be padding,
 * so that the pieces are told apart rightly: should the function in front run on through it, then
 * it arrives at the start of our jump, and the jump leads where the padding led, to the entry.
 */
static bool pad_in_front(const struct survey *survey, inj_addr jump_end, struct inj_site *site)
{
	const struct inj_text *text = survey->text;
	inj_addr start = text->address - text->before;
	size_t best = SIZE_MAX;
	size_t at = 0;

	if (text->before >= INJ_WINDOW_MAX)
		return false;
	while (at < text->before) {
		size_t piece = padding_piece(text->bytes + at, text->before - at, start + at);

		if (piece == 0)
			return false;
		if (at + INJ_JMP32_BYTES <= text->before && inj_reaches8(jump_end, start + at) &&
		    untouched(survey->map.before + at, INJ_JMP32_BYTES))
			best = at;
		at += piece;
	}
	if (best == SIZE_MAX)
		return false;
	use_padding(site, start + best, text->bytes + best);
	return true;
}

static bool try_short(const struct survey *survey, unsigned n_kept, struct inj_site *ret_site)
{
	inj_addr jump_end = survey->text->address + n_kept + INJ_JMP8_BYTES;
	struct inj_site site;

	if (survey->size < n_kept + INJ_JMP8_BYTES ||
	    !try_inert(survey, INJ_SITE_SHORT, n_kept, &site))
		return false;
	if (!pad_behind(survey, jump_end, &site) && !pad_in_front(survey, jump_end, &site))
		return false;
	*ret_site = site;
	return true;
}

static bool try_late(const struct survey *survey, unsigned n_kept, struct inj_site *ret_site)
{
	unsigned n = n_kept + INJ_JMP32_BYTES;

	if (survey->size + survey->n_tail < n)
		return false;
	*ret_site = (struct inj_site){
		.address = survey->text->address,
		.kind = INJ_SITE_LATE,
		.n_kept = (uint8_t)n_kept,
		.crosses_page = page_crossed(survey->text->address + n_kept, INJ_JMP32_BYTES),
	};
	memcpy(ret_site->covered, survey->entry, n);
	return true;
}

static bool choose(const struct survey *survey, unsigned n_kept, struct inj_site *ret_site)
{
	bool near = try_inert(survey, INJ_SITE_NEAR, n_kept, ret_site);
	struct inj_site other;

	if (near && !ret_site->crosses_page)
		return true;
	if (!try_short(survey, n_kept, &other) || (near && other.crosses_page))
		return near;
	*ret_site = other;
	return true;
}

static int refuse_foreign(const struct survey *survey, const char *what, unsigned offset,
			  struct inj_why *why)
{
	int r = inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
			   "The function %s at 0x%llx %s at offset %u; find out who changed it "
			   "(a debugger, a probe, another patcher), have that removed, and try "
			   "again.",
			   survey->text->name, (unsigned long long)survey->text->address, what,
			   offset);

	if (why)
		why->address = survey->text->address;
	return r;
}

static int refuse_short(const struct survey *survey, struct inj_why *why)
{
	int r = inj_refuse(why, INJ_FUNCTION_TOO_SHORT,
			   "The function %s at 0x%llx has %llu bytes and %zu of padding behind it: "
			   "a jump needs 5, and a short jump needs 2 and 5 bytes of padding within "
			   "128 bytes, which were not found; replace the functions that call it "
			   "instead.",
			   survey->text->name, (unsigned long long)survey->text->address,
			   (unsigned long long)survey->size, survey->n_tail);

	if (why)
		why->address = survey->text->address;
	return r;
}

/* The instructions at the entry (endbr64 and what follows it) must be somebody's real code. */
static int check_entry(const struct survey *survey, unsigned *ret_n_kept, struct inj_why *why)
{
	struct inj_insn insn;
	unsigned offset = 0;

	for (;;) {
		if (offset >= survey->size)
			break;
		if (inj_insn_decode(survey->entry + offset, survey->size - offset,
				    survey->text->address + offset, &insn) < 0)
			return refuse_foreign(survey, "holds what is not an instruction", offset,
					      why);
		if (insn.is_int3)
			return refuse_foreign(survey, "has a breakpoint (int3)", offset, why);
		if (!insn.is_endbr64 || offset > 0)
			break;
		offset = insn.n_bytes;
	}
	*ret_n_kept = offset;
	return 0;
}

static int check_text(const struct inj_text *text, struct inj_why *why)
{
	inj_addr end;

	if (__builtin_add_overflow(text->address, text->size, &end) ||
	    __builtin_add_overflow(end, (uint64_t)text->after + INJ_PAGE_BYTES, &end) ||
	    text->address < text->before || text->before > INJ_WINDOW_MAX ||
	    text->after > INJ_WINDOW_MAX)
		return inj_broke(why, -EINVAL, "The function %s at 0x%llx does not fit into memory",
				 text->name, (unsigned long long)text->address);
	return 0;
}

int inj_site_examine(const struct inj_text *text, struct inj_site *ret_site, struct inj_why *why)
{
	int r = check_text(text, why);

	if (r < 0)
		return r;
	struct survey survey = {
		.text = text,
		.entry = text->bytes + text->before,
		.size = text->size,
	};
	unsigned n_kept = 0;

	if (text->size == 0)
		return refuse_short(&survey, why);
	r = check_entry(&survey, &n_kept, why);
	if (r != 0)
		return r;
	survey.n_tail = measure_tail(&survey);
	inj_flow_collect(text, &survey.map);
	if (choose(&survey, n_kept, ret_site))
		return 0;
	if (n_kept > 0 && choose(&survey, 0, ret_site))
		return 0;
	if (try_late(&survey, n_kept, ret_site) || try_late(&survey, 0, ret_site))
		return 0;
	return refuse_short(&survey, why);
}
