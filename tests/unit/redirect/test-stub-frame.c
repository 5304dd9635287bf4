/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>

#include "injector/redirect/stub-frame.h"
#include "tests/unit/redirect/sample.h"

#define SECTION (STUB_ADDRESS + 0x1000)

static struct inj_stub stubs[2];
static const struct inj_stub *const pointers[] = { &stubs[0], &stubs[1] };
static const inj_addr addresses[] = { STUB_ADDRESS, STUB_ADDRESS + 0x40 };

static void make(void)
{
	static struct sample sample;
	struct inj_site site;

	SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
	cr_assert_eq(inj_site_examine(&sample.text, &site, NULL), 0);
	cr_assert_eq(inj_stub_emit(&site, STUB_ADDRESS, GENERATION, REPLACEMENT, &stubs[0], NULL),
		     0);
	SAMPLE(sample, 0, 13, 0x31, 0xc0, 0xc3);
	cr_assert_eq(inj_site_examine(&sample.text, &site, NULL), 0);
	cr_assert_eq(inj_stub_emit(&site, addresses[1], GENERATION, REPLACEMENT, &stubs[1], NULL),
		     0);
}

Test(stub_frame, section)
{
	static const uint8_t wanted[] = {
		0x14, 0, 0, 0, 0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b,
		0x0c, 7, 8, 0x90, 1, 0, 0,
		/* 24: FDE of 32 bytes; pc at 0x1020 before */
		0x1c, 0, 0, 0, 28, 0, 0, 0, 0xe0, 0xef, 0xff, 0xff, 27, 0, 0, 0, 0,
		0x4f, 0x0e, 0x10, 0x86, 0x02, 0x43, 0x0d, 0x06, 0, 0, 0, 0, 0, 0, 0,
		/* 56: FDE of 24 bytes */
		0x14, 0, 0, 0, 60, 0, 0, 0, 0x00, 0xf0, 0xff, 0xff, 17, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0,
	};
	uint8_t section[256];
	size_t n = 0;

	make();
	cr_assert_eq(inj_stub_frames(pointers, addresses, 2, SECTION, NULL, 0, &n), -ENOSPC);
	cr_assert_eq(n, sizeof(wanted));
	memset(section, 0xa5, sizeof(section));
	cr_assert_eq(inj_stub_frames(pointers, addresses, 2, SECTION, section, n - 1, &n), -ENOSPC);
	cr_assert_eq(section[0], 0xa5);
	cr_assert_eq(inj_stub_frames(pointers, addresses, 2, SECTION, section, n, &n), 0);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(section[i], wanted[i], "byte %zu: %02x", i, section[i]);
	cr_assert_eq(section[n], 0xa5);
}

Test(stub_frame, nothing)
{
	uint8_t section[64];
	size_t n = 0;

	cr_assert_eq(inj_stub_frames(NULL, NULL, 0, SECTION, section, sizeof(section), &n), 0);
	cr_assert_eq(n, 28);
}

Test(stub_frame, out_of_reach)
{
	uint8_t section[256];
	size_t n = 0;

	make();
	cr_assert_eq(inj_stub_frames(pointers, addresses, 2, SECTION + (3ull << 30), section,
				     sizeof(section), &n), -ERANGE);
}
