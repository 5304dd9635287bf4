/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the updates that could not be settled, between two tries. Always holds: a journal belongs
 * either to a job of the registry or to this list, and its files are removed by neither before its
 * outcome is known; tries are few and ever farther apart; status tells of every entry.
 * Refuses to touch a journal that another version of dsud has written.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dsud/log.h"
#include "dsud/registry/outcome.h"
#include "dsud/registry/registry.h"
#include "injector/base/cleanup.h"

#define MAX_TRIES 5
#define MAX_ENTRIES 256
#define ACCURACY_USEC 10000

static void entry_free(struct dsud_unsettled *entry)
{
	if (!entry)
		return;
	sd_event_source_disable_unref(entry->source);
	dsud_leftover_deinit(&entry->leftover);
	free(entry->story);
	free(entry);
}

static void unlink_entry(struct dsud_unsettled *entry)
{
	struct dsud_unsettled **place = &entry->registry->unsettled;

	while (*place != entry)
		place = &(*place)->next;
	*place = entry->next;
}

static bool is_alive(const struct dsud_unsettled *entry)
{
	for (size_t i = 0; i < entry->leftover.n_subjects; i++)
		if (dsud_subject_is_same(&entry->leftover.subjects[i]))
			return true;
	return false;
}

/* Nobody is left in whom something could be left. */
static void forget_dead(struct dsud_registry *registry)
{
	struct dsud_unsettled *next;

	for (struct dsud_unsettled *entry = registry->unsettled; entry; entry = next) {
		next = entry->next;
		if (is_alive(entry))
			continue;
		dsud_journal_remove(registry->state_dir, entry->leftover.id);
		unlink_entry(entry);
		entry_free(entry);
	}
}

/* --- trying again ------------------------------------------------------------------------- */

/* A job takes over. Return: 0, and the entry is gone; else it stays. */
static int try_now(struct dsud_unsettled *entry)
{
	struct dsud_registry *registry = entry->registry;
	struct inj_why why;
	int r = dsud_registry_recover(registry, &entry->leftover, entry->n_tries, &why);

	if (r != 0)
		return r;
	unlink_entry(entry);
	entry_free(entry);
	return 0;
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct dsud_unsettled *entry = userdata;

	entry->source = sd_event_source_disable_unref(entry->source);
	if (!entry->registry->stopping && try_now(entry) != 0)
		dsud_log(LOG_ERR, "out of memory for settling an update; the next start does it");
	return 0;
}

static uint64_t delay_usec(const struct dsud_unsettled *entry)
{
	return entry->registry->retry_ns / 1000 << (2 * entry->n_tries);
}

static void plan_next(struct dsud_unsettled *entry)
{
	uint64_t usec = delay_usec(entry);

	if (!entry->leftover.is_foreign && entry->n_tries < MAX_TRIES &&
	    sd_event_add_time_relative(entry->registry->event, &entry->source, CLOCK_MONOTONIC,
				       usec, ACCURACY_USEC, on_time, entry) >= 0)
		dsud_log(LOG_WARNING, "%s; the next try is in %.6g s", entry->story,
			 (double)usec / 1e6);
	else
		dsud_log(LOG_ERR,
			 "%s; its journal is kept in %s, and it is tried again when somebody "
			 "changes the process or dsud starts anew",
			 entry->story, entry->registry->state_dir->path);
}

static size_t count(const struct dsud_registry *registry)
{
	size_t n = 0;

	for (struct dsud_unsettled *entry = registry->unsettled; entry; entry = entry->next)
		n++;
	return n;
}

void dsud_unsettled_add(struct dsud_registry *registry, struct dsud_leftover *leftover,
			unsigned n_tries, const char *story)
{
	struct dsud_unsettled *entry = malloc(sizeof(*entry));
	char *copy = strdup(story);

	forget_dead(registry);
	if (!entry || !copy || count(registry) >= MAX_ENTRIES) {
		dsud_log(LOG_ERR, "%s; it is left for the next start of dsud", story);
		dsud_leftover_deinit(leftover);
		free(entry);
		free(copy);
		return;
	}
	*entry = (struct dsud_unsettled){
		.next = registry->unsettled,
		.registry = registry,
		.leftover = *leftover,
		.n_tries = n_tries,
		.story = copy,
	};
	*leftover = (struct dsud_leftover){.journal_fd = -1};
	registry->unsettled = entry;
	plan_next(entry);
}

void dsud_unsettled_forget(struct dsud_registry *registry)
{
	while (registry->unsettled) {
		struct dsud_unsettled *next = registry->unsettled->next;

		entry_free(registry->unsettled);
		registry->unsettled = next;
	}
}

/* --- those who ask ------------------------------------------------------------------------ */

static bool concerns(const struct dsud_unsettled *entry, pid_t pid)
{
	for (size_t i = 0; i < entry->leftover.n_subjects; i++)
		if (entry->leftover.subjects[i].pid == pid)
			return true;
	return false;
}

static const struct dsud_subject *shared(const struct dsud_unsettled *entry,
					 const struct dsud_order *order)
{
	for (size_t i = 0; i < order->n_subjects; i++)
		if (concerns(entry, order->subjects[i].pid))
			return &order->subjects[i];
	return NULL;
}

int dsud_unsettled_precede(struct dsud_registry *registry, const struct dsud_order *order,
			   struct inj_why *why)
{
	struct dsud_unsettled *next;

	forget_dead(registry);
	for (struct dsud_unsettled *entry = registry->unsettled; entry; entry = entry->next) {
		const struct dsud_subject *subject = shared(entry, order);

		if (subject && entry->leftover.is_foreign)
			return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
					  "Process %d cannot be changed: %s.", (int)subject->pid,
					  entry->story);
	}
	for (struct dsud_unsettled *entry = registry->unsettled; entry; entry = next) {
		next = entry->next;
		if (shared(entry, order))
			try_now(entry);
	}
	return 0;
}

static void note(const struct dsud_unsettled *entry, struct upd_target *target)
{
	char text[1280];

	const char *next = "dsud tries again before the process is changed, or when it starts anew";

	if (entry->source)
		next = "dsud tries again by itself";
	else if (entry->leftover.is_foreign)
		next = "until then the process cannot be changed";
	snprintf(text, sizeof(text), "%s; %s", entry->story, next);
	dsud_outcome_note(target, text);
}

/* One that carries no patch is not met by the scan. */
static struct upd_target *add_target(struct upd_report *report, const struct dsud_subject *subject)
{
	struct upd_target *target = upd_report_add(report, subject->pid);
	char comm[64];

	if (!target)
		return NULL;
	target->result = UPD_UNCHANGED;
	if (dsud_proc_read(subject->pid, "comm", comm, sizeof(comm)) == 0) {
		char *copy = strdup(comm);

		if (copy) {
			inj_printable(copy);
			free(target->comm);
			target->comm = copy;
		}
	}
	return target;
}

static struct upd_target *find_target(struct upd_report *report, pid_t pid)
{
	for (size_t i = 0; i < report->n_targets; i++)
		if (report->targets[i].pid == pid)
			return &report->targets[i];
	return NULL;
}

void dsud_unsettled_tell(struct dsud_registry *registry, const struct dsud_order *order,
			 struct upd_report *report)
{
	forget_dead(registry);
	for (struct dsud_unsettled *entry = registry->unsettled; entry; entry = entry->next)
		for (size_t i = 0; i < entry->leftover.n_subjects; i++) {
			const struct dsud_subject *subject = &entry->leftover.subjects[i];
			struct upd_target *target = find_target(report, subject->pid);

			if (!target && order->scan && dsud_subject_is_same(subject))
				target = add_target(report, subject);
			if (target)
				note(entry, target);
		}
}
