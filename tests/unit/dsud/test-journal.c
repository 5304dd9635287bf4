/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state directory: pairs of files come and go together, and leftovers are judged by boot and
 * process. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dsud/registry/journal.h"
#include "injector/base/cleanup.h"

static char directory[] = "/tmp/dsud-journal-XXXXXX";
static struct dsud_state_dir state_dir = {.fd = -1, .lock_fd = -1};
static const uint8_t update_id[DSUD_UPDATE_ID_BYTES] = {0xab, 1, 2, 3};

#define TARGETS_NAME "targets-ab010203000000000000000000000000"
#define JOURNAL_NAME "journal-ab010203000000000000000000000000"

static void set_up(void)
{
	struct inj_why why;

	cr_assert_not_null(mkdtemp(directory));
	cr_assert_eq(dsud_state_dir_init(directory, &state_dir, &why), 0, "%s", why.text);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	return remove(path);
}

static void tear_down(void)
{
	dsud_state_dir_deinit(&state_dir);
	nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(journal, .init = set_up, .fini = tear_down);

static bool is_there(const char *name)
{
	return faccessat(state_dir.fd, name, F_OK, 0) == 0;
}

static int create(const struct dsud_subject *subjects, size_t n)
{
	struct inj_why why;
	int fd = -1;

	cr_assert_eq(dsud_journal_create(&state_dir, update_id, subjects, n, &fd, &why), 0, "%s",
		     why.text);
	return fd;
}

static size_t count_leftovers(struct dsud_leftover **ret)
{
	size_t n = 99;

	cr_assert_eq(dsud_journal_leftovers(&state_dir, ret, &n), 0);
	return n;
}

static void overwrite(const char *name, const char *text)
{
	INJ_CLOSE int fd = openat(state_dir.fd, name, O_WRONLY | O_TRUNC | O_CREAT, 0600);

	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

Test(journal, a_pair_comes_and_goes_together)
{
	struct dsud_subject self = dsud_subject_look(getpid());
	INJ_CLOSE int fd = create(&self, 1);
	struct stat status;

	cr_assert(is_there(TARGETS_NAME));
	cr_assert(is_there(JOURNAL_NAME));
	cr_assert_eq(fstat(fd, &status), 0);
	cr_assert_eq(status.st_mode & 0777, 0600);
	/* Its room is real, not a hole. */
	cr_assert_geq(status.st_blocks * 512, status.st_size);
	cr_assert_gt(status.st_size, 0);
	dsud_journal_remove(&state_dir, update_id);
	cr_assert_not(is_there(TARGETS_NAME));
	cr_assert_not(is_there(JOURNAL_NAME));
}

Test(journal, a_leftover_brings_its_living_processes)
{
	struct dsud_subject subjects[] = {
		dsud_subject_look(getpid()),
		{.pid = getpid(), .start_ticks = 1},
		{.pid = 1, .start_ticks = 0},
		dsud_subject_look(getppid()),
	};
	struct dsud_leftover *leftovers = NULL;

	close(create(subjects, 4));
	cr_assert_eq(count_leftovers(&leftovers), 1);
	cr_assert_eq(memcmp(leftovers[0].id, update_id, sizeof(update_id)), 0);
	cr_assert_eq(leftovers[0].n_subjects, 2);
	cr_assert_eq(leftovers[0].subjects[0].pid, getpid());
	cr_assert_eq(leftovers[0].subjects[1].pid, getppid());
	cr_assert_geq(leftovers[0].journal_fd, 0);
	dsud_leftover_deinit(&leftovers[0]);
	free(leftovers);
}

Test(journal, the_lock_lives_as_long_as_anybody_has_the_journal)
{
	struct dsud_subject self = dsud_subject_look(getpid());
	struct dsud_leftover *leftovers = NULL;
	int fd = create(&self, 1);

	cr_assert_eq(count_leftovers(&leftovers), 1);
	cr_assert_eq(flock(leftovers[0].journal_fd, LOCK_EX | LOCK_NB), -1);
	cr_assert_eq(errno, EWOULDBLOCK);
	close(fd);
	cr_assert_eq(flock(leftovers[0].journal_fd, LOCK_EX | LOCK_NB), 0);
	dsud_leftover_deinit(&leftovers[0]);
	free(leftovers);
}

Test(journal, leftovers_of_another_boot_are_removed)
{
	struct dsud_subject self = dsud_subject_look(getpid());
	INJ_FREE struct dsud_leftover *leftovers = NULL;

	close(create(&self, 1));
	overwrite(TARGETS_NAME, "boot 00000000-0000-0000-0000-000000000000\n1 1\n");
	cr_assert_eq(count_leftovers(&leftovers), 0);
	cr_assert_not(is_there(TARGETS_NAME));
	cr_assert_not(is_there(JOURNAL_NAME));
}

Test(journal, an_update_that_never_began_is_forgotten)
{
	struct dsud_subject self = dsud_subject_look(getpid());
	INJ_FREE struct dsud_leftover *leftovers = NULL;

	close(create(&self, 1));
	cr_assert_eq(unlinkat(state_dir.fd, JOURNAL_NAME, 0), 0);
	cr_assert_eq(count_leftovers(&leftovers), 0);
	cr_assert_not(is_there(TARGETS_NAME));
}

Test(journal, what_is_not_ours_stays)
{
	static const char *const names[] = {"targets-", "targets-zz010203000000000000000000000000",
					    "targets-ab01", "notes"};
	INJ_FREE struct dsud_leftover *leftovers = NULL;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++)
		overwrite(names[i], "boot x\n");
	/* Ours, but damaged, and the update had begun: left for a person to look at. */
	overwrite(TARGETS_NAME, "something else\n");
	overwrite(JOURNAL_NAME, "");
	cr_assert_eq(count_leftovers(&leftovers), 0);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++)
		cr_assert(is_there(names[i]), "%s", names[i]);
	cr_assert(is_there(TARGETS_NAME));
}

/* A death while the list was being written. */
Test(journal, a_list_that_was_never_finished_is_removed)
{
	INJ_FREE struct dsud_leftover *leftovers = NULL;

	overwrite(TARGETS_NAME, "boot 0");
	cr_assert_eq(count_leftovers(&leftovers), 0);
	cr_assert_not(is_there(TARGETS_NAME));
}

Test(journal, a_second_user_of_the_directory_is_refused)
{
	struct dsud_state_dir second;
	struct inj_why why;

	cr_assert_eq(dsud_state_dir_init(directory, &second, &why), INJ_BUSY);
	cr_assert_not_null(strstr(why.text, directory));
	dsud_state_dir_deinit(&state_dir);
	cr_assert_eq(dsud_state_dir_init(directory, &state_dir, &why), 0);
}
