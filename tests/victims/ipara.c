/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ipara: callers that know how their callee was compiled. Questions: check (a thousand calls of
 * each, then ok or what went wrong), quit.
 */
#include "tests/victims/line.h"

/* A caller of assembly, for what no compiler can be made to do reliably: values in every register
 * that triple() leaves alone, live across the call, on a stack that is not aligned. Return: 0, or
 * the number of what was lost. */
long strict_caller(long x);
long triple(long x);
__asm__(".text\n"
	".p2align 4\n"
	".type triple, @function\n"
	".globl triple\n"
	"triple:\n"
	"	lea (%rdi,%rdi,2),%rax\n"
	"	add $1,%rax\n"
	"	ret\n"
	".size triple, .-triple\n"
	".p2align 4\n"
	".type strict_caller, @function\n"
	".globl strict_caller\n"
	"strict_caller:\n"
	"	.cfi_startproc\n"
	"	mov $11,%ecx\n"
	"	mov $12,%edx\n"
	"	mov $13,%esi\n"
	"	mov $14,%r8d\n"
	"	mov $15,%r9d\n"
	"	mov $16,%r10d\n"
	"	mov $17,%r11d\n"
	"	movq %rdx,%xmm0\n"
	"	movq %rsi,%xmm7\n"
	"	movq %r11,%xmm15\n"
	/* rsp is 8 off 16 here, and 0 behind the call: not as a function may expect it */
	"	call triple\n"
	"	lea (%rdi,%rdi,2),%rdi\n"
	"	add $1,%rdi\n"
	"	cmp %rdi,%rax\n"
	"	mov $1,%eax\n"
	"	jne 1f\n"
	"	inc %eax\n"
	"	cmp $11,%rcx\n"
	"	jne 1f\n"
	"	inc %eax\n"
	"	cmp $12,%rdx\n"
	"	jne 1f\n"
	"	inc %eax\n"
	"	cmp $13,%rsi\n"
	"	jne 1f\n"
	"	inc %eax\n"
	"	cmp $14,%r8\n"
	"	jne 1f\n"
	"	inc %eax\n"
	"	cmp $15,%r9\n"
	"	jne 1f\n"
	"	inc %eax\n"
	"	cmp $16,%r10\n"
	"	jne 1f\n"
	"	inc %eax\n"
	"	cmp $17,%r11\n"
	"	jne 1f\n"
	"	inc %eax\n"
	"	movq %xmm0,%rcx\n"
	"	cmp $12,%rcx\n"
	"	jne 1f\n"
	"	inc %eax\n"
	"	movq %xmm7,%rcx\n"
	"	cmp $13,%rcx\n"
	"	jne 1f\n"
	"	inc %eax\n"
	"	movq %xmm15,%rcx\n"
	"	cmp $17,%rcx\n"
	"	jne 1f\n"
	"	xor %eax,%eax\n"
	"1:	ret\n"
	"	.cfi_endproc\n"
	".size strict_caller, .-strict_caller\n");

static volatile long spread = 7;

/* What gcc makes of it: the callers keep a, b and c in registers that step() does not write. */
__attribute__((noinline, noclone)) static long step(long x)
{
	return x * 5 + 1;
}

__attribute__((noinline, noclone)) static long walk(const volatile long *p)
{
	long a = p[0], b = p[1], c = p[2];
	long r = step(p[3]);

	return r + a * b + c;
}

/* Its seventh argument lies on the stack. */
__attribute__((noinline, noclone)) static long seven(long a, long b, long c, long d, long e, long f,
						     long g)
{
	return a + b + c + d + e + f + g * spread;
}

__attribute__((noinline, noclone)) static long call_seven(long x)
{
	return seven(x, x, x, x, x, x, x + 1) - 1;
}

__attribute__((noinline, noclone)) static long along(long x)
{
	return x ^ 21;
}

__attribute__((noinline, noclone)) static long call_along(long x)
{
	long a = spread, b = a * x;

	return along(x) + a * b;
}

static const char *check(void)
{
	for (long i = 0; i < 1000; i++) {
		const volatile long values[4] = { i, i + 3, i + 5, i + 7 };

		if (strict_caller(i) != 0)
			return "a register was lost";
		if (walk(values) != (i + 7) * 5 + 1 + i * (i + 3) + i + 5)
			return "walk() is wrong";
		if (call_seven(i) != 6 * i + (i + 1) * 7 - 1)
			return "call_seven() is wrong";
		if (call_along(i) != (i ^ 21) + 49 * i)
			return "call_along() is wrong";
	}
	return "ok";
}

int main(void)
{
	const char *line;

	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "check") == 0)
			puts(check());
		else
			puts("?");
	}
	return 0;
}
