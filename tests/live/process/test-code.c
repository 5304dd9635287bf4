/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Exchanging code of a target that is a copy of this process: all pieces or none. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "injector/process/mem.h"
#include "injector/txn/code.h"
#include "tests/support/child.h"
#include "tests/support/need.h"

#define PAGES 4
#define BYTES (PAGES * INJ_PAGE_BYTES)
#define N_PIECES 3000 /* more than one system call takes */
#define STRIDE 5

static unsigned char *area;
static pid_t target;
static struct inj_process *process;
static struct inj_writer *writer;
static struct inj_code_write pieces[N_PIECES];
static unsigned char before[BYTES], now[BYTES];

static void rest(void *argument)
{
	mprotect(area, BYTES, PROT_READ | PROT_EXEC);
	child_ready();
	child_rest();
}

static void set_up(void)
{
	struct inj_why why = {};

	need_root();
	area = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < BYTES; i++)
		area[i] = before[i] = (unsigned char)(i * 7 + i / 256);
	for (size_t i = 0; i < N_PIECES; i++) {
		struct inj_code_write *piece = &pieces[i];

		*piece = (struct inj_code_write){.address = (inj_addr)area + i * STRIDE,
						 .n = STRIDE};
		memcpy(piece->before, before + i * STRIDE, STRIDE);
		memset(piece->after, (int)(i % 251), STRIDE);
	}
	target = child_start(rest, NULL);
	cr_assert_eq(inj_process_open(target, &process, &why), 0, "%s", why.text);
	cr_assert_eq(inj_writer_new(process, &writer, &why), 0, "%s", why.text);
}

static void tear_down(void)
{
	inj_writer_free(writer);
	inj_process_close(process);
	child_end(target);
}

TestSuite(code, .init = set_up, .fini = tear_down);

static void look(void)
{
	cr_assert_eq(inj_mem_read(process, (inj_addr)area, now, BYTES), 0);
}

static void expect_before(void)
{
	look();
	cr_assert_arr_eq(now, before, BYTES);
}

static void change(size_t offset, unsigned char byte)
{
	cr_assert_eq(inj_writer_fill(writer, (inj_addr)area + offset, &byte, 1), 0);
}

Test(code, there_and_back)
{
	struct inj_why why = {};

	cr_assert_eq(inj_writer_prepare(writer, pieces, N_PIECES, true), 0);
	expect_before();
	cr_assert_eq(inj_writer_install(writer, pieces, N_PIECES, &why), 0, "%s", why.text);
	look();
	for (size_t i = 0; i < N_PIECES; i++)
		cr_assert_arr_eq(now + i * STRIDE, pieces[i].after, STRIDE);
	cr_assert_arr_eq(now + N_PIECES * STRIDE, before + N_PIECES * STRIDE,
			 BYTES - N_PIECES * STRIDE);
	cr_assert_eq(inj_writer_install(writer, pieces, N_PIECES, &why), 0, "%s", why.text);
	cr_assert_eq(inj_writer_restore(writer, pieces, N_PIECES, &why), 0, "%s", why.text);
	expect_before();
	cr_assert_eq(inj_writer_restore(writer, pieces, N_PIECES, &why), 0, "%s", why.text);
	expect_before();
}

/* What somebody else wrote meanwhile stays, and so does everything else. */
Test(code, foreign_bytes_stop_all)
{
	struct inj_why why = {};

	change(2000 * STRIDE + 1, 0xcc);
	before[2000 * STRIDE + 1] = 0xcc;
	cr_assert_eq(inj_writer_prepare(writer, pieces, N_PIECES, true), -EBUSY);
	cr_assert_eq(inj_writer_install(writer, pieces, N_PIECES, &why), INJ_UNSUPPORTED_PROCESS);
	cr_assert(strstr(why.text, "Somebody else changed"), "%s", why.text);
	expect_before();
}

/* Pieces that stood already before a failed installation are not its own to take back. */
Test(code, earlier_pieces_stay)
{
	struct inj_why why = {};

	cr_assert_eq(inj_writer_install(writer, pieces, 10, &why), 0, "%s", why.text);
	change(2000 * STRIDE, 0xcc);
	look();
	memcpy(before, now, BYTES);
	cr_assert_eq(inj_writer_install(writer, pieces, N_PIECES, NULL), INJ_UNSUPPORTED_PROCESS);
	expect_before();
}

/* Everything but the foreign piece goes back. */
Test(code, restore_goes_as_far_as_it_can)
{
	struct inj_why why = {};

	cr_assert_eq(inj_writer_install(writer, pieces, N_PIECES, &why), 0, "%s", why.text);
	change(2000 * STRIDE, 0xcc);
	cr_assert_eq(inj_writer_restore(writer, pieces, N_PIECES, &why), INJ_UNSUPPORTED_PROCESS);
	look();
	memcpy(before + 2000 * STRIDE, now + 2000 * STRIDE, STRIDE);
	cr_assert_eq(now[2000 * STRIDE], 0xcc);
	expect_before();
}

Test(code, a_target_that_is_gone)
{
	struct inj_why why = {};

	child_end(target);
	cr_assert_lt(inj_writer_install(writer, pieces, N_PIECES, &why), 0);
	target = child_start(rest, NULL);
}
