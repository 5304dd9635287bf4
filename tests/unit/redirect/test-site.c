/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>

#include "tests/unit/redirect/sample.h"

static struct sample sample;
static struct inj_site site;
static struct inj_why why;

#define expect_site(wanted_kind, covered_bytes, kept_bytes)                                  \
	do {                                                                                 \
		cr_assert_eq(inj_site_examine(&sample.text, &site, &why), 0, "%s", why.text);\
		cr_assert_eq(site.kind, wanted_kind, "kind %d", site.kind);                  \
		cr_assert_eq(site.n_covered, covered_bytes, "covers %u", site.n_covered);    \
		cr_assert_eq(site.n_kept, kept_bytes);                                       \
		cr_assert_eq(site.address, sample.text.address);                             \
		cr_assert_arr_eq(site.covered, sample.text.bytes + sample.text.before,       \
				 site.n_covered);                                            \
	} while (0)

Test(site, ordinary_entry)
{
	/* push %rbp; mov %rsp,%rbp; sub $16,%rsp; leave; ret */
	SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
	expect_site(INJ_SITE_NEAR, 8, 0);
	cr_assert(!site.crosses_page && !site.calls_out && !site.loops_to_entry);
	cr_assert_eq(site.pad, 0);
}

Test(site, endbr64_is_kept)
{
	/* endbr64; sub $8,%rsp; xor %eax,%eax; add $8,%rsp; ret */
	SAMPLE(sample, 0, 0, 0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x08, 0x31, 0xc0, 0x48, 0x83,
	       0xc4, 0x08, 0xc3);
	expect_site(INJ_SITE_NEAR, 10, 4);
}

/* endbr64; ret: there is no room behind endbr64, but there is with it */
Test(site, endbr64_is_given_up_for_room)
{
	SAMPLE(sample, 0, 0, 0xf3, 0x0f, 0x1e, 0xfa, 0xc3);
	expect_site(INJ_SITE_NEAR, 5, 0);
	SAMPLE(sample, 0, 11, 0xf3, 0x0f, 0x1e, 0xfa, 0xc3);
	expect_site(INJ_SITE_NEAR, 9, 4);
}

Test(site, short_function_with_padding_behind)
{
	SAMPLE(sample, 0, 13, 0x31, 0xc0, 0xc3);
	expect_site(INJ_SITE_NEAR, 5, 0);
	SAMPLE(sample, 0, 4, 0xc3);
	expect_site(INJ_SITE_NEAR, 5, 0);
}

Test(site, short_function_with_padding_in_front)
{
	SAMPLE(sample, 8, 0, 0x31, 0xc0, 0xc3);
	expect_site(INJ_SITE_SHORT, 2, 0);
	cr_assert_eq(site.pad, SITE_ADDRESS - 5);
	cr_assert_eq(site.n_pad, 5);
	cr_assert_arr_eq(site.pad_bytes, "\x90\x90\x90\x90\x90", 5);
}

/* The piece nearest to the entry at whose start a jump fits: the second nop of nine bytes. */
Test(site, padding_in_front_is_cut_at_instructions)
{
	static const uint8_t nop[] = { 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 };

	SAMPLE(sample, 18, 0, 0x31, 0xc0, 0xc3);
	memcpy(sample.bytes, nop, 9);
	memcpy(sample.bytes + 9, nop, 9);
	expect_site(INJ_SITE_SHORT, 2, 0);
	cr_assert_eq(site.pad, SITE_ADDRESS - 9);
	cr_assert_arr_eq(site.pad_bytes, nop, 5);
}

Test(site, kinds_of_padding)
{
	static const uint8_t paddings[][8] = {
		{ 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc },
		{ 0, 0, 0, 0, 0, 0, 0, 0 },
		{ 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 },
		{ 0x66, 0x0f, 0x1f, 0x44, 0, 0, 0x66, 0x90 },
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(paddings); i++) {
		SAMPLE(sample, 8, 0, 0x31, 0xc0, 0xc3);
		memcpy(sample.bytes, paddings[i], 8);
		expect_site(INJ_SITE_SHORT, 2, 0);
	}
}

static void expect_too_short(void)
{
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), INJ_FUNCTION_TOO_SHORT);
	cr_assert_eq(why.code, INJ_FUNCTION_TOO_SHORT);
	cr_assert_eq(why.address, SITE_ADDRESS);
	cr_assert(strstr(why.text, "sample"));
	cr_assert(strstr(why.text, "replace the functions that call it"));
}

Test(site, too_short)
{
	SAMPLE(sample, 0, 0, 0x31, 0xc0, 0xc3);
	expect_too_short();
	cr_assert(strstr(why.text, "3 bytes"));
	SAMPLE(sample, 8, 0, 0xc3); /* a short jump does not fit into one byte */
	expect_too_short();
	SAMPLE(sample, 4, 0, 0x31, 0xc0, 0xc3); /* four bytes of padding are not enough */
	expect_too_short();
	SAMPLE(sample, 8, 0, 0x31, 0xc0, 0xc3);
	sample.bytes[0] = 0xc3; /* code among the padding */
	expect_too_short();
	sample.text.size = 0;
	expect_too_short();
}

Test(site, function_that_runs_on)
{
	/* xor %eax,%eax, then through nops into the next function */
	SAMPLE(sample, 0, 14, 0x31, 0xc0);
	expect_site(INJ_SITE_NEAR, 5, 0);
	/* through a nop of nine bytes, whole: 2 + 9 */
	memcpy(sample.bytes + 2, (const uint8_t[]){ 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 }, 9);
	expect_site(INJ_SITE_NEAR, 11, 0);
	/* never through int3 */
	memset(sample.bytes + 2, 0xcc, 14);
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), 0);
	cr_assert_eq(site.kind, INJ_SITE_LATE);
}

/* xor %eax,%eax; 2: inc %eax; cmp %edi,%eax; jne 2b; ret */
#define LOOP_AT_2 0x31, 0xc0, 0xff, 0xc0, 0x39, 0xf8, 0x75, 0xfa, 0xc3

Test(site, loop_back_into_the_long_jump)
{
	SAMPLE(sample, 0, 7, LOOP_AT_2);
	expect_site(INJ_SITE_SHORT, 2, 0);
	cr_assert_eq(site.pad, SITE_ADDRESS + 9);
	SAMPLE(sample, 0, 4, LOOP_AT_2);
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), 0);
	cr_assert_eq(site.kind, INJ_SITE_LATE);
	cr_assert_eq(site.n_covered, 0);
	cr_assert_arr_eq(site.covered, sample.bytes, 5);
}

/* xor %eax,%eax; 2: dec %edi; jne 2b; ret: the branch is covered together with its target */
Test(site, covered_loop)
{
	SAMPLE(sample, 0, 0, 0x31, 0xc0, 0xff, 0xcf, 0x75, 0xfc, 0xc3);
	expect_site(INJ_SITE_NEAR, 6, 0);
	cr_assert(!site.loops_to_entry);
}

Test(site, loop_to_the_entry)
{
	/* 0: cmpb $0,(%rdi); je 1f; inc %rdi; jmp 0b; 1: ret */
	SAMPLE(sample, 0, 0, 0x80, 0x3f, 0x00, 0x74, 0x05, 0x48, 0xff, 0xc7, 0xeb, 0xf6, 0xc3);
	expect_site(INJ_SITE_NEAR, 5, 0);
	cr_assert(site.loops_to_entry);
	/* the same behind endbr64 */
	SAMPLE(sample, 0, 0, 0xf3, 0x0f, 0x1e, 0xfa, 0x80, 0x3f, 0x00, 0x74, 0x05, 0x48, 0xff, 0xc7,
	       0xeb, 0xf6, 0xc3);
	expect_site(INJ_SITE_NEAR, 9, 4);
	cr_assert(site.loops_to_entry);
}

Test(site, loop_behind_the_jump)
{
	/* push %rbx; mov %rdi,%rbx; push %rbp (5 bytes); 5: dec %rbx; jne 5b; pops; ret */
	SAMPLE(sample, 0, 0, 0x53, 0x48, 0x89, 0xfb, 0x55, 0x48, 0xff, 0xcb, 0x75, 0xfb, 0x5d, 0x5b,
	       0xc3);
	expect_site(INJ_SITE_NEAR, 5, 0);
	cr_assert(!site.loops_to_entry);
}

/* A branch to the middle of an instruction that will be overwritten (over a lock prefix). */
Test(site, branch_into_an_instruction)
{
	/* 0: lock incl (%rdi) ; nop; nop; jne 1; ret */
	SAMPLE(sample, 0, 0, 0xf0, 0xff, 0x07, 0x90, 0x90, 0x75, 0xfa, 0xc3);
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), 0);
	cr_assert_eq(site.kind, INJ_SITE_LATE);
}

Test(site, page_crossing)
{
	for (unsigned back = 1; back <= 8; back++) {
		SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
		sample.text.address = 0x555555556000ull - back;
		expect_site(INJ_SITE_NEAR, 8, 0);
		cr_assert_eq(site.crosses_page, back < 5, "%u", back);
	}
}

/* A short jump that stays in its page is better than a long one that does not. */
Test(site, page_crossing_avoided)
{
	SAMPLE(sample, 8, 0, 0x41, 0x57, 0x41, 0x56, 0x41, 0x55, 0x31, 0xc0, 0x41, 0x5d, 0x41, 0x5e,
	       0x41, 0x5f, 0xc3);
	sample.text.address = 0x555555556000ull - 2;
	expect_site(INJ_SITE_SHORT, 2, 0);
	cr_assert(!site.crosses_page);
	sample.text.address = 0x555555556000ull - 1; /* both cross */
	expect_site(INJ_SITE_NEAR, 6, 0);
	cr_assert(site.crosses_page);
}

Test(site, call_first)
{
	/* call +0x1000; ret */
	SAMPLE(sample, 0, 0, 0xe8, 0x00, 0x10, 0x00, 0x00, 0xc3);
	expect_site(INJ_SITE_NEAR, 5, 0);
	cr_assert(site.calls_out);
	sample.text.has_handlers = true;
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), 0);
	cr_assert_eq(site.kind, INJ_SITE_LATE);
	/* call to the next instruction asks where it is */
	SAMPLE(sample, 0, 0, 0xe8, 0x00, 0x00, 0x00, 0x00, 0x58, 0xc3);
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), 0);
	cr_assert_eq(site.kind, INJ_SITE_LATE);
}

/* call *%rdi returns into what a long jump would overwrite: some frame may wait for it */
Test(site, return_into_the_long_jump)
{
	SAMPLE(sample, 8, 0, 0xff, 0xd7, 0x31, 0xc0, 0x48, 0x98, 0xc3);
	expect_site(INJ_SITE_SHORT, 2, 0);
	cr_assert(site.calls_out);
	/* the same for a system call */
	SAMPLE(sample, 8, 0, 0x0f, 0x05, 0x31, 0xc0, 0x48, 0x98, 0xc3);
	expect_site(INJ_SITE_SHORT, 2, 0);
}

Test(site, longest_instruction)
{
	/* push %rbp, push %rbx, push %rax, push %rax, then 15 bytes */
	SAMPLE(sample, 0, 0, 0x55, 0x53, 0x50, 0x50, 0x67, 0x66, 0xf0, 0x48, 0x81, 0x84, 0x80, 1, 0,
	       0, 0, 1, 0, 0, 0, 0xc3);
	expect_site(INJ_SITE_NEAR, 19, 0);
}

Test(site, foreign_hooks)
{
	SAMPLE(sample, 8, 8, 0xcc, 0x48, 0x89, 0xe5, 0x5d, 0xc3);
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), INJ_UNSUPPORTED_PROCESS);
	cr_assert(strstr(why.text, "int3"));
	SAMPLE(sample, 8, 8, 0xf3, 0x0f, 0x1e, 0xfa, 0xcc, 0x48, 0x89, 0xe5, 0x5d, 0xc3);
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), INJ_UNSUPPORTED_PROCESS);
	SAMPLE(sample, 8, 8, 0x06, 0x48, 0x89, 0xe5, 0x5d, 0xc3);
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), INJ_UNSUPPORTED_PROCESS);
	cr_assert(strstr(why.text, "not an instruction"));
}

/* A thunk that jumps elsewhere is ordinary code. */
Test(site, thunk)
{
	SAMPLE(sample, 0, 0, 0xe9, 0x00, 0x10, 0x00, 0x00);
	expect_site(INJ_SITE_NEAR, 5, 0);
}

/* Data in the middle of the function: what follows cannot be known, first instructions can. */
Test(site, undecodable_body)
{
	SAMPLE(sample, 8, 0, 0x48, 0x83, 0xec, 0x08, 0x31, 0xc0, 0x06, 0x06, 0x06, 0xc3);
	expect_site(INJ_SITE_SHORT, 4, 0);
	SAMPLE(sample, 0, 0, 0x48, 0x81, 0xec, 0x08, 0x00, 0x00, 0x00, 0x06, 0x06, 0x06, 0xc3);
	expect_site(INJ_SITE_NEAR, 7, 0);
}

/* Padding that belongs to unknown code ends where functions are aligned. */
Test(site, unknown_neighbour)
{
	SAMPLE(sample, 0, 40, 0x31, 0xc0, 0xc3);
	sample.bytes[32] = 0xc3; /* some function follows, with nops of its own at its entry */
	sample.text.address = SITE_ADDRESS + 16 - 3;
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), INJ_FUNCTION_TOO_SHORT);
	sample.text.address = SITE_ADDRESS + 16 - 5;
	expect_site(INJ_SITE_NEAR, 5, 0);
}

Test(site, wrap_around)
{
	SAMPLE(sample, 0, 0, 0x31, 0xc0, 0xc3);
	sample.text.address = UINT64_MAX - 1;
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), -EINVAL);
	SAMPLE(sample, 8, 0, 0x31, 0xc0, 0xc3);
	sample.text.address = 4;
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), -EINVAL);
}

/* Jump tables. movzbl (%rdi),%eax; inc %rdi; lea T(%rip),%rdx; ...; jmp *%rax */
static const uint8_t interpreter[] = {
	0x31, 0xc9,                               /*  0 xor %ecx,%ecx */
	0x0f, 0xb6, 0x07,                         /*  2 movzbl (%rdi),%eax */
	0x48, 0xff, 0xc7,                         /*  5 inc %rdi */
	0x48, 0x8d, 0x15, 0xf1, 0x0f, 0x00, 0x00, /*  8 lea 0xff1(%rip),%rdx: +0x1000 */
	0x48, 0x63, 0x04, 0x82,                   /* 15 movslq (%rdx,%rax,4),%rax */
	0x48, 0x01, 0xd0,                         /* 19 add %rdx,%rax */
	0xff, 0xe0,                               /* 22 jmp *%rax */
	0xff, 0xc1,                               /* 24 inc %ecx */
	0x89, 0xc8,                               /* 26 mov %ecx,%eax */
	0xc3,                                     /* 28 ret */
};

#define TABLE_ADDRESS (SITE_ADDRESS + 0x1000)

struct table {
	uint8_t bytes[64];
};

static int read_table(void *context, inj_addr address, void *buffer, size_t n)
{
	const struct table *table = context;

	if (address < TABLE_ADDRESS || address - TABLE_ADDRESS >= INJ_PAGE_BYTES)
		return -1;
	memset(buffer, 0xff, n);
	if (address == TABLE_ADDRESS)
		memcpy(buffer, table->bytes, n < 64 ? n : 64);
	return 0;
}

Test(site, jump_table)
{
	struct table table;
	int32_t offset = 24 - 0x1000;
	uint64_t label = SITE_ADDRESS + 2;

	sample_init(&sample, interpreter, sizeof(interpreter), 8, 0);
	expect_site(INJ_SITE_SHORT, 2, 0); /* nothing is known of the table */
	memset(&table, 0xff, sizeof(table));
	memcpy(table.bytes + 8, &offset, 4);
	sample.text.read = read_table;
	sample.text.context = &table;
	expect_site(INJ_SITE_NEAR, 5, 0);
	offset = 2 - 0x1000;
	memcpy(table.bytes + 12, &offset, 4);
	expect_site(INJ_SITE_SHORT, 2, 0);
	memset(&table, 0xff, sizeof(table));
	memcpy(table.bytes + 16, &label, 8); /* computed goto */
	expect_site(INJ_SITE_SHORT, 2, 0);
}

/* A jump through the GOT is no switch. */
Test(site, jump_through_slot)
{
	/* xor %eax,%eax; mov %edi,%ecx; nop; jmp *0x1000(%rip) */
	SAMPLE(sample, 8, 0, 0x31, 0xc0, 0x89, 0xf9, 0x90, 0xff, 0x25, 0x00, 0x10, 0x00, 0x00);
	expect_site(INJ_SITE_NEAR, 5, 0);
}

/* The function takes the address of a label of its own. */
Test(site, label_address)
{
	/* xor %eax,%eax; mov %edi,%ecx; nop; lea -10(%rip),%rdx (entry + 2); jmp *slot(%rip) */
	SAMPLE(sample, 8, 0, 0x31, 0xc0, 0x89, 0xf9, 0x90, 0x48, 0x8d, 0x15, 0xf6, 0xff, 0xff, 0xff,
	       0xff, 0x25, 0x00, 0x10, 0x00, 0x00);
	expect_site(INJ_SITE_SHORT, 2, 0);
}

/* A cold part elsewhere in the module jumps back to entry + 3; a neighbour does so with rel8. */
Test(site, entered_from_elsewhere)
{
	static uint8_t code[8192];
	static const uint8_t body[] = { 0x53, 0x89, 0xfb, 0x83, 0xfb, 0x05, 0x0f, 0x84, 0xee, 0x0f,
					0x00, 0x00, 0x5b, 0xc3 };

	sample_init(&sample, body, sizeof(body), 8, 0);
	memset(code, 0x90, sizeof(code));
	memcpy(code + 4096, body, sizeof(body));
	sample.text.code = code;
	sample.text.n_code = sizeof(code);
	sample.text.code_address = SITE_ADDRESS - 4096;
	expect_site(INJ_SITE_NEAR, 6, 0);
	/* at +0x1ffa - 4096 in the cold part: jmp entry + 3 */
	memcpy(code + 8185, (const uint8_t[]){ 0xe9, 0x05, 0xf0, 0xff, 0xff }, 5);
	expect_site(INJ_SITE_SHORT, 3, 0);
	memset(code + 8185, 0x90, 5);
	memcpy(code + 4096 - 20, (const uint8_t[]){ 0xeb, 0x15 }, 2);
	expect_site(INJ_SITE_SHORT, 3, 0);
}

Test(site, clashes)
{
	struct inj_site a, b;

	SAMPLE(sample, 8, 0, 0x31, 0xc0, 0xc3);
	cr_assert_eq(inj_site_examine(&sample.text, &a, &why), 0);
	b = a;
	b.address += 64;
	cr_assert(inj_site_clashes(&a, &b));
	b.pad = a.pad - 5;
	cr_assert_not(inj_site_clashes(&a, &b));
	b.pad = a.pad + 4;
	cr_assert(inj_site_clashes(&a, &b));
	SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
	cr_assert_eq(inj_site_examine(&sample.text, &a, &why), 0);
	b = a;
	cr_assert(inj_site_clashes(&a, &b));
	b.address += 5;
	cr_assert_not(inj_site_clashes(&a, &b));
}

Test(site, writes_of_a_near_site)
{
	struct inj_site_write writes[2];
	size_t n;

	SAMPLE(sample, 0, 0, 0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x08, 0x31, 0xc0, 0x48, 0x83,
	       0xc4, 0x08, 0xc3);
	expect_site(INJ_SITE_NEAR, 10, 4);
	cr_assert_eq(inj_site_writes(&site, STUB_ADDRESS, writes, &n), 0);
	cr_assert_eq(n, 1);
	cr_assert_eq(writes[0].address, SITE_ADDRESS + 4);
	cr_assert_eq(writes[0].n, 5);
	cr_assert_arr_eq(writes[0].old, "\x48\x83\xec\x08\x31\0\0\0", 8);
	/* 0x555555600000 - 0x555555554009 */
	cr_assert_arr_eq(writes[0].new, "\xe9\xf7\xbf\x0a\x00\0\0\0", 8);
	cr_assert_eq(inj_site_writes(&site, SITE_ADDRESS + (3ull << 30), writes, &n), -ERANGE);
}

Test(site, writes_of_a_short_site)
{
	struct inj_site_write writes[2];
	size_t n;

	SAMPLE(sample, 8, 0, 0x31, 0xc0, 0xc3);
	expect_site(INJ_SITE_SHORT, 2, 0);
	cr_assert_eq(inj_site_writes(&site, STUB_ADDRESS, writes, &n), 0);
	cr_assert_eq(n, 2);
	cr_assert_eq(writes[0].address, SITE_ADDRESS - 5);
	cr_assert_arr_eq(writes[0].old, "\x90\x90\x90\x90\x90\0\0\0", 8);
	cr_assert_arr_eq(writes[0].new, "\xe9\x00\xc0\x0a\x00\0\0\0", 8);
	cr_assert_eq(writes[1].address, SITE_ADDRESS);
	cr_assert_eq(writes[1].n, 2);
	cr_assert_arr_eq(writes[1].old, "\x31\xc0\0\0\0\0\0\0", 8);
	cr_assert_arr_eq(writes[1].new, "\xeb\xf9\0\0\0\0\0\0", 8);
	cr_assert_eq(inj_site_writes(&site, SITE_ADDRESS + (3ull << 30), writes, &n), -ERANGE);
}

Test(site, writes_of_a_late_site)
{
	struct inj_site_write writes[2];
	size_t n;

	SAMPLE(sample, 0, 4, LOOP_AT_2);
	expect_site(INJ_SITE_LATE, 0, 0);
	cr_assert_eq(inj_site_writes(&site, STUB_ADDRESS, writes, &n), 0);
	cr_assert_eq(n, 1);
	cr_assert_arr_eq(writes[0].old, "\x31\xc0\xff\xc0\x39\0\0\0", 8);
	cr_assert_arr_eq(writes[0].new, "\xe9\xfb\xbf\x0a\x00\0\0\0", 8);
}
