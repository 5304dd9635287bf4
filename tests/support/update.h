/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_SUPPORT_UPDATE_H
#define TESTS_SUPPORT_UPDATE_H

#include <string.h>

#include "protocols/update.h"

/*
 * One request carried through in the test's own process, which becomes the tracer for the time. The
 * report lives until update_done(). A request that cannot even be reported fails the test.
 */
struct update {
	enum upd_kind kind;
	const char *patch;       /* path below the build directory; NULL: none */
	const char *patch_id;    /* revert */
	const pid_t *pids;
	size_t n_pids;
	double timeout_s;        /* 0: 10 */
	int journal_fd;          /* 0: a new memfd */
	int cancel_fd;           /* 0: never */
	uint8_t update_id[16];   /* all zero: a new one, but for recovery */
	struct upd_timekeeper *timekeeper; /* NULL: none */
	struct upd_report report;
};

void update_run(struct update *update);
void update_done(struct update *update);

/* The usual ones: one process. Return: the target's report, valid until update_done(). */
const struct upd_target *update_apply(struct update *update, const char *patch, pid_t pid);
const struct upd_target *update_check(struct update *update, const char *patch, pid_t pid);
const struct upd_target *update_revert(struct update *update, const char *patch_id, pid_t pid);
const struct upd_target *update_status(struct update *update, pid_t pid);
const struct upd_target *update_recover(struct update *update, pid_t pid);

/* Assertions that print the target's own message when they fail; `target` may be a request that is
 * made just now. */
#define expect_result(target, wanted)                                                              \
	do {                                                                                       \
		const struct upd_target *expected_ = (target);                                     \
		cr_assert_eq(expected_->result, (wanted), "%s (%s): %s",                           \
			     upd_result_word(expected_->result),                                   \
			     inj_code_bus_name(expected_->code), expected_->message);              \
	} while (0)
#define expect_code(target, wanted)                                                                \
	do {                                                                                       \
		const struct upd_target *expected_ = (target);                                     \
		cr_assert_eq(expected_->code, (int)(wanted), "%s (%s): %s",                        \
			     upd_result_word(expected_->result),                                   \
			     inj_code_bus_name(expected_->code), expected_->message);              \
	} while (0)
/* Refused with this code, in words among which this one is. */
#define expect_refusal(target, wanted, word)                                                       \
	do {                                                                                       \
		const struct upd_target *refused_ = (target);                                      \
		expect_result(refused_, UPD_REFUSED);                                              \
		expect_code(refused_, wanted);                                                     \
		cr_assert(strstr(refused_->message, (word)), "%s", refused_->message);             \
	} while (0)

#endif
