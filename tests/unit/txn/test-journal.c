/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal of an update: whole after every write, and believed only when it is whole. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "injector/txn/journal.h"

static const uint8_t id[16] = { 1, 2, 3 };

static struct inj_journal *begin(int fd)
{
	struct inj_process a = {.pid = 100, .start_ticks = 7}, b = {.pid = 200, .start_ticks = 9};
	const struct inj_process *processes[] = { &a, &b };
	struct inj_journal *journal = NULL;

	cr_assert_eq(inj_journal_begin(fd, id, 1, processes, 2, &journal), 0);
	return journal;
}

Test(journal, says_what_was_marked)
{
	INJ_CLOSE int fd = memfd_create("journal", 0);
	INJ_CLEANUP(inj_journal_guard) struct inj_journal *journal = begin(fd);
	INJ_CLEANUP(inj_journal_view_deinit) struct inj_journal_view view = {};

	inj_journal_ledger(journal, 1, 0x1000);
	cr_assert_eq(inj_journal_set_guarded(journal, 1, true), 0);
	cr_assert_eq(inj_journal_mark(journal, 1, INJ_JOURNAL_COMMITTING), 0);
	cr_assert_eq(inj_journal_decide(journal), 0);
	cr_assert_eq(lseek(fd, 0, SEEK_END), (off_t)INJ_JOURNAL_BYTES(2));
	cr_assert_eq(inj_journal_read(fd, &view), 0);
	cr_assert_arr_eq(view.update_id, id, sizeof(id));
	cr_assert_eq(view.n_targets, 2);
	cr_assert(view.decided);
	cr_assert_eq(view.targets[0].pid, 100);
	cr_assert_eq(view.targets[0].step, INJ_JOURNAL_READING);
	cr_assert_eq(view.targets[1].step, INJ_JOURNAL_COMMITTING);
	cr_assert_eq(view.targets[1].flags, INJ_JOURNAL_GUARDED);
	cr_assert_eq(view.targets[1].ledger, 0x1000);
	cr_assert_eq(view.targets[1].start_ticks, 9);
}

Test(journal, damaged_or_cut_is_refused)
{
	INJ_CLOSE int fd = memfd_create("journal", 0);
	INJ_CLEANUP(inj_journal_guard) struct inj_journal *journal = begin(fd);
	uint8_t bytes[INJ_JOURNAL_BYTES(2)];

	(void)journal;
	cr_assert_eq(pread(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		struct inj_journal_view view = {};
		uint8_t wrong = (uint8_t)(bytes[i] ^ 0x10);

		/* The header's reserved tail means nothing yet. */
		if (i >= 40 && i < 64)
			continue;
		cr_assert_eq(pwrite(fd, &wrong, 1, (off_t)i), 1);
		/* The last character of the magic is the version. */
		cr_assert_eq(inj_journal_read(fd, &view), i == 7 ? -EPROTONOSUPPORT : -EBADMSG,
			     "byte %zu", i);
		cr_assert_eq(pwrite(fd, &bytes[i], 1, (off_t)i), 1);
	}
	for (off_t length = sizeof(bytes) - 1; length >= 0; length--) {
		struct inj_journal_view view = {};

		cr_assert_eq(ftruncate(fd, length), 0);
		cr_assert_eq(inj_journal_read(fd, &view), -EBADMSG, "%ld bytes", (long)length);
	}
}

/* Another order, one process gone, one that was never in it: each says what concerns it, nobody
 * else is touched. */
Test(journal, is_taken_up_by_a_successor)
{
	INJ_CLOSE int fd = memfd_create("journal", 0);
	INJ_CLEANUP(inj_journal_guard) struct inj_journal *journal = begin(fd);
	INJ_CLEANUP(inj_journal_guard) struct inj_journal *next = NULL;
	INJ_CLEANUP(inj_journal_view_deinit) struct inj_journal_view view = {};
	struct inj_process b = { .pid = 200, .start_ticks = 9 };
	struct inj_process recycled = { .pid = 100, .start_ticks = 8 };
	const struct inj_process *processes[] = { &b, NULL, &recycled };

	inj_journal_ledger(journal, 1, 0x1000);
	cr_assert_eq(inj_journal_mark(journal, 0, INJ_JOURNAL_STAGING), 0);
	cr_assert_eq(inj_journal_mark(journal, 1, INJ_JOURNAL_COMMITTING), 0);
	cr_assert_eq(inj_journal_decide(journal), 0);
	cr_assert_eq(inj_journal_resume(fd, processes, 3, &next), 0);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(inj_journal_set_guarded(next, i, true), 0);
	cr_assert_eq(inj_journal_read(fd, &view), 0);
	cr_assert(view.decided);
	cr_assert_eq(view.targets[0].flags, 0);
	cr_assert_eq(view.targets[0].step, INJ_JOURNAL_STAGING);
	cr_assert_eq(view.targets[1].flags, INJ_JOURNAL_GUARDED);
	cr_assert_eq(view.targets[1].step, INJ_JOURNAL_COMMITTING);
	cr_assert_eq(view.targets[1].ledger, 0x1000);
	cr_assert_eq(lseek(fd, 0, SEEK_END), (off_t)INJ_JOURNAL_BYTES(2));
}
