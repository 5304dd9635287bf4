/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_REGISTRY_JOURNAL_H
#define DSUD_REGISTRY_JOURNAL_H

#include "dsud/worker/subject.h"
#include "injector/base/why.h"

/*
 * The state directory: one pair of files for every update that may have changed something,
 *   targets-<update id>   whom it is for; written and read by the daemon
 *   journal-<update id>   what the worker is doing; opaque here
 * and the file `lock`. All of it matters only until the machine reboots. A pair is removed when its
 * update is settled; what a daemon finds on its start was left by one that died.
 */
struct dsud_state_dir {
	char *path;
	int fd;
	int lock_fd;
};

#define DSUD_UPDATE_ID_BYTES 16

/*
 * Create the directory if need be, and lock it against a second daemon.
 * path: absolute; ret: free with dsud_state_dir_deinit().
 * State: any.
 * Return: 0.
 * Errors: INJ_BUSY (another daemon uses it); INJ_INTERNAL (not ours alone to write); negative
 * errno.
 */
int dsud_state_dir_init(const char *path, struct dsud_state_dir *ret, struct inj_why *why);
void dsud_state_dir_deinit(struct dsud_state_dir *dir);

/*
 * Make the pair of files of one update, with its room reserved and locked for whoever inherits it.
 * subjects: the processes of the update; ret_fd: the journal, the caller's.
 * State: any.
 * Return: 0.
 * Errors: negative errno, most likely -ENOSPC; nothing is left behind.
 */
int dsud_journal_create(const struct dsud_state_dir *dir, const uint8_t id[DSUD_UPDATE_ID_BYTES],
			const struct dsud_subject *subjects, size_t n_subjects, int *ret_fd,
			struct inj_why *why);
void dsud_journal_remove(const struct dsud_state_dir *dir, const uint8_t id[DSUD_UPDATE_ID_BYTES]);

/* What a daemon that died has left. */
struct dsud_leftover {
	uint8_t id[DSUD_UPDATE_ID_BYTES];
	int journal_fd;
	bool is_foreign;               /* written by another version of dsud: not ours to settle */
	struct dsud_subject *subjects; /* of those processes that still live */
	size_t n_subjects;
};

/*
 * Find all leftovers. Pairs of an earlier boot, and those whose processes are all gone, are
 * removed.
 * ret: malloc'ed, free each with dsud_leftover_deinit(), then the array.
 * State: any.
 * Return: 0. Errors: negative errno.
 */
int dsud_journal_leftovers(const struct dsud_state_dir *dir, struct dsud_leftover **ret,
			   size_t *ret_n);
void dsud_leftover_deinit(struct dsud_leftover *leftover);

#endif
