/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bare: a program without any library, hence without the instructions that return from signal
 * handlers; but somewhere there is `pop %rax; ret`, as in most programs. It says "ready", and
 * answers each question with its number. Digits end at 9.
 */
#define SYS_READ  0
#define SYS_WRITE 1
#define SYS_EXIT  60

static long call(long number, long a, const void *b, long c)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

__asm__(".text\n"
	"pop_ret:\n"
	"	pop %rax\n"
	"	ret\n");

void _start(void);

__attribute__((force_align_arg_pointer)) void _start(void)
{
	char line[64];
	char answer[2] = {'0', '\n'};

	call(SYS_WRITE, 1, "ready\n", 6);
	while (call(SYS_READ, 0, line, sizeof(line)) > 0) {
		answer[0]++;
		call(SYS_WRITE, 1, answer, 2);
	}
	call(SYS_EXIT, 0, 0, 0);
}
