/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A victim with functions that cannot be replaced, and one that can. Questions: answer, busy
 * (enters a function and stays until the next line), quit.
 */
#include "tests/victims/line.h"

int answer(void);
int stay(void);
int twin_of_two(void);
static int twin(void);
static int (*volatile twin_pointer)(void) = twin;
extern int tiny(void);

/* One byte, and the next function starts right behind it: there is no room for a jump. */
__asm__(".text\n"
	".globl tiny\n"
	".type tiny, @function\n"
	"tiny: ret\n"
	".size tiny, 1\n"
	".globl neighbour\n"
	".type neighbour, @function\n"
	"neighbour: ret\n"
	".size neighbour, 1\n");

__attribute__((noinline)) static int twin(void)
{
	static volatile int calls;

	return ++calls;
}

__attribute__((noinline)) int answer(void)
{
	static volatile int value = 42;

	return value + twin_pointer() * 0 + twin_of_two() * 0;
}

__attribute__((noinline)) int stay(void)
{
	puts("inside");
	return line_next() ? 1 : 0;
}

int main(void)
{
	const char *line;

	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "answer") == 0)
			printf("%d\n", answer());
		else if (strcmp(line, "busy") == 0)
			printf("out %d\n", stay());
		else
			puts("?");
	}
	return 0;
}
