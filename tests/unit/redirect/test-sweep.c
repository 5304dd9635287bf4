/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Examines every function of real programs and libraries and emits a stub for each: how many can
 * be redirected, and how. Decoding only; nothing runs. Programs that are not installed are left
 * out, the C library always is.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "injector/arch/x86_64/decode.h"
#include "injector/arch/x86_64/frame.h"
#include "tests/unit/redirect/functions.h"

struct tally {
	size_t n;
	size_t near, short_, late, refused;
	size_t kept, crossing, calls, loops;
	uint64_t spent_ns;
};

static const char *const programs[] = {
	"/lib/x86_64-linux-gnu/libc.so.6",
	"/lib/x86_64-linux-gnu/libm.so.6",
	"/lib/x86_64-linux-gnu/libcrypto.so.3",
	"/lib/x86_64-linux-gnu/libssl.so.3",
	"/lib/x86_64-linux-gnu/libz.so.1",
	"/lib/x86_64-linux-gnu/libstdc++.so.6",
	"/lib/x86_64-linux-gnu/libglib-2.0.so.0",
	"/lib/x86_64-linux-gnu/libpython3.11.so.1.0",
	"/bin/bash",
	"/usr/bin/redis-server",
	"/usr/bin/redis-check-rdb",
	"/usr/sbin/nginx",
	"/usr/sbin/apache2",
	"/usr/bin/memcached",
	"/usr/bin/python3.11",
	"/usr/bin/gdb",
	"/usr/bin/git",
	"/usr/bin/perl",
	"/usr/lib/postgresql/15/bin/postgres",
};

/* Whatever was decided must be possible to carry out. */
static void carry_out(const struct inj_site *site)
{
	struct inj_stub stub;
	struct inj_site_write writes[2];
	size_t n_writes;
	inj_addr address = (site->address + (64 << 20)) & ~(inj_addr)15;

	cr_assert_eq(inj_stub_emit(site, address, 0x10008, address + 4096, &stub, NULL), 0);
	cr_assert_eq(inj_site_writes(site, address, writes, &n_writes), 0);
	cr_assert_eq(n_writes, site->kind == INJ_SITE_SHORT ? 2 : 1);
}

static void count(const struct inj_site *site, struct tally *tally)
{
	tally->near += site->kind == INJ_SITE_NEAR;
	tally->short_ += site->kind == INJ_SITE_SHORT;
	tally->late += site->kind == INJ_SITE_LATE;
	tally->kept += site->n_kept > 0;
	tally->crossing += site->crosses_page;
	tally->calls += site->calls_out;
	tally->loops += site->loops_to_entry;
}

/* Of this thread's own time: other work on the machine does not count. */
static uint64_t spent_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void examine(const struct inj_text *text, struct tally *tally)
{
	struct inj_site site;
	struct inj_why why;
	uint64_t start = spent_ns();
	int r = inj_site_examine(text, &site, &why);

	tally->spent_ns += spent_ns() - start;
	tally->n++;
	cr_assert_geq(r, 0);
	if (r > 0) {
		tally->refused++;
		cr_assert(why.text[0] != 0 && why.address == text->address);
		return;
	}
	count(&site, tally);
	carry_out(&site);
}

static void print_tally(const char *name, const struct tally *tally)
{
	double whole = tally->n ? 100.0 / (double)tally->n : 0;

	printf("%-24s %7zu %7.2f %7.2f %7.2f %7.2f %6zu %6zu %6zu %6zu %7.1f\n", name, tally->n,
	       (double)tally->near * whole, (double)tally->short_ * whole,
	       (double)tally->late * whole, (double)tally->refused * whole, tally->kept,
	       tally->crossing, tally->calls, tally->loops,
	       (double)tally->spent_ns / 1000 / (double)(tally->n ? tally->n : 1));
}

static void add(struct tally *total, const struct tally *tally)
{
	total->n += tally->n;
	total->near += tally->near;
	total->short_ += tally->short_;
	total->late += tally->late;
	total->refused += tally->refused;
	total->kept += tally->kept;
	total->crossing += tally->crossing;
	total->calls += tally->calls;
	total->loops += tally->loops;
	total->spent_ns += tally->spent_ns;
}

enum knowledge { NOTHING, DATA, ALL };

/* At most about `limit` functions of each program, spread evenly. */
static void sweep(enum knowledge knowledge, size_t limit)
{
	struct tally total = { .n = 0 };

	printf("%-24s %7s %7s %7s %7s %7s %6s %6s %6s %6s %7s\n", "", "n", "near %", "short %",
	       "late %", "refus %", "kept", "cross", "calls", "loops", "us each");
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++) {
		const char *slash = strrchr(programs[i], '/');
		struct program program;
		struct tally tally = { .n = 0 };

		if (!program_load(programs[i], 0x7f0000000000, &program)) {
			program_free(&program);
			continue;
		}
		size_t step = program.n_functions / limit + 1;

		for (size_t k = 0; k < program.n_functions; k += step) {
			struct inj_text text = program_text(&program, k);

			if (knowledge < ALL)
				text.code = NULL;
			if (knowledge < DATA)
				text.read = NULL;
			if (!program.functions[k].is_fragment)
				examine(&text, &tally);
		}
		add(&total, &tally);
		print_tally(slash + 1, &tally);
		cr_expect_lt(tally.refused * 50, tally.n, "%s", programs[i]);
		program_free(&program);
	}
	print_tally("all", &total);
	cr_assert_gt(total.n, 0, "no program was found");
	cr_assert_lt(total.refused * 50, total.n);
}

Test(sweep, knowing_nothing_else, .timeout = 300)
{
	sweep(NOTHING, 2000);
}

Test(sweep, knowing_data, .timeout = 300)
{
	sweep(DATA, 2000);
}

Test(sweep, knowing_code_and_data, .timeout = 300)
{
	sweep(ALL, 300);
}

/*
 * Follow the frame through the first instructions of a function, and compare with what its compiler
 * wrote into the unwind tables. ret_n: instructions compared. Return the number of differences.
 */
static size_t compare_frames(struct program *program, const struct function *function,
			     size_t *ret_n)
{
	struct inj_frame_rule rule;
	size_t different = 0;

	inj_frame_start(&rule);
	for (inj_addr at = function->start; at < function->end && at < function->start + 16;) {
		const uint8_t *bytes = program->image + at;
		size_t room = function->end - at;
		struct inj_insn insn;
		int64_t offset;
		int base;

		if (!program_frame(program, at, &base, &offset))
			return different;
		++*ret_n;
		if (base != (rule.by_rbp ? INJ_DW_RBP : INJ_DW_RSP) ||
		    offset != (rule.by_rbp ? rule.rbp_depth : rule.depth))
			different++;
		if (inj_insn_decode(bytes, room, at, &insn) < 0 || insn.flow != INJ_FLOW_NEXT ||
		    inj_frame_step(&rule, bytes, room) < 0)
			return different;
		at += insn.n_bytes;
	}
	return different;
}

/* Hand-written assembly is sometimes wrong about itself, and moves of rsp to rbp are optional. */
Test(sweep, frames_as_compilers_see_them, .timeout = 300)
{
	size_t n = 0, different = 0;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++) {
		const char *slash = strrchr(programs[i], '/');
		struct program program;
		size_t n_here = 0, different_here = 0;

		if (!program_load(programs[i], 0, &program)) {
			program_free(&program);
			continue;
		}
		size_t step = program.n_functions / 2000 + 1;

		for (size_t k = 0; k < program.n_functions; k += step)
			if (!program.functions[k].is_fragment)
				different_here += compare_frames(&program, &program.functions[k],
								 &n_here);
		printf("%-24s %zu instructions, %zu differences\n", slash + 1, n_here,
		       different_here);
		n += n_here;
		different += different_here;
		program_free(&program);
	}
	cr_assert_gt(n, 1000);
	cr_assert_lt(different * 200, n);
}
