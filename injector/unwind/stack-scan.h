/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_UNWIND_STACK_SCAN_H
#define INJ_UNWIND_STACK_SCAN_H

#include "injector/unwind/unwind-tables.h"

enum inj_word_kind {
	INJ_WORD_NOTHING,
	INJ_WORD_WATCHED,    /* could be a pc inside a watched range */
	INJ_WORD_TRAMPOLINE, /* a signal handler's return address: frames may go on elsewhere */
};

#define INJ_SCAN_SPANS 3
#define INJ_SCAN_PAGES 65536

/* Watched code, signal trampolines and our own areas (whose addresses are translated), ready for
 * comparing words. */
struct inj_word_filter {
	const struct inj_watch *watches;
	size_t n_watches;
	const struct inj_unwind_tables *tables;
	inj_translate_fn translate;
	void *translate_context;
	const struct inj_range *own;
	size_t n_own;
	struct {
		uint64_t least, length;
	} spans[INJ_SCAN_SPANS];
	/* One bit a page number modulo INJ_SCAN_PAGES: such a page holds something of interest. */
	uint64_t pages[INJ_SCAN_PAGES / 64];
};

/*
 * watches: sorted, borrowed; own: code of our areas, borrowed; translate: may be NULL.
 * State: pure.
 * Return: 0.
 * Errors: -EINVAL when the watches are not sorted, empty or overlap.
 */
int inj_word_filter_init(struct inj_word_filter *ret, const struct inj_watch *watches,
			 size_t n_watches, const struct inj_unwind_tables *tables,
			 const struct inj_range *own, size_t n_own, inj_translate_fn translate,
			 void *translate_context);

/*
 * What may the word be? As a return address it may lie anywhere behind the first byte of a range,
 * up to and including its end (a call that never returns is the last instruction); as the pc that a
 * signal frame holds, anywhere inside.
 * ret_watch: index of the watch, set when WATCHED.
 * State: pure.
 */
enum inj_word_kind inj_word_judge(const struct inj_word_filter *filter, uint64_t word,
				  size_t *ret_watch);

/*
 * Same for a pc known to be one.
 * is_call: it is a return address; ret_watch: as above, set when inside.
 * State: pure.
 * Return: it is inside a watched range.
 */
bool inj_pc_judge(const struct inj_word_filter *filter, inj_addr pc, bool is_call,
		  size_t *ret_watch);

/* Return: go on. */
typedef bool (*inj_word_fn)(void *context, inj_addr slot, uint64_t word, enum inj_word_kind kind,
			    size_t watch);

/*
 * Compare all words of a piece of stack.
 * bytes: a copy of the memory at address; words are taken at multiples of 8 from address on.
 * State: pure.
 * Return: false when the callback stopped it.
 */
bool inj_word_scan(const struct inj_word_filter *filter, struct inj_bytes bytes, inj_word_fn found,
		   void *context);

#endif
