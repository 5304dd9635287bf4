/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The conservative scan: every word of a stack against everything watched. Owns the filter that
 * makes it cheap: three comparisons settle nearly every word, a bitmap of pages most of the rest,
 * binary search the remainder. It errs on one side only: a word that is a live return address or an
 * interrupted pc inside watched code is always reported.
 */
#include <errno.h>
#include <string.h>

#include "injector/unwind/stack-scan.h"
#include "injector/base/bisect.h"

static void add_pages(struct inj_word_filter *filter, struct inj_range range)
{
	/* The end counts: a return address may equal it. */
	uint64_t first = range.start / INJ_PAGE_BYTES, last = range.end / INJ_PAGE_BYTES;

	if (last - first >= INJ_SCAN_PAGES)
		last = first + INJ_SCAN_PAGES - 1;
	for (uint64_t page = first; page <= last; page++)
		filter->pages[page % INJ_SCAN_PAGES / 64] |= UINT64_C(1) << (page % 64);
}

static void set_span(struct inj_word_filter *filter, size_t span, struct inj_range range)
{
	filter->spans[span].least = range.start;
	filter->spans[span].length = range.end - range.start;
}

static struct inj_range add_ranges(struct inj_word_filter *filter, const struct inj_range *ranges,
				   size_t n)
{
	/* Not canonical: no pointer equals it. */
	struct inj_range hull = {UINT64_C(1) << 63, UINT64_C(1) << 63};

	for (size_t i = 0; i < n; i++) {
		add_pages(filter, ranges[i]);
		if (i == 0 || ranges[i].start < hull.start)
			hull.start = ranges[i].start;
		if (i == 0 || ranges[i].end > hull.end)
			hull.end = ranges[i].end;
	}
	return hull;
}

int inj_word_filter_init(struct inj_word_filter *ret, const struct inj_watch *watches,
			 size_t n_watches, const struct inj_unwind_tables *tables,
			 const struct inj_range *own, size_t n_own, inj_translate_fn translate,
			 void *translate_context)
{
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < n_watches; i++) {
		if (watches[i].code.start >= watches[i].code.end ||
		    (i && watches[i].code.start < watches[i - 1].code.end))
			return -EINVAL;
		add_pages(ret, watches[i].code);
	}
	ret->watches = watches;
	ret->n_watches = n_watches;
	ret->tables = tables;
	ret->translate = translate;
	ret->translate_context = translate_context;
	ret->own = own;
	ret->n_own = translate ? n_own : 0;
	struct inj_range watched = {UINT64_C(1) << 63, UINT64_C(1) << 63};

	if (n_watches)
		watched =
			(struct inj_range){watches[0].code.start, watches[n_watches - 1].code.end};
	set_span(ret, 0, watched);
	set_span(ret, 1, add_ranges(ret, tables->trampolines, tables->n_trampolines));
	set_span(ret, 2, add_ranges(ret, own, ret->n_own));
	return 0;
}

/* Index of the first watch that starts at or behind the address. */
static size_t first_from(const struct inj_word_filter *filter, inj_addr address)
{
	return INJ_COUNT_WHILE(filter->n_watches, i, filter->watches[i].code.start < address);
}

static inj_addr translated(const struct inj_word_filter *filter, inj_addr address)
{
	for (size_t i = 0; i < filter->n_own; i++)
		if (address >= filter->own[i].start && address <= filter->own[i].end)
			return filter->translate(filter->translate_context, address);
	return address;
}

enum inj_word_kind inj_word_judge(const struct inj_word_filter *filter, uint64_t word,
				  size_t *ret_watch)
{
	inj_addr address = translated(filter, word);
	size_t next = first_from(filter, address);

	if (next && address <= filter->watches[next - 1].code.end) {
		*ret_watch = next - 1;
		return INJ_WORD_WATCHED;
	}
	if (next < filter->n_watches && filter->watches[next].code.start == address &&
	    !filter->watches[next].entry_is_free) {
		*ret_watch = next;
		return INJ_WORD_WATCHED;
	}
	return inj_unwind_tables_trampoline(filter->tables, word) ? INJ_WORD_TRAMPOLINE
								  : INJ_WORD_NOTHING;
}

bool inj_pc_judge(const struct inj_word_filter *filter, inj_addr pc, bool is_call,
		  size_t *ret_watch)
{
	inj_addr inside = is_call ? pc - 1 : pc;
	size_t next = first_from(filter, inside + 1);

	if (!next || !inj_range_has(filter->watches[next - 1].code, inside))
		return false;
	if (!is_call && filter->watches[next - 1].entry_is_free &&
	    pc == filter->watches[next - 1].code.start)
		return false;
	*ret_watch = next - 1;
	return true;
}

static bool of_interest(const struct inj_word_filter *filter, uint64_t word)
{
	uint64_t page = word / INJ_PAGE_BYTES % INJ_SCAN_PAGES;

	return filter->pages[page / 64] >> (page % 64) & 1;
}

bool inj_word_scan(const struct inj_word_filter *filter, struct inj_bytes bytes, inj_word_fn found,
		   void *context)
{
	const uint64_t least0 = filter->spans[0].least, length0 = filter->spans[0].length;
	const uint64_t least1 = filter->spans[1].least, length1 = filter->spans[1].length;
	const uint64_t least2 = filter->spans[2].least, length2 = filter->spans[2].length;

	for (size_t i = 0; i + 8 <= bytes.n; i += 8) {
		uint64_t word;
		size_t watch = 0;

		memcpy(&word, bytes.data + i, sizeof(word));
		if (word - least0 > length0 && word - least1 > length1 && word - least2 > length2)
			continue;
		if (!of_interest(filter, word))
			continue;
		enum inj_word_kind kind = inj_word_judge(filter, word, &watch);

		if (kind != INJ_WORD_NOTHING &&
		    !found(context, bytes.address + i, word, kind, watch))
			return false;
	}
	return true;
}
