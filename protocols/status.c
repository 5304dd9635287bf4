/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The question what a process carries: its ledgers, read and told, nothing else. Everybody can make
 * processes that claim to be patched, thousands of them, and with records of any size; they must
 * not keep us from telling about the others. So one process is looked at after the other and let go
 * of, each gets its share of the report, and no file of theirs is opened.
 */
#include <stdio.h>
#include <string.h>

#include "injector/base/clock.h"
#include "injector/txn/ours.h"
#include "protocols/fill.h"
#include "protocols/run.h"

/* Half of what a report may have; a list entry costs more than its strings. */
#define ALL_BYTES   (UPD_REPORT_MAX_BYTES / 2)
#define ENTRY_BYTES 96
/* An ordinary process has some hundred mappings. */
#define MAX_LINES (1u << 17)

static size_t entry_bytes(const char *const *texts, size_t n)
{
	size_t bytes = ENTRY_BYTES;

	for (size_t i = 0; i < n; i++)
		bytes += texts[i] ? strlen(texts[i]) : 0;
	return bytes;
}

static size_t patch_bytes(const struct upd_patch_state *patch)
{
	const char *const own[] = {patch->id, patch->version, patch->digest, patch->protocol,
				   patch->state};
	size_t bytes = entry_bytes(own, INJ_ARRAY_LENGTH(own));

	for (size_t i = 0; i < patch->n_functions; i++) {
		const struct upd_function *function = &patch->functions[i];
		const char *const texts[] = {function->module, function->build_id, function->name,
					     function->new_name};

		bytes += entry_bytes(texts, INJ_ARRAY_LENGTH(texts));
	}
	return bytes;
}

/* Keep what fits, whole patches only. Return: how many stay. */
static size_t count_fitting(const struct upd_target *target, size_t share)
{
	size_t n = 0;

	for (size_t bytes = 0; n < target->n_patches; n++) {
		bytes += patch_bytes(&target->patches[n]);
		if (bytes > share)
			break;
	}
	return n;
}

static void cut(struct upd_target *target, size_t share)
{
	size_t n = count_fitting(target, share);
	char note[160];

	if (n == target->n_patches)
		return;
	snprintf(note, sizeof(note),
		 "%zu of its %zu patches are not listed: they would fill the report; ask about "
		 "fewer processes at once",
		 target->n_patches - n, target->n_patches);
	upd_report_keep_patches(target, n);
	upd_fill_note(target, note);
}

static bool carries_nothing(const struct inj_history *history)
{
	return history->n_ledgers + history->n_unknown + history->n_orphans == 0;
}

/* A process without anything of ours, or without memory, may be one that cannot carry anything. */
static int tell_kind(pid_t pid, struct inj_why *why)
{
	INJ_CLEANUP(inj_process_guard) struct inj_process *process = NULL;
	int r = inj_process_open(pid, &process, why);

	return r == INJ_ALREADY_TRACED ? 0 : r;
}

static int look_at(pid_t pid, size_t share, struct upd_target *target, struct inj_why *why)
{
	INJ_CLEANUP(inj_process_guard) struct inj_process *process = NULL;
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = NULL;
	INJ_CLEANUP(inj_history_deinit) struct inj_history history = {};
	int r = inj_process_look(pid, &process, why);

	if (r != 0)
		return r;
	upd_fill_identity(target, process);
	r = inj_maps_read(process, &maps, why);
	if (r == 0)
		r = inj_history_read(process, maps, &history, why);
	if (r == INJ_PROCESS_GONE || (r == 0 && carries_nothing(&history))) {
		int kind = tell_kind(pid, why);

		return kind ? kind : r;
	}
	if (r != 0)
		return r;
	upd_fill_patches(target, &history);
	cut(target, share);
	return 0;
}

/* Nobody waits for the last of ten thousand forged ones. */
static int check_time(const struct upd_run *run, pid_t pid, struct inj_why *why)
{
	int r = upd_run_cancelled(run, why);

	if (r == 0 && inj_remaining_ns(run->deadline_ns) == 0)
		r = inj_refuse(why, INJ_BUSY,
			       "Process %d was not looked at: the time was up. Ask about it alone.",
			       pid);
	return r;
}

void upd_status(struct upd_run *run)
{
	const size_t share = ALL_BYTES / run->n_subjects;

	for (size_t i = 0; i < run->n_subjects; i++) {
		struct upd_subject *subject = &run->subjects[i];
		struct inj_why why = {};
		int r = check_time(run, subject->pid, &why);

		if (r == 0)
			r = look_at(subject->pid, share, &run->report->targets[i], &why);
		if (r != 0)
			upd_subject_fail(subject, r, &why);
	}
}

bool upd_is_patched(pid_t pid)
{
	INJ_CLEANUP(inj_file_guard) FILE *maps = NULL;
	INJ_FREE char *line = NULL;
	char path[64];
	size_t size = 0;
	unsigned n = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (maps && n++ < MAX_LINES && getline(&line, &size, maps) > 0) {
		const char *name = strchr(line, '/');

		if (name && strncmp(name, INJ_AREA_NAME_PREFIX, strlen(INJ_AREA_NAME_PREFIX)) == 0)
			return true;
	}
	return false;
}
