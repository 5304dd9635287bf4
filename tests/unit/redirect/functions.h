/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_REDIRECT_FUNCTIONS_H
#define TESTS_REDIRECT_FUNCTIONS_H

#include "injector/redirect/site.h"

/* One function, as its frame description entry has it. */
struct function {
	inj_addr start;
	inj_addr end;
	bool has_handlers;
	bool is_fragment; /* part of a function that is entered by jumps only */
};

/* An ELF file as it lies in memory, with its functions in ascending order. */
struct program {
	uint8_t *image;        /* relocated as far as its own addresses go */
	size_t n_image;
	inj_addr bias;         /* where image[0] would be */
	struct inj_range code; /* the executable segment, without bias */
	struct function *functions; /* without bias */
	size_t n_functions;
	int fd;                /* kept open for the unwind tables */
	void *elf;
	void *cfi;
};

/* Load a file as if at `bias`; false when there is no such file or it has no unwind tables. */
bool program_load(const char *path, inj_addr bias, struct program *ret_program);
void program_free(struct program *program);

/*
 * What inj_site_examine wants to know of function i: padding up to its neighbours, the module's
 * code and data. Borrowed from the program.
 */
struct inj_text program_text(struct program *program, size_t i);

/*
 * Where the program's own unwind tables say that the frame is, at an address without bias:
 * DWARF register number and offset. False when they say something that is no register + offset.
 */
bool program_frame(struct program *program, inj_addr address, int *ret_register,
		   int64_t *ret_offset);

#endif
