/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thousand updates of programs whose threads have known values in all their registers (the widest
 * vector registers of this CPU, mask and x87 registers, flags, the red zone), in errno, and in what
 * the kernel keeps for them (signal mask, alternate stack, robust list, rseq area, name, bases):
 * while they compute, and while they wait in system calls.
 */
#include "tests/live/transparent/repeating.h"

TestSuite(registers, .timeout = 300);

/* One computes, two wait. */
Test(registers, over_a_thousand_updates)
{
	const unsigned n = times(1000) / 2;
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("registers", "3", "2", NULL);
	victim_expect_above(victim, "laps", 0);
	for (unsigned i = 0; i < n; i++) {
		update_twice(victim);
		if (i % 64 == 0)
			victim_expect(victim, "wrong", "nothing");
	}
	victim_expect_above(victim, "laps", victim_ask_number(victim, "laps") + 1);
	victim_expect(victim, "wrong", "nothing");
	cr_log_info("%u updates, registers of %s bits", 2 * n, victim_ask(victim, "wide"));
}
