/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>

#include "injector/redirect/translate.h"
#include "tests/unit/redirect/sample.h"

static struct sample sample;
static struct inj_site site;
static struct inj_stub stub;
static struct inj_detour detour;

static void make(inj_addr replacement)
{
	cr_assert_eq(inj_site_examine(&sample.text, &site, NULL), 0);
	cr_assert_eq(inj_stub_emit(&site, STUB_ADDRESS, GENERATION, replacement, &stub, NULL), 0);
	detour = inj_site_detour(&site, &stub, STUB_ADDRESS);
}

#define FAR 0x7fff12345678ull

static void make_ordinary(inj_addr replacement)
{
	SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
	make(replacement);
}

static void make_kept(void)
{
	SAMPLE(sample, 0, 0, 0xf3, 0x0f, 0x1e, 0xfa, 0x53, 0x48, 0x83, 0xec, 0x08, 0x31, 0xc0, 0x48,
	       0x83, 0xc4, 0x08, 0x5b, 0xc3);
	make(REPLACEMENT);
}

Test(translate, out_of_the_stub)
{
	make_ordinary(FAR);
	for (unsigned at = 0; at < 14; at++)
		cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS + at), SITE_ADDRESS);
	static const struct inj_relocated wanted[] = { { 0, 14 }, { 1, 15 }, { 1, 17 }, { 4, 18 },
						       { 4, 21 }, { 8, 22 }, { 8, 26 }, { 0, 27 },
						       { 0, 40 } };

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(wanted); i++)
		cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS + wanted[i].to),
			     SITE_ADDRESS + wanted[i].from, "%u", wanted[i].to);
	cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS + 41), STUB_ADDRESS + 41);
	cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS - 1), STUB_ADDRESS - 1);
	cr_assert_eq(inj_site_translate(&detour, SITE_ADDRESS + 8), SITE_ADDRESS + 8);
}

Test(translate, kept_entry)
{
	make_kept();
	cr_assert_eq(inj_site_translate(&detour, SITE_ADDRESS), SITE_ADDRESS);
	cr_assert_eq(inj_site_translate(&detour, SITE_ADDRESS + 4), SITE_ADDRESS);
	cr_assert_eq(inj_site_translate(&detour, SITE_ADDRESS + 5), SITE_ADDRESS + 5);
	cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS + 14), SITE_ADDRESS + 4);
	cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS + 15), SITE_ADDRESS + 5);
}

Test(translate, into_the_stub)
{
	make_kept();
	/* endbr64 and the start of the jump stay; push is 4, sub is 5..8 */
	for (unsigned at = 0; at <= 4; at++)
		cr_assert_eq(inj_site_translate_into_stub(&detour, SITE_ADDRESS + at),
			     SITE_ADDRESS + at);
	cr_assert_eq(inj_site_translate_into_stub(&detour, SITE_ADDRESS + 5), STUB_ADDRESS + 15);
	for (unsigned at = 6; at <= 8; at++)
		cr_assert_eq(inj_site_translate_into_stub(&detour, SITE_ADDRESS + at), 0);
	cr_assert_eq(inj_site_translate_into_stub(&detour, SITE_ADDRESS + 9), SITE_ADDRESS + 9);
	cr_assert_eq(inj_site_translate_into_stub(&detour, STUB_ADDRESS), STUB_ADDRESS);
}

/* Every instruction that is overwritten has its place in the stub, and that place leads back. */
Test(translate, there_and_back)
{
	make_ordinary(FAR);
	for (size_t i = 1; i < stub.n_map; i++) {
		inj_addr pc = SITE_ADDRESS + stub.map[i].from;

		if (stub.map[i].from == 0 || stub.map[i].from >= 5)
			continue;
		inj_addr copy = inj_site_translate_into_stub(&detour, pc);

		cr_assert_eq(copy, STUB_ADDRESS + stub.map[i].to);
		cr_assert_eq(inj_site_translate(&detour, copy), pc);
	}
}

Test(translate, late)
{
	SAMPLE(sample, 0, 0, 0x31, 0xc0, 0xff, 0xc0, 0x39, 0xf8, 0x75, 0xfa, 0xc3);
	make(FAR);
	cr_assert_eq(site.kind, INJ_SITE_LATE);
	cr_assert_eq(inj_site_translate(&detour, STUB_ADDRESS + 3), SITE_ADDRESS);
	cr_assert_eq(inj_site_translate_into_stub(&detour, SITE_ADDRESS), SITE_ADDRESS);
	cr_assert_eq(inj_site_translate_into_stub(&detour, SITE_ADDRESS + 2), 0);
	cr_assert_eq(inj_site_translate_into_stub(&detour, SITE_ADDRESS + 5), SITE_ADDRESS + 5);
	cr_assert_eq(inj_site_decide_again(&detour, STUB_ADDRESS), SITE_ADDRESS);
}

Test(translate, decided_already)
{
	make_ordinary(FAR);
	/* on the test, behind it, on the first copy: all the same state */
	cr_assert_eq(inj_site_decide_again(&detour, STUB_ADDRESS), STUB_ADDRESS);
	cr_assert_eq(inj_site_decide_again(&detour, STUB_ADDRESS + 8), STUB_ADDRESS);
	cr_assert_eq(inj_site_decide_again(&detour, STUB_ADDRESS + 14), STUB_ADDRESS);
	cr_assert_eq(inj_site_decide_again(&detour, STUB_ADDRESS + 27), STUB_ADDRESS);
	/* inside the old function: not to be touched */
	cr_assert_eq(inj_site_decide_again(&detour, STUB_ADDRESS + 15), STUB_ADDRESS + 15);
	cr_assert_eq(inj_site_decide_again(&detour, STUB_ADDRESS + 22), STUB_ADDRESS + 22);
	cr_assert_eq(inj_site_decide_again(&detour, SITE_ADDRESS), SITE_ADDRESS);
}

Test(translate, padding)
{
	SAMPLE(sample, 8, 0, 0x31, 0xc0, 0xc3);
	make(REPLACEMENT);
	cr_assert_eq(site.kind, INJ_SITE_SHORT);
	cr_assert_eq(inj_site_translate(&detour, site.pad), SITE_ADDRESS);
	cr_assert_eq(inj_site_leave_padding(&detour, site.pad), SITE_ADDRESS);
	cr_assert_eq(inj_site_leave_padding(&detour, site.pad - 1), site.pad - 1);
	cr_assert_eq(inj_site_leave_padding(&detour, site.pad + 5), site.pad + 5);
	cr_assert_eq(inj_site_translate_into_stub(&detour, site.pad), site.pad);
	cr_assert_eq(inj_site_translate_into_stub(&detour, site.pad + 1), 0);
	/* two bytes are overwritten, so the instruction behind them stays */
	cr_assert_eq(inj_site_translate_into_stub(&detour, SITE_ADDRESS + 2), SITE_ADDRESS + 2);
	cr_assert_eq(inj_site_translate_into_stub(&detour, SITE_ADDRESS + 1), 0);
}
