/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every situation in which a watched function is hard to see, and the same without it: the function
 * must be found whenever it is live, and must not be found when it is not and the stack can be
 * walked.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <inttypes.h>

#include "tests/live/walk/walk.h"

#define ACTIVITY INJ_CLEANUP(inj_activity_deinit) struct inj_activity

enum verdict {
	CLEAN,	   /* no hit at all */
	WALKED,	   /* found by walking */
	SUSPECTED, /* found by the conservative scan */
};

struct situation {
	const char *mode;
	enum verdict verdict;
	bool reliable;
};

static const struct situation situations[] = {
	{"syscall", WALKED, true},
	{"signal", WALKED, true},
	{"altstack", WALKED, true},
	{"cut", WALKED, true},
	{"vdso", WALKED, true},
	{"untold", SUSPECTED, false},
	{"jit", SUSPECTED, false},
	{"deep", WALKED, true},
	{"deep-1000", WALKED, true},
	{"away", WALKED, true},
	{"home-suspended", SUSPECTED, true},
	{"not-syscall", CLEAN, true},
	{"not-signal", CLEAN, true},
	{"not-altstack", CLEAN, true},
	{"not-vdso", CLEAN, true},
	{"not-untold", CLEAN, false},
	{"not-deep", CLEAN, true},
	{"not-away", CLEAN, true},
	{"stale-syscall", CLEAN, true},
	{"stale-altstack", CLEAN, true},
	{"stale-deep", CLEAN, true},
	{"stale-untold", SUSPECTED, false},
};

static const char *const programs[] = {"stacks", "stacks-nopie", "stacks-static",
				       "stacks-static-pie", "stacks-stripped"};

static void expect_hit(const struct subject *subject, const struct situation *situation,
		       const struct inj_activity *activity)
{
	const struct inj_hit *hit = &activity->hits[0];

	cr_assert_gt(activity->n_hits, 0, "%s: nothing found", situation->mode);
	cr_expect_eq(hit->tid, subject->tid, "%s: found in thread %d", situation->mode, hit->tid);
	cr_expect_eq(hit->tag, 7);
	cr_expect_eq(hit->reliable, situation->verdict == WALKED, "%s", situation->mode);
	cr_expect_neq(hit->slot, 0, "%s", situation->mode);
	cr_expect_eq(hit->frame == INJ_FRAME_UNKNOWN, situation->verdict == SUSPECTED, "%s",
		     situation->mode);
	cr_expect(hit->address > subject->watch.code.start &&
		  hit->address <= subject->watch.code.end);
}

static void expect_stack(struct subject *subject, const struct situation *situation)
{
	static struct inj_frame frames[200000];
	size_t n = 0;
	bool reliable = !situation->reliable;
	struct inj_why why;
	int r = inj_walker_stack(subject->walker, subject->hold, subject_index(subject), frames,
				 INJ_ARRAY_LENGTH(frames), &n, &reliable, &why);

	cr_assert_eq(r, 0);
	cr_expect_eq(reliable, situation->reliable, "%s: %zu frames", situation->mode, n);
	if (strstr(situation->mode, "deep"))
		cr_expect_gt(n, strstr(situation->mode, "1000") ? 1000 : 100000);
	cr_expect_eq(frames[0].is_call, false);
}

static void check(const char *program, const struct situation *situation, bool main_thread)
{
	SUBJECT subject = subject_new(program, situation->mode, main_thread);

	subject_hold(subject);
	ACTIVITY activity = subject_find(subject);

	cr_expect_eq(activity.n_threads, 2);
	cr_expect_eq(activity.n_scanned + activity.n_walked, 2, "%zu %zu", activity.n_scanned,
		     activity.n_walked);
	if (situation->verdict == CLEAN)
		cr_expect_eq(activity.n_hits, 0,
			     "%s %s: found at %" PRIx64 " frame %u slot %" PRIx64, program,
			     situation->mode, activity.hits[0].address, activity.hits[0].frame,
			     activity.hits[0].slot);
	else
		expect_hit(subject, situation, &activity);
	expect_stack(subject, situation);
	subject_release(subject);
}

/* Tests run in a program started anew, so that pointers cannot be parameters. */
static struct criterion_test_params all_situations(void)
{
	static size_t indexes[INJ_ARRAY_LENGTH(situations)];

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(indexes); i++)
		indexes[i] = i;
	return cr_make_param_array(size_t, indexes, INJ_ARRAY_LENGTH(indexes));
}

ParameterizedTestParameters(walk, worker_thread)
{
	return all_situations();
}

ParameterizedTest(size_t *situation, walk, worker_thread, .timeout = 60)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++)
		check(programs[i], &situations[*situation], false);
}

ParameterizedTestParameters(walk, main_thread)
{
	return all_situations();
}

ParameterizedTest(size_t *situation, walk, main_thread, .timeout = 60)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++)
		check(programs[i], &situations[*situation], true);
}

Test(walk, entry_can_be_free)
{
	SUBJECT subject = subject_new("stacks", "first", false);

	subject_hold_at(subject, subject->watch.code);
	inj_addr pc = subject->hold->threads[subject_index(subject)].regs.rip;

	subject->watch.code.start = pc;
	ACTIVITY counted = subject_find(subject);

	cr_assert_eq(counted.n_hits, 1);
	cr_expect_eq(counted.hits[0].address, pc);
	cr_expect_eq(counted.hits[0].frame, 0);
	cr_expect_eq(counted.hits[0].slot, 0);
	subject->watch.entry_is_free = true;
	ACTIVITY not_counted = subject_find(subject);

	cr_expect_eq(not_counted.n_hits, 0);
}

Test(walk, last_instruction_of_a_leaf)
{
	SUBJECT subject = subject_new("stacks", "last", false);

	subject_hold_at(subject, subject->watch.code);
	inj_addr pc = subject->hold->threads[subject_index(subject)].regs.rip;

	/* One byte less of the function and the thread is outside. */
	subject->watch.code.end = pc + 1;
	ACTIVITY inside = subject_find(subject);

	cr_assert_eq(inside.n_hits, 1);
	cr_expect_eq(inside.hits[0].address, pc);
	subject->watch.code.end = pc;
	ACTIVITY outside = subject_find(subject);

	cr_expect_eq(outside.n_hits, 0);
}

/* Looks like inj_walker_find() must: live means found. At random moments of a thread that does
 * everything quickly. */
static void never_miss(const char *program, bool main_thread, int rounds)
{
	SUBJECT subject = subject_new(program, "turns", main_thread);
	size_t n_live = 0, n_clean = 0, n_unreliable = 0;

	for (int i = 0; i < rounds; i++) {
		subject_hold(subject);
		ACTIVITY activity = subject_find(subject);

		if (subject_live(subject) > 0) {
			n_live++;
			cr_assert_gt(activity.n_hits, 0, "round %d: live, but not found", i);
		} else if (activity.n_hits == 0) {
			n_clean++;
		}
		n_unreliable += activity.n_unreliable;
		subject_release(subject);
	}
	cr_expect_gt(n_live, 0);
	cr_expect_gt(n_clean, 0);
	cr_expect_lt(n_unreliable, (size_t)rounds);
	victim_expect_above(subject->victim, "turns", victim_ask_number(subject->victim, "turns"));
}

Test(walk, never_misses_in_a_worker_thread, .timeout = 120)
{
	never_miss("stacks", false, 2000);
}

Test(walk, never_misses_in_the_main_thread, .timeout = 120)
{
	never_miss("stacks", true, 2000);
}

Test(walk, never_misses_in_a_static_program, .timeout = 120)
{
	never_miss("stacks-static", true, 1000);
}

/* A gigabyte of stack, within the time that an update may hold a process by default. */
static void check_huge(const char *mode, bool found)
{
	SUBJECT subject = subject_new("stacks", mode, false);
	struct inj_activity activity INJ_CLEANUP(inj_activity_deinit) = {0};
	struct inj_why why = {0};

	subject_hold(subject);
	int r = inj_walker_find(subject->walker, subject->hold, &subject->watch, 1, 50000000,
				&activity, &why);

	cr_assert_eq(r, 0, "%s: %s", mode, why.text);
	cr_expect_eq(activity.n_hits > 0, found, "%s", mode);
	cr_expect_eq(activity.n_unreliable, 0, "%s", mode);
	subject_release(subject);
}

Test(walk, huge_stacks_fit_into_the_hold)
{
	check_huge("huge", true);
	check_huge("not-huge", false);
}

static size_t walk_copy(struct subject *subject, const struct inj_hold *copy, size_t index,
			bool *ret_reliable)
{
	struct inj_frame frames[8];
	struct inj_why why;
	size_t n = 0;

	cr_assert_eq(
		inj_walker_stack(subject->walker, copy, index, frames, 8, &n, ret_reliable, &why),
		0);
	return n;
}

/* The thread is elsewhere by the time it is walked: only the copy can tell where it was. */
Test(walk, snapshot_is_walked_after_release)
{
	SUBJECT subject = subject_new("stacks", "turns", false);
	struct inj_thread threads[8];
	struct inj_hold copy;
	struct inj_why why;

	for (unsigned round = 0; round < 200; round++) {
		bool reliable[2] = {false, false};
		size_t n[2];

		subject_hold(subject);
		size_t index = subject_index(subject);

		cr_assert_leq(subject->hold->n_threads, INJ_ARRAY_LENGTH(threads));
		copy = *subject->hold;
		copy.threads = threads;
		memcpy(threads, subject->hold->threads, copy.n_threads * sizeof(*threads));
		n[0] = walk_copy(subject, subject->hold, index, &reliable[0]);
		cr_assert_eq(inj_walker_snapshot(subject->walker, subject->hold, 1 << 20, &why), 0);
		subject_release(subject);
		n[1] = walk_copy(subject, &copy, index, &reliable[1]);
		cr_expect_eq(n[0], n[1], "round %u", round);
		cr_expect_eq(reliable[0], reliable[1], "round %u", round);
	}
}

Test(walk, snapshot_ends_where_it_was_cut)
{
	SUBJECT subject = subject_new("stacks", "deep-1000", false);
	struct inj_thread thread;
	struct inj_hold copy;
	struct inj_why why;
	bool reliable = true;

	subject_hold(subject);
	thread = subject->hold->threads[subject_index(subject)];
	copy = *subject->hold;
	copy.threads = &thread;
	copy.n_threads = 1;
	cr_assert_eq(inj_walker_snapshot(subject->walker, subject->hold, 4096, &why), 0);
	subject_release(subject);
	cr_expect_eq(walk_copy(subject, &copy, 0, &reliable), 8);
	cr_expect_not(reliable, "only the top was copied");
}

Test(walk, budget_is_kept)
{
	SUBJECT subject = subject_new("stacks", "deep", false);
	struct inj_activity activity = {0};
	struct inj_why why = {0};

	subject_hold(subject);
	int r = inj_walker_find(subject->walker, subject->hold, &subject->watch, 1, 1000, &activity,
				&why);

	cr_expect_eq(r, INJ_BLOCKED);
	cr_expect(strstr(why.text, "within"), "%s", why.text);
	cr_expect_eq(activity.hits, NULL);
}
