/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disguise LIBRARY: a program of which everything that somebody else may show has a name with
 * control characters: its command, its threads, a function; whoever starts it can do the same to
 * its file and to the library. Questions: answer; busy: enters stay(), through the library, and
 * stays until the next line; quit.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/victims/line.h"

/* Clears the screen, colours what follows, begins a line of its own, and ends in a lone byte of
 * UTF-8. */
#define ODD "a\033[2J\n<0>\xc2"

int answer(void);
int stay(void);
void tell(void);
extern void (*const volatile odd_name)(void);
static void (*through_library)(void (*function)(void));

__attribute__((noinline)) int answer(void)
{
	static volatile int value = 42;

	return value;
}

__attribute__((noinline)) int stay(void)
{
	puts("inside");
	return line_next() ? 1 : 0;
}

void tell(void)
{
	printf("out %d\n", stay());
}

/* Only quoted may a symbol have such a name, and compilers do not quote. */
#define ODD_NAME "\"through\033[2J\302\2331ithe\""
__asm__(".text\n"
	".type " ODD_NAME ", @function\n" ODD_NAME ":\n"
	".cfi_startproc\n"
	"sub $8, %rsp\n"
	".cfi_adjust_cfa_offset 8\n"
	"call tell\n"
	"add $8, %rsp\n"
	".cfi_adjust_cfa_offset -8\n"
	"ret\n"
	".cfi_endproc\n"
	".size " ODD_NAME ", . - " ODD_NAME "\n"
	".section .data.rel.ro, \"aw\"\n"
	".globl odd_name\n"
	"odd_name: .quad " ODD_NAME "\n"
	".text\n");

static void *rest(void *unused)
{
	prctl(PR_SET_NAME, ODD "t");
	for (;;)
		pause();
	return unused;
}

int main(int argc, char **argv)
{
	void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
	pthread_t thread;
	const char *line;

	through_library = library ? dlsym(library, "through_library") : NULL;
	if (!through_library || pthread_create(&thread, NULL, rest, NULL) != 0)
		return 1;
	prctl(PR_SET_NAME, ODD "c");
	line_ready();
	while ((line = line_next()))
		if (strcmp(line, "answer") == 0)
			printf("%d\n", answer());
		else if (strcmp(line, "busy") == 0)
			through_library(odd_name);
		else
			puts("?");
	return 0;
}
