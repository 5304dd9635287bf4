/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_REDIRECT_CORPUS_H
#define TESTS_REDIRECT_CORPUS_H

/* What a function's arguments mean; all of them also get four doubles. */
enum corpus_kind {
	CORPUS_INTEGERS, /* six small numbers */
	CORPUS_MEMORY,   /* scratch memory, then small numbers */
	CORPUS_STRING,   /* a string in scratch memory, then small numbers */
	CORPUS_COUNTED,  /* count of variable arguments (0..5), then them */
};

struct corpus_entry {
	const char *name;
	void *function;
	enum corpus_kind kind;
};

#define CORPUS_SCRATCH_BYTES 512

/* Every corpus library exports these. */
typedef const struct corpus_entry *(*corpus_list_fn)(unsigned long *ret_n);
typedef void (*corpus_reset_fn)(void);

#endif
