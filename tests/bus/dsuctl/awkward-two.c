/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The second function called twin; see awkward.c. */
int twin_of_two(void);
static int twin(void);
static int (*volatile twin_pointer)(void) = twin;

__attribute__((noinline)) static int twin(void)
{
	static volatile int calls;

	return ++calls + 1;
}

int twin_of_two(void)
{
	return twin_pointer();
}
