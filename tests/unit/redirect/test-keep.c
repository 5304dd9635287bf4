/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unwind.h>

#include "injector/redirect/callers.h"
#include "injector/redirect/stub-frame.h"
#include "injector/redirect/translate.h"
#include "tests/unit/redirect/sample.h"

#define CODE 0x400000ull
#define FAR 0x7fff12345678ull

/* A module whose code is these bytes; the function under test begins at `entry`. */
static struct inj_text module(const uint8_t *code, size_t n, size_t entry, size_t size)
{
	return (struct inj_text){ .address = CODE + entry, .size = size, .code = code,
				  .code_address = CODE, .n_code = n };
}

#define GPR(name) (1u << INJ_##name)

struct body {
	const char *what;
	enum inj_certainty certainty;
	uint16_t gprs;
	uint32_t vectors;
	bool movable;
	uint8_t size; /* of the function */
	uint8_t n;
	uint8_t code[48];
};

static const struct body bodies[] = {
	{ "lea; ret", INJ_CLOBBERS_KNOWN, GPR(RAX), 0, true, 5, 5,
	  { 0x48, 0x8d, 0x04, 0x7f, 0xc3 } },
	{ "xor %cl,%cl: a part is the whole", INJ_CLOBBERS_KNOWN, GPR(RCX), 0, true, 3, 3,
	  { 0x30, 0xc9, 0xc3 } },
	{ "mov $0,%ah is rax", INJ_CLOBBERS_KNOWN, GPR(RAX), 0, true, 3, 3, { 0xb4, 0, 0xc3 } },
	{ "cmp writes nothing", INJ_CLOBBERS_KNOWN, 0, 0, true, 4, 4, { 0x48, 0x39, 0xfe, 0xc3 } },
	{ "div: hidden operands", INJ_CLOBBERS_KNOWN, GPR(RAX) | GPR(RDX), 0, true, 4, 4,
	  { 0x48, 0xf7, 0xf7, 0xc3 } },
	{ "pxor %xmm9,%xmm9", INJ_CLOBBERS_KNOWN, 0, 1u << 9, true, 6, 6,
	  { 0x66, 0x45, 0x0f, 0xef, 0xc9, 0xc3 } },
	{ "vpxor ymm3", INJ_CLOBBERS_KNOWN, 0, 1u << 3, true, 5, 5,
	  { 0xc5, 0xe5, 0xef, 0xdb, 0xc3 } },
	{ "nopl 8(%rsp) looks at nothing", INJ_CLOBBERS_KNOWN, 0, 0, true, 6, 6,
	  { 0x0f, 0x1f, 0x44, 0x24, 0x08, 0xc3 } },
	{ "syscall", INJ_CLOBBERS_KNOWN, GPR(RAX) | GPR(RCX) | 1u << 11, 0, true, 3, 3,
	  { 0x0f, 0x05, 0xc3 } },
	{ "call of a function that writes edx", INJ_CLOBBERS_KNOWN, GPR(RDX) | GPR(RAX), 0, true, 8,
	  11, { 0xe8, 3, 0, 0, 0, 0x31, 0xc0, 0xc3, 0x31, 0xd2, 0xc3 } },
	{ "call of one that never returns: what follows belongs to others", INJ_CLOBBERS_KNOWN,
	  GPR(RDX), 0, true, 5, 12,
	  { 0xe8, 3, 0, 0, 0, 0x31, 0xc9, 0xc3, 0x31, 0xd2, 0xeb, 0xfe } },
	{ "tail jump", INJ_CLOBBERS_KNOWN, GPR(RCX), 0, true, 5, 9,
	  { 0xe9, 1, 0, 0, 0, 0xcc, 0x31, 0xc9, 0xc3 } },
	{ "recursion", INJ_CLOBBERS_KNOWN, GPR(RCX), 0, true, 12, 12,
	  { 0x85, 0xff, 0x74, 0x05, 0xe8, 0xf7, 0xff, 0xff, 0xff, 0x31, 0xc9, 0xc3 } },
	{ "jump through a slot", INJ_CLOBBERS_ALL, 0, 0, true, 6, 6,
	  { 0xff, 0x25, 0x10, 0, 0, 0 } },
	{ "indirect call", INJ_CLOBBERS_ALL, 0, 0, true, 3, 3, { 0xff, 0xd0, 0xc3 } },
	{ "call out of the module", INJ_CLOBBERS_ALL, 0, 0, true, 6, 6,
	  { 0xe8, 0, 0, 0, 1, 0xc3 } },
	{ "switch", INJ_CLOBBERS_UNKNOWN, 0, 0, false, 2, 2, { 0xff, 0xe0 } },
	{ "garbage", INJ_CLOBBERS_UNKNOWN, 0, 0, false, 2, 2, { 0x06, 0x06 } },
	{ "end of the code", INJ_CLOBBERS_UNKNOWN, 0, 0, false, 4, 3, { 0x48, 0x31, 0xc0 } },

	{ "mov 8(%rsp),%rax", INJ_CLOBBERS_KNOWN, GPR(RAX), 0, false, 6, 6,
	  { 0x48, 0x8b, 0x44, 0x24, 0x08, 0xc3 } },
	{ "mov -8(%rsp),%rax", INJ_CLOBBERS_KNOWN, GPR(RAX), 0, true, 6, 6,
	  { 0x48, 0x8b, 0x44, 0x24, 0xf8, 0xc3 } },
	{ "lea 8(%rsp),%rax", INJ_CLOBBERS_KNOWN, GPR(RAX), 0, false, 6, 6,
	  { 0x48, 0x8d, 0x44, 0x24, 0x08, 0xc3 } },
	{ "sub $24,%rsp; mov 16(%rsp),%rax; add $24,%rsp", INJ_CLOBBERS_KNOWN,
	  GPR(RAX), 0, true, 14, 14,
	  { 0x48, 0x83, 0xec, 0x18, 0x48, 0x8b, 0x44, 0x24, 0x10, 0x48, 0x83, 0xc4, 0x18, 0xc3 } },
	{ "the same one word higher", INJ_CLOBBERS_KNOWN, GPR(RAX), 0, false, 14, 14,
	  { 0x48, 0x83, 0xec, 0x18, 0x48, 0x8b, 0x44, 0x24, 0x20, 0x48, 0x83, 0xc4, 0x18, 0xc3 } },
	{ "push %rbp; mov %rsp,%rbp; mov -8(%rbp),%rax; pop %rbp", INJ_CLOBBERS_KNOWN,
	  GPR(RAX) | GPR(RBP), 0, true, 10, 10,
	  { 0x55, 0x48, 0x89, 0xe5, 0x48, 0x8b, 0x45, 0xf8, 0x5d, 0xc3 } },
	{ "the same from 16(%rbp)", INJ_CLOBBERS_KNOWN, GPR(RAX) | GPR(RBP), 0, false,
	  10, 10, { 0x55, 0x48, 0x89, 0xe5, 0x48, 0x8b, 0x45, 0x10, 0x5d, 0xc3 } },
	{ "rbp as any register: mov 16(%rbp)", INJ_CLOBBERS_KNOWN, GPR(RAX), 0, true, 5, 5,
	  { 0x48, 0x8b, 0x45, 0x10, 0xc3 } },
	{ "tail jump to one that looks", INJ_CLOBBERS_KNOWN, GPR(RAX), 0, false, 5, 11,
	  { 0xe9, 0, 0, 0, 0, 0x48, 0x8b, 0x44, 0x24, 0x08, 0xc3 } },
	{ "test %al,%al", INJ_CLOBBERS_KNOWN, 0, 0, false, 3, 3, { 0x84, 0xc0, 0xc3 } },
	{ "xor %eax,%eax; test %al,%al", INJ_CLOBBERS_KNOWN, GPR(RAX), 0, true, 5, 5,
	  { 0x31, 0xc0, 0x84, 0xc0, 0xc3 } },
	{ "mov %rax,%rsp", INJ_CLOBBERS_KNOWN, 0, 0, false, 4, 4,
	  { 0x48, 0x89, 0xc4, 0xc3 } },
	{ "a loop that climbs", INJ_CLOBBERS_KNOWN, GPR(RAX), 0, false, 4, 4,
	  { 0x58, 0x75, 0xfd, 0xc3 } },
};

Test(callers, what_a_function_writes_and_where_it_looks)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(bodies); i++) {
		const struct body *body = &bodies[i];
		struct inj_text text = module(body->code, body->n, 0, body->size);
		struct inj_clobbers found;
		bool movable;

		cr_assert_eq(inj_clobbers(&text, &found), 0);
		cr_assert_eq(found.certainty, body->certainty, "%s: %d", body->what,
			     found.certainty);
		if (found.certainty == INJ_CLOBBERS_KNOWN) {
			cr_assert_eq(found.written.gprs & ~GPR(RSP), body->gprs, "%s: %x",
				     body->what, found.written.gprs);
			cr_assert_eq(found.written.vectors, body->vectors, "%s: %x", body->what,
				     found.written.vectors);
		}
		cr_assert_eq(inj_stack_movable(&text, &movable), 0);
		cr_assert_eq(movable, body->movable, "%s", body->what);
	}
}

/* A chain of calls: up to the bound it is followed, beyond it nothing is claimed. */
Test(callers, bounds)
{
	static uint8_t code[6 * 70];

	for (size_t n = 60; n <= 70; n += 10) {
		struct inj_clobbers found;

		for (size_t i = 0; i < n; i++) /* call the next; ret */
			memcpy(code + 6 * i, "\xe8\x01\0\0\0\xc3", 6);
		code[6 * (n - 1)] = 0xc3;
		struct inj_text text = module(code, 6 * n, 0, 6);

		cr_assert_eq(inj_clobbers(&text, &found), 0);
		cr_assert_eq(found.certainty, n == 60 ? INJ_CLOBBERS_KNOWN : INJ_CLOBBERS_UNKNOWN);
	}
}

Test(callers, are_found)
{
	static uint8_t code[4096];
	static inj_addr sites[INJ_MAX_CALL_SITES];
	struct inj_text text = module(code, sizeof(code), 2048, 16);
	size_t n;

	memset(code, 0x90, sizeof(code));
	cr_assert_eq(inj_call_sites(&text, sites, &n), 0);
	cr_assert_eq(n, 0);
	memcpy(code + 2050, "\xe8\xf9\xff\xff\xff", 5); /* itself */
	cr_assert_eq(inj_call_sites(&text, sites, &n), 0);
	cr_assert_eq(n, 0);
	memcpy(code + 100, "\xe8\x97\x07\0\0", 5);
	memcpy(code + 3001, "\xe9\x42\xfc\xff\xff", 5);
	memcpy(code + 2100, "\xeb\xca", 2);
	cr_assert_eq(inj_call_sites(&text, sites, &n), 0);
	cr_assert_eq(n, 3);
	cr_assert_eq(sites[0], CODE + 100);
	cr_assert_eq(sites[1], CODE + 3001);
	cr_assert_eq(sites[2], CODE + 2100);
}

static int decide(const uint8_t *old, size_t n, struct inj_registers wide, struct inj_keep *keep)
{
	static const uint8_t new[] = { 0xc3 };
	struct inj_text old_text = module(old, n, 0, n), new_text = module(new, 1, 0, 1);
	const char *reason = "";
	int r = inj_keep_decide(&old_text, &new_text, &wide, keep, &reason);

	cr_assert_eq(r == INJ_UNSAFE_CALLERS, reason[0] != 0);
	return r;
}

Test(callers, decision)
{
	static const uint8_t leaf[] = { 0x48, 0x8d, 0x04, 0x7f, 0xc3 };
	static const uint8_t calls[] = { 0xff, 0xd0, 0xc3 };
	static const uint8_t writes_ymm3[] = { 0xc5, 0xe5, 0xef, 0xdb, 0xc3 };
	struct inj_keep keep;

	cr_assert_eq(decide(leaf, sizeof(leaf), (struct inj_registers){}, &keep), 0);
	cr_assert(keep.wanted && keep.gprs == (INJ_CALL_CLOBBERED_GPRS & ~1u) &&
		  keep.xmms == 0xffff);
	cr_assert_eq(decide(calls, sizeof(calls), (struct inj_registers){.vectors = 8}, &keep), 0);
	cr_assert(!keep.wanted);
	cr_assert_eq(decide(leaf, sizeof(leaf), (struct inj_registers){ .vectors = 8 }, &keep),
		     INJ_UNSAFE_CALLERS);
	cr_assert_eq(decide(leaf, sizeof(leaf), (struct inj_registers){ .other = true }, &keep),
		     INJ_UNSAFE_CALLERS);
	cr_assert_eq(decide(writes_ymm3, sizeof(writes_ymm3),
			    (struct inj_registers){ .vectors = 8 }, &keep), 0);
	cr_assert(keep.wanted && keep.xmms == 0xfff7);
}

static struct sample sample;
static struct inj_site site;
static struct inj_stub stub;

static void emit(struct inj_keep keep, inj_addr replacement)
{
	SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
	cr_assert_eq(inj_site_examine(&sample.text, &site, NULL), 0);
	cr_assert(!site.keep.wanted);
	site.keep = keep;
	cr_assert_eq(inj_stub_emit(&site, STUB_ADDRESS, GENERATION, replacement, &stub, NULL), 0);
}

Test(wrapper, bytes)
{
	static const uint8_t wanted[] = {
		0x80, 0x3c, 0x25, 0x08, 0x00, 0x01, 0x00, 0x00,
		0x0f, 0x85, 0x0d, 0x00, 0x00, 0x00,       /* jne to the wrapper at 27 */
		0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10,
		0xe9, 0xed, 0x3f, 0xf5, 0xff,
		0x55,                                     /* push %rbp */
		0x48, 0x89, 0xe5,                         /* mov %rsp,%rbp */
		0x48, 0x83, 0xe4, 0xf0,                   /* and $-16,%rsp */
		0x48, 0x81, 0xec, 0x20, 0x00, 0x00, 0x00, /* sub $32,%rsp */
		0x44, 0x0f, 0x11, 0x44, 0x24, 0x00,       /* movups %xmm8,0(%rsp) */
		0x48, 0x89, 0x4c, 0x24, 0x10,             /* mov %rcx,16(%rsp) */
		0x4c, 0x89, 0x5c, 0x24, 0x18,             /* mov %r11,24(%rsp) */
		0xe8, 0xc1, 0xff, 0x0f, 0x00,             /* call 0x555555700000 */
		0x44, 0x0f, 0x10, 0x44, 0x24, 0x00,
		0x48, 0x8b, 0x4c, 0x24, 0x10,
		0x4c, 0x8b, 0x5c, 0x24, 0x18,
		0xc9, 0xc3,                               /* leave; ret */
	};
	static const uint8_t cfi[] = {
		0x4f, 0x0e, 0x10, 0x86, 0x02, 0x43, 0x0d, 0x06, /* the old path */
		0x49, 0x0c, 0x07, 0x08, 0xc6,       /* at 27: CFA rsp+8, rbp as it was */
		0x41, 0x0e, 0x10, 0x86, 0x02,       /* pushed: CFA rsp+16, rbp at CFA-16 */
		0x43, 0x0d, 0x06,                   /* framed: CFA rbp+16 */
		0x71, 0x0c, 0x07, 0x08, 0xc6,       /* behind leave: CFA rsp+8 */
	};

	emit((struct inj_keep){ true, GPR(RCX) | 1u << 11, 1u << 8 }, REPLACEMENT);
	cr_assert_eq(stub.n_bytes, sizeof(wanted));
	for (size_t i = 0; i < sizeof(wanted); i++)
		cr_assert_eq(stub.bytes[i], wanted[i], "byte %zu: %02x", i, stub.bytes[i]);
	cr_assert_eq(stub.n_cfi, sizeof(cfi), "%zu", stub.n_cfi);
	for (size_t i = 0; i < sizeof(cfi); i++)
		cr_assert_eq(stub.cfi[i], cfi[i], "byte %zu: %02x", i, stub.cfi[i]);
}

/* Everything is kept and the replacement is far: the largest there is. */
Test(wrapper, largest)
{
	emit((struct inj_keep){ true, INJ_CALL_CLOBBERED_GPRS, 0xffff }, FAR);
	cr_assert_gt(stub.n_bytes, 256 + 27);
	cr_assert_arr_eq(stub.bytes + stub.n_bytes - 8, "\x78\x56\x34\x12\xff\x7f\0\0", 8);
	/* advance_loc2 over saves, call and restores */
	cr_assert_eq(stub.cfi[stub.n_cfi - 7], 0x03);
}

Test(wrapper, where_a_thread_stands)
{
	struct inj_detour detour;

	emit((struct inj_keep){ true, INJ_CALL_CLOBBERED_GPRS, 0xffff }, REPLACEMENT);
	detour = inj_site_detour(&site, &stub, STUB_ADDRESS);
	cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS + 22), SITE_ADDRESS + 8);
	cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS + 27), SITE_ADDRESS);
	cr_assert_eq(inj_site_decide_again(&detour, STUB_ADDRESS + 27), STUB_ADDRESS);
	for (size_t at = 28; at < stub.n_bytes; at++) {
		cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS + at), STUB_ADDRESS + at);
		cr_assert_eq(inj_site_decide_again(&detour, STUB_ADDRESS + at), STUB_ADDRESS + at);
	}
	/* a late site has nothing but the wrapper */
	site.kind = INJ_SITE_LATE;
	site.n_covered = 0;
	cr_assert_eq(inj_stub_emit(&site, STUB_ADDRESS, GENERATION, REPLACEMENT, &stub, NULL), 0);
	detour = inj_site_detour(&site, &stub, STUB_ADDRESS);
	cr_assert_eq(stub.bytes[0], 0x55);
	cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS), SITE_ADDRESS);
	cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS + 1), STUB_ADDRESS + 1);
	cr_assert_eq(inj_site_decide_again(&detour, STUB_ADDRESS), SITE_ADDRESS);
	cr_assert_eq(inj_site_decide_again(&detour, STUB_ADDRESS + 1), STUB_ADDRESS + 1);
}

/*
 * The real thing, in this process: f(x) = 3x + 1 writes rax only; its replacement does the same and
 * ruins all else. The caller counts what it lost, with a stack that is not aligned.
 */
static long ruin(long x)
{
	char buffer[16] __attribute__((aligned(16)));

	__asm__ volatile("pcmpeqd %%xmm0,%%xmm0; movaps %%xmm0,%0; movaps %%xmm0,%%xmm7;"
			 "movaps %%xmm0,%%xmm15; mov $-1,%%rcx; mov %%rcx,%%rdx; mov %%rcx,%%rsi;"
			 "mov %%rcx,%%r8; mov %%rcx,%%r9; mov %%rcx,%%r10; mov %%rcx,%%r11"
			 : "=m"(buffer)
			 :
			 : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "xmm0", "xmm7", "xmm15",
			   "cc");
	return x * 3 + 1;
}

/* Return: the sum of everything live across the call, 100 + f(x) when nothing was lost. */
static long call_with_live_registers(const void *callee, long x, bool align)
{
	long result, sum;

	__asm__ volatile("mov %%rsp,%%rbx; sub $256,%%rsp; and $-16,%%rsp; sub %[skew],%%rsp;"
			 "mov $1,%%ecx; mov $2,%%edx; mov $3,%%esi; mov $4,%%r8d; mov $5,%%r9d;"
			 "mov $6,%%r10d; mov $7,%%r11d; movq %%r8,%%xmm0; movq %%r9,%%xmm7;"
			 "movq %%r10,%%xmm15;"
			 "call *%[callee];"
			 "mov %%rbx,%%rsp;"
			 "add %%rdx,%%rcx; add %%rsi,%%rcx; add %%r8,%%rcx; add %%r9,%%rcx;"
			 "add %%r10,%%rcx; add %%r11,%%rcx; movq %%xmm0,%%rdx; add %%rdx,%%rcx;"
			 "movq %%xmm7,%%rdx; add %%rdx,%%rcx; movq %%xmm15,%%rdx; add %%rdx,%%rcx"
			 : "=a"(result), "=&c"(sum), "+D"(x)
			 : [callee] "r"(callee), [skew] "r"(align ? 0L : 8L)
			 : "rbx", "rdx", "rsi", "r8", "r9", "r10", "r11", "xmm0", "xmm7", "xmm15",
			   "cc", "memory");
	return result + sum + 57;
}

static const void *install(bool keep, long (*replacement)(long))
{
	static const uint8_t old[] = { 0x48, 0x8d, 0x44, 0x7f, 0x01, 0xc3 };
	const uint8_t new[] = { 0xc3 };
	uint8_t *place = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *generation = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct inj_site_write writes[2];
	const char *reason = "";
	size_t n;

	cr_assert(place != MAP_FAILED && generation != MAP_FAILED);
	memset(place, 0x90, 8192);
	memcpy(place, old, sizeof(old));
	struct inj_text text = { .address = (inj_addr)place, .size = sizeof(old), .bytes = place,
				 .name = "old", .code = place, .code_address = (inj_addr)place,
				 .n_code = 4096 };
	struct inj_text new_text = module(new, 1, 0, 1);

	cr_assert_eq(inj_site_examine(&text, &site, NULL), 0);
	if (keep)
		cr_assert_eq(inj_keep_decide(&text, &new_text, &(struct inj_registers){},
					     &site.keep, &reason), 0, "%s", reason);
	cr_assert_eq(inj_stub_emit(&site, (inj_addr)place + 4096, (inj_addr)generation,
				   (inj_addr)replacement, &stub, NULL), 0);
	memcpy(place + 4096, stub.bytes, stub.n_bytes);
	cr_assert_eq(inj_site_writes(&site, (inj_addr)place + 4096, writes, &n), 0);
	for (size_t i = 0; i < n; i++)
		memcpy((void *)writes[i].address, writes[i].new, writes[i].n);
	cr_assert_eq(((long (*)(long))place)(5), 16); /* inert */
	*generation = 1;
	return place;
}

Test(wrapper, keeps_what_the_caller_relies_on)
{
	const void *callee = install(true, ruin);

	cr_assert_eq(call_with_live_registers(callee, 5, true), 116);
	cr_assert_eq(call_with_live_registers(callee, 5, false), 116);
	for (long x = 0; x < 1000; x++)
		cr_assert_eq(call_with_live_registers(callee, x, x & 1), 100 + 3 * x + 1);
}

/* What a stub without it does to such a caller: the same test sees it. */
Test(wrapper, is_needed)
{
	cr_assert_neq(call_with_live_registers(install(false, ruin), 5, true), 116);
}

Test(wrapper, is_needed_for_the_stack, .signal = SIGSEGV)
{
	call_with_live_registers(install(false, ruin), 5, false);
}

static struct inj_range stub_range;
static bool met_stub, met_caller;

static __attribute__((noinline)) long caller(long (*callee)(long))
{
	return callee(5) + 1;
}

static _Unwind_Reason_Code look(struct _Unwind_Context *context, void *unused)
{
	const inj_addr ip = _Unwind_GetIP(context);

	(void)unused;
	met_caller |= met_stub && ip - (inj_addr)caller < 64;
	met_stub |= inj_range_has(stub_range, ip);
	return _URC_NO_REASON;
}

static long look_up(long x)
{
	_Unwind_Backtrace(look, NULL);
	return x * 3 + 1;
}

extern void __register_frame(const void *frames);

/* The unwinder that exceptions use finds its way through the wrapper, from above and from
 * within. */
Test(wrapper, is_unwound)
{
	static uint8_t frames[512] __attribute__((aligned(8)));
	const uint8_t *place = install(true, look_up);
	uint8_t *near = mmap((void *)((uintptr_t)place - (1u << 20)), sizeof(frames),
			     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct inj_stub *stubs[] = { &stub };
	const inj_addr address = (inj_addr)place + 4096;
	size_t n;

	cr_assert_eq(inj_stub_frames(stubs, &address, 1, (inj_addr)near, frames, sizeof(frames),
				     &n), 0);
	memcpy(near, frames, n);
	__register_frame(near);
	stub_range = (struct inj_range){ address, address + stub.n_bytes };
	cr_assert_eq(caller((long (*)(long))place), 17);
	cr_assert(met_stub);
	cr_assert(met_caller);
}
