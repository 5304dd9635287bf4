/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Does what the old functions do, as the ABI has it: no register is spared, and the stack is used
 * as aligned. */
#include <dsu/patch.h>

#define RUIN                                                                                      \
	do {                                                                                      \
		char buffer[16] __attribute__((aligned(16)));                                     \
		__asm__ volatile("pcmpeqd %%xmm0,%%xmm0; movaps %%xmm0,%0;"                       \
				 "movaps %%xmm0,%%xmm1; movaps %%xmm0,%%xmm2;"                    \
				 "movaps %%xmm0,%%xmm3; movaps %%xmm0,%%xmm4;"                    \
				 "movaps %%xmm0,%%xmm5; movaps %%xmm0,%%xmm6;"                    \
				 "movaps %%xmm0,%%xmm7; movaps %%xmm0,%%xmm8;"                    \
				 "movaps %%xmm0,%%xmm9; movaps %%xmm0,%%xmm10;"                   \
				 "movaps %%xmm0,%%xmm11; movaps %%xmm0,%%xmm12;"                  \
				 "movaps %%xmm0,%%xmm13; movaps %%xmm0,%%xmm14;"                  \
				 "movaps %%xmm0,%%xmm15;"                                         \
				 "mov $-1,%%rcx; mov %%rcx,%%rdx; mov %%rcx,%%rsi;"               \
				 "mov %%rcx,%%rdi; mov %%rcx,%%r8; mov %%rcx,%%r9;"               \
				 "mov %%rcx,%%r10; mov %%rcx,%%r11"                               \
				 : "=m"(buffer)                                                   \
				 :                                                                \
				 : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", \
				   "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",        \
				   "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",   \
				   "xmm15", "cc");                                                \
	} while (0)

DSU_NEW static long triple_v2(long x)
{
	RUIN;
	return x * 3 + 1;
}

DSU_NEW static long step_v2(long x)
{
	RUIN;
	return x * 5 + 1;
}

DSU_PATCH("ipara-v2", "1.0");
DSU_REPLACE(triple, triple_v2);
DSU_REPLACE(step, step_v2);
