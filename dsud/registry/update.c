/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the life of one job: queued, running in a worker, recovered by another worker if that one
 * dies, settled. Always holds: every job is settled exactly once; the journal of a job that may
 * have changed something is removed only when it is known from the targets that nothing is left in
 * them, else unsettled.c takes it over; a recovery is never cancelled.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "dsud/log.h"
#include "dsud/registry/outcome.h"
#include "dsud/registry/registry.h"
#include "injector/base/cleanup.h"
#include "injector/base/clock.h"

#define MAX_RECOVERIES 3
#define RECOVERY_NS 10000000000u
#define PROGRESS_INTERVAL_NS 100000000u
/* These are told as they come; later ones come by the dozen in a second. */
#define ATTEMPTS_TOLD_AT_ONCE 10

const char *dsud_kind_word(enum upd_kind kind)
{
	static const char *const words[] = {
		[UPD_APPLY] = DSUD_KIND_APPLY,   [UPD_REVERT] = DSUD_KIND_REVERT,
		[UPD_CHECK] = DSUD_KIND_CHECK,   [UPD_STACKS] = DSUD_KIND_STACKS,
		[UPD_STATUS] = DSUD_KIND_STATUS, [UPD_RECOVER] = DSUD_KIND_RECOVER,
	};

	return words[kind];
}

const char *dsud_update_state_word(enum dsud_update_state state)
{
	static const char *const words[] = {
		[DSUD_QUEUED] = DSUD_STATE_QUEUED,
		[DSUD_RUNNING] = DSUD_STATE_RUNNING,
		[DSUD_DONE] = DSUD_STATE_DONE,
		[DSUD_CANCELLED] = DSUD_STATE_CANCELLED,
	};

	return words[state];
}

const char *dsud_update_result_word(const struct dsud_update *update)
{
	return dsud_update_is_settled(update) ? upd_result_word(update->result) : "";
}

bool dsud_kind_changes(enum upd_kind kind)
{
	return kind == UPD_APPLY || kind == UPD_REVERT || kind == UPD_RECOVER;
}

void dsud_order_deinit(struct dsud_order *order)
{
	if (!order)
		return;
	inj_close_guard(&order->patch_fd);
	free(order->patch_name);
	free(order->patch_id);
	free(order->protocol);
	free(order->subjects);
	free(order->owner);
	*order = (struct dsud_order){.patch_fd = -1};
}

void dsud_update_free(struct dsud_update *update)
{
	if (!update)
		return;
	dsud_worker_free(update->worker);
	inj_close_guard(&update->journal_fd);
	dsud_order_deinit(&update->order);
	free(update->patch);
	free(update->report_bytes);
	free(update);
}

int dsud_update_report(const struct dsud_update *update, struct upd_report *ret)
{
	if (!update->report_bytes)
		return -ENODATA;
	return upd_report_decode(update->report_bytes, update->report_length, ret);
}

/* --- settling ----------------------------------------------------------------------------- */

static bool anything_was_done(const struct upd_report *report)
{
	for (size_t i = 0; i < report->n_targets; i++)
		if (report->targets[i].result == UPD_APPLIED ||
		    report->targets[i].result == UPD_REVERTED)
			return true;
	return false;
}

static void learn_patch_name(struct dsud_update *update, const struct upd_report *report)
{
	if (report->n_targets == 0 || report->targets[0].patch[0] == '\0')
		return;

	char *name = strdup(report->targets[0].patch);

	if (name) {
		free(update->patch);
		update->patch = name;
	}
}

/* One sentence, without its full stop: what is left, and where; target: NULL when that is not
 * known. */
static void describe_rest(const struct dsud_update *update, const struct upd_target *target,
			  char *text, size_t size)
{
	const char *patch = target && target->patch[0] ? target->patch : update->patch;
	const char *cause = update->trouble[0] ? update->trouble : update->death;
	int pid = target ? (int)target->pid : (int)update->order.subjects[0].pid;
	int length = (int)strlen(cause);

	while (length > 0 && cause[length - 1] == '.')
		length--;
	snprintf(text, size, "something of the %s%s%s may be left in process %d, since %.*s",
		 patch[0] ? dsud_kind_word(update->order.kind) : "interrupted update",
		 patch[0] ? " of " : "", patch, pid, length, cause);
}

/* The journal goes to those who try again. */
static void keep_for_later(struct dsud_update *update, const struct upd_target *target)
{
	const struct dsud_order *order = &update->order;
	struct dsud_leftover leftover = {
		.journal_fd = inj_take_fd(&update->journal_fd),
		.subjects = calloc(order->n_subjects + 1, sizeof(*leftover.subjects)),
		.n_subjects = order->n_subjects,
	};
	unsigned n_tries = order->kind == UPD_RECOVER ? update->n_tries + 1 : 0;
	char text[1024];

	describe_rest(update, target, text, sizeof(text));
	memcpy(leftover.id, update->id, sizeof(leftover.id));
	if (leftover.subjects) {
		memcpy(leftover.subjects, order->subjects,
		       order->n_subjects * sizeof(*order->subjects));
		dsud_unsettled_add(update->registry, &leftover, n_tries, text);
		return;
	}
	dsud_leftover_deinit(&leftover);
	dsud_log(LOG_ERR, "%s; out of memory: it is left for the next start of dsud", text);
}

/* Its files are removed only when nothing is left in any target. */
static void settle_journal(struct dsud_update *update, const struct upd_report *report,
			   bool keep_journal)
{
	const struct upd_target *unsettled = dsud_outcome_unsettled(report);

	if (update->journal_fd < 0)
		return;
	if (keep_journal || unsettled) {
		keep_for_later(update, unsettled);
		return;
	}
	inj_close_guard(&update->journal_fd);
	update->journal_fd = -1;
	dsud_journal_remove(update->registry->state_dir, update->id);
}

/* The outcome stands. keep_journal: nobody could find out what became of the targets. */
static void settle(struct dsud_update *update, const struct upd_report *report, bool keep_journal)
{
	settle_journal(update, report, keep_journal);
	inj_close_guard(&update->order.patch_fd);
	update->order.patch_fd = -1;
	learn_patch_name(update, report);
	update->result = dsud_outcome_gravest(report);
	update->state = update->cancel_asked && !anything_was_done(report) ? DSUD_CANCELLED
									   : DSUD_DONE;
	if (upd_report_encode(report, &update->report_bytes, &update->report_length) < 0)
		dsud_log(LOG_ERR, "out of memory for the report of update %llu",
			 (unsigned long long)update->number);
	if (dsud_kind_changes(update->order.kind))
		update->change_number = ++update->registry->n_changes;
	dsud_registry_settled(update->registry, update, report);
}

static void settle_failed(struct dsud_update *update, int code, const char *message,
			  bool keep_journal)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};
	enum upd_result result = code == INJ_CANCELLED ? UPD_UNCHANGED : UPD_FAILED;

	if (dsud_outcome_fill(update, result, code, message, &report) < 0)
		dsud_log(LOG_ERR, "out of memory for the outcome of update %llu: %s",
			 (unsigned long long)update->number, message);
	settle(update, &report, keep_journal);
}

/* --- a worker's life ---------------------------------------------------------------------- */

static void start_worker(struct dsud_update *update, enum upd_kind kind);

static void recover_or_give_up(struct dsud_update *update)
{
	char text[1024];

	if (update->n_recoveries < MAX_RECOVERIES) {
		update->n_recoveries++;
		update->recovering = true;
		dsud_log(LOG_WARNING, "update %llu: the worker %s; another one settles its work",
			 (unsigned long long)update->number, update->death);
		start_worker(update, UPD_RECOVER);
		return;
	}
	snprintf(text, sizeof(text),
		 "The worker %s, and so did %d more that were to settle its work. What became of "
		 "the processes is not known: see 'dsuctl status'. The journal is kept in %s, and "
		 "dsud tries again.",
		 update->death, MAX_RECOVERIES, update->registry->state_dir->path);
	dsud_log(LOG_ERR, "update %llu: %s", (unsigned long long)update->number, text);
	settle_failed(update, INJ_INTERNAL, text, true);
}

static void describe_death(struct dsud_update *update, const struct dsud_wire_reader *reader,
			   const struct dsud_worker_end *end)
{
	const char *phase = update->progress.phase[0] ? update->progress.phase : "start";
	char cause[160];

	if (end->overdue)
		snprintf(cause, sizeof(cause), "hung and was killed");
	else if (end->signal)
		snprintf(cause, sizeof(cause), "was killed by signal %d (%s)", end->signal,
			 sigdescr_np(end->signal) ?: "unknown");
	else if (reader->done && reader->result < 0)
		snprintf(cause, sizeof(cause), "failed (%s)",
			 strerrordesc_np(-reader->result) ?: "unknown error");
	else
		snprintf(cause, sizeof(cause), "ended without telling what it did");
	snprintf(update->death, sizeof(update->death), "%s in the phase '%s'", cause, phase);
}

static bool answered_lawfully(const struct dsud_update *update, struct dsud_wire_reader *reader,
			      const struct dsud_worker_end *end)
{
	return end->complete && reader->result == 0 && reader->has_report[DSUD_WIRE_OUTCOME] &&
	       dsud_outcome_fits(&update->order, &reader->reports[DSUD_WIRE_OUTCOME]);
}

/*
 * What a question saw of a process is news unless an update was at work on it meanwhile: that one
 * brings its own, later picture.
 */
static bool is_current(const struct dsud_registry *registry, pid_t pid, uint64_t changes_seen)
{
	for (struct dsud_update *other = registry->first; other; other = other->next) {
		bool meanwhile =
			other->state == DSUD_RUNNING || other->change_number > changes_seen;

		if (!dsud_kind_changes(other->order.kind) || !meanwhile)
			continue;
		for (size_t i = 0; i < other->order.n_subjects; i++)
			if (other->order.subjects[i].pid == pid)
				return false;
	}
	return true;
}

static void take_ledgers(struct dsud_registry *registry, struct upd_report *ledgers)
{
	for (size_t i = 0; i < ledgers->n_targets; i++) {
		struct upd_target *seen = &ledgers->targets[i];
		int r = seen->code == 0 ? dsud_targets_learn(&registry->targets, seen) : 0;

		if (r < 0)
			dsud_log_errno(LOG_ERR, r, "cannot keep watch over process %d",
				       (int)seen->pid);
	}
}

static bool saw(const struct upd_report *report, pid_t pid)
{
	for (size_t i = 0; i < report->n_targets; i++)
		if (report->targets[i].pid == pid)
			return true;
	return false;
}

/* A scan that met nothing of ours in a known target: it runs another program now. */
static void forget_unseen(struct dsud_registry *registry, const struct upd_report *report,
			  uint64_t changes_seen)
{
	for (size_t i = registry->targets.n; i-- > 0;) {
		struct upd_target nothing = {.pid = registry->targets.list[i]->pid};

		if (!saw(report, nothing.pid) && is_current(registry, nothing.pid, changes_seen))
			dsud_targets_learn(&registry->targets, &nothing);
	}
}

static void finish_question(struct dsud_update *update, struct upd_report *report)
{
	struct dsud_registry *registry = update->registry;
	enum upd_kind kind = update->order.kind;
	bool scan = update->order.scan;
	uint64_t changes_seen = update->changes_seen;

	if (kind == UPD_STATUS)
		dsud_unsettled_tell(registry, &update->order, report);
	/* This frees the update. The answer is sent before the contents of the report change hands.
	 */
	settle(update, report, false);
	if (kind != UPD_STATUS)
		return;
	if (scan)
		forget_unseen(registry, report, changes_seen);
	for (size_t i = 0; i < report->n_targets; i++)
		if (!is_current(registry, report->targets[i].pid, changes_seen))
			report->targets[i].code = INJ_BUSY;
	take_ledgers(registry, report);
}

/* Words of the worker, before they are put into a longer story. */
static void note_trouble(struct dsud_update *update, const struct upd_report *report)
{
	const struct upd_target *target = dsud_outcome_unsettled(report);

	for (size_t i = 0; !target && i < report->n_targets; i++)
		target = report->targets[i].code ? &report->targets[i] : NULL;
	if (target)
		snprintf(update->trouble, sizeof(update->trouble), "%s", target->message);
}

static const char still_unsettled[] =
	"Something of the update may be left in this process. dsud keeps trying to put it right; "
	"see 'dsuctl status'.";

static void finish_change(struct dsud_update *update, struct dsud_wire_reader *reader)
{
	struct upd_report *report = &reader->reports[DSUD_WIRE_OUTCOME];
	struct upd_report *ledgers = &reader->reports[DSUD_WIRE_LEDGERS];

	dsud_outcome_mark_unfinished(report, ledgers);
	take_ledgers(update->registry, ledgers);
	note_trouble(update, report);
	if (update->recovering)
		dsud_outcome_tell_unsettled(update, report);
	if (update->recovering && update->order.kind != UPD_RECOVER)
		dsud_outcome_of_recovery(update, report);
	for (size_t i = 0; i < report->n_targets; i++)
		if (report->targets[i].unsettled)
			dsud_outcome_note(&report->targets[i], still_unsettled);
	settle(update, report, false);
}

static void fail_question(struct dsud_update *update)
{
	char text[512];

	if (update->cancel_asked) {
		settle_failed(update, INJ_CANCELLED, "The question was taken back.", false);
		return;
	}
	snprintf(text, sizeof(text),
		 "The worker %s; nothing was changed. Try again, and report this if it happens "
		 "twice.",
		 update->death);
	settle_failed(update, INJ_INTERNAL, text, false);
}

static void on_finished(void *context, struct dsud_wire_reader *reader,
			const struct dsud_worker_end *end)
{
	struct dsud_update *update = context;
	struct dsud_worker *worker = INJ_TAKE(update->worker);
	bool changes = dsud_kind_changes(update->order.kind);

	if (!answered_lawfully(update, reader, end)) {
		describe_death(update, reader, end);
		if (changes)
			recover_or_give_up(update);
		else
			fail_question(update);
	} else if (changes) {
		finish_change(update, reader);
	} else {
		finish_question(update, &reader->reports[DSUD_WIRE_OUTCOME]);
	}
	dsud_worker_free(worker);
}

static void on_progress(void *context, const struct dsud_wire_progress *progress)
{
	struct dsud_update *update = context;
	bool is_new_phase = strcmp(update->progress.phase, progress->phase) != 0;
	bool is_new_attempt = update->progress_told_attempt != progress->attempt;

	update->progress = *progress;
	if (!dsud_update_is_listed(update))
		return;
	if (!is_new_phase && !(is_new_attempt && progress->attempt <= ATTEMPTS_TOLD_AT_ONCE) &&
	    inj_now_ns() - update->progress_told_ns < PROGRESS_INTERVAL_NS)
		return;
	if (is_new_phase || is_new_attempt)
		update->registry->events->update_changed(update->registry->context, update);
	update->progress_told_ns = inj_now_ns();
	update->progress_told_attempt = progress->attempt;
	update->registry->events->update_progress(update->registry->context, update);
}

static const struct dsud_worker_events worker_events = {
	.progress = on_progress,
	.finished = on_finished,
};

static void start_worker(struct dsud_update *update, enum upd_kind kind)
{
	const struct dsud_order *order = &update->order;
	bool recover = kind == UPD_RECOVER;
	struct dsud_job job = {
		.kind = kind,
		.scan = order->scan,
		.ledgers_after = dsud_kind_changes(kind),
		.patch_fd = recover ? -1 : order->patch_fd,
		.patch_name = order->patch_name,
		.patch_id = order->patch_id,
		.protocol = order->protocol,
		.timeout_ns = recover ? RECOVERY_NS : order->timeout_ns,
		.grace_ns = update->registry->grace_ns,
		.hold_budget_ns = order->hold_budget_ns,
		.subjects = order->subjects,
		.n_subjects = order->n_subjects,
		.journal_fd = update->journal_fd,
	};
	char text[512];
	int r;

	memcpy(job.update_id, update->id, sizeof(job.update_id));
	r = dsud_worker_start(update->registry->event, &job, &worker_events, update,
			      &update->worker);
	if (r >= 0)
		return;
	snprintf(text, sizeof(text), "No worker can be started (%s). Make room for processes%s",
		 strerrordesc_np(-r) ?: "unknown error",
		 recover ? "; the journal is kept, and dsud tries again."
			 : " and try again; nothing was changed.");
	dsud_log(LOG_ERR, "update %llu: %s", (unsigned long long)update->number, text);
	settle_failed(update, INJ_INTERNAL, text, recover);
}

void dsud_update_start(struct dsud_update *update)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	update->state = DSUD_RUNNING;
	update->started_usec = (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
	update->changes_seen = update->registry->n_changes;
	update->recovering = update->order.kind == UPD_RECOVER;
	snprintf(update->progress.phase, sizeof(update->progress.phase), "%s",
		 update->recovering ? "recover" : "start");
	if (dsud_update_is_listed(update))
		update->registry->events->update_changed(update->registry->context, update);
	start_worker(update, update->order.kind);
}

void dsud_update_cancel(struct dsud_update *update)
{
	if (dsud_update_is_settled(update) || update->cancel_asked ||
	    update->order.kind == UPD_RECOVER)
		return;
	update->cancel_asked = true;
	if (update->state == DSUD_QUEUED)
		settle_failed(update, INJ_CANCELLED,
			      "Cancelled before it began; nothing was changed.", false);
	else if (update->worker && !update->recovering)
		dsud_worker_cancel(update->worker);
}
