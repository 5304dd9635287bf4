/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The question where all threads are: registers and stacks are copied under one short hold, walked
 * afterwards, and frames in replaced functions, in their replacements and, when a patch is given,
 * in what it would replace are marked.
 */
#include <stdio.h>
#include <string.h>

#include "protocols/draw.h"
#include "protocols/fill.h"
#include "protocols/quiesce.h"
#include "protocols/walk.h"

#define MAX_FRAMES 64
#define MAX_STACK_BYTES (256u << 10)

static const char *mark_of(const struct upd_subject *subject, inj_addr pc)
{
	const struct upd_blueprint *blueprint = subject->blueprint;

	for (size_t i = 0; i < subject->history.n_ledgers; i++) {
		const struct inj_ledger *ledger = subject->history.ledgers[i];
		const struct dsu_ledger *record = ledger->record;

		if (!ledger->complete)
			continue;
		if (pc - record->image_base < record->image_bytes)
			return "replacement";
		for (size_t j = 0; j < record->n_sites; j++) {
			const struct dsu_ledger_site *site = &ledger->sites[j];

			if (pc - site->stub < site->stub_bytes)
				return "stub";
			if (inj_ledger_active(ledger) && pc - site->address < site->size)
				return "patched";
		}
	}
	for (size_t i = 0; blueprint && i < blueprint->record->record->n_sites; i++)
		if (pc - blueprint->record->sites[i].address < blueprint->record->sites[i].size)
			return "to-be-patched";
	return "";
}

/* Names in our own images come from the ledger; the program's from its symbols. */
static bool name_own(const struct upd_subject *subject, inj_addr pc, struct upd_frame *frame)
{
	for (size_t i = 0; i < subject->history.n_ledgers; i++) {
		const struct inj_ledger *ledger = subject->history.ledgers[i];
		const struct dsu_ledger *record = ledger->record;
		char module[INJ_PATCH_ID_MAX + 8];

		if (!ledger->complete || pc - record->image_base >= record->image_bytes)
			continue;
		snprintf(module, sizeof(module), "dsu:%s",
			 inj_ledger_string(ledger, record->patch_id));
		upd_fill_string(&frame->module, module);
		for (size_t j = 0; j < record->n_sites; j++) {
			const struct dsu_ledger_site *site = &ledger->sites[j];

			if (pc - site->replacement >= site->replacement_size)
				continue;
			upd_fill_string(&frame->function,
					inj_ledger_string(ledger, site->new_name));
			frame->offset = pc - site->replacement;
		}
		return true;
	}
	return false;
}

static inj_addr look_at(const struct inj_frame *frame)
{
	return frame->is_call ? frame->pc - 1 : frame->pc;
}

static void fill_frame(const struct upd_subject *subject, const struct inj_frame *from,
		       const struct upd_name *name, struct upd_frame *frame)
{
	frame->address = from->pc;
	upd_fill_string(&frame->function, "");
	upd_fill_string(&frame->module, name->module);
	upd_fill_string(&frame->mark, mark_of(subject, look_at(from)));
	if (name_own(subject, look_at(from), frame) || !name->address)
		return;
	upd_fill_string(&frame->function, name->function);
	frame->offset = from->pc - name->address;
}

static int fill_frames(struct upd_subject *subject, const struct inj_frame *frames, size_t n,
		       struct upd_thread *thread, struct inj_why *why)
{
	INJ_CLEANUP(upd_names_deinit) struct upd_names names = {};
	inj_addr addresses[MAX_FRAMES];
	int r;

	for (size_t i = 0; i < n; i++)
		addresses[i] = look_at(&frames[i]);
	r = upd_walk_names(subject, addresses, n, &names, why);
	if (r != 0)
		return r;
	thread->frames = calloc(n ? n : 1, sizeof(*thread->frames));
	if (!thread->frames)
		return inj_broke(why, -ENOMEM, "listing the frames of thread %d", thread->tid);
	for (size_t i = 0; i < n; i++)
		fill_frame(subject, &frames[i], &names.items[i], &thread->frames[i]);
	thread->n_frames = n;
	return 0;
}

static int fill_thread(struct upd_subject *subject, const struct inj_hold *hold, size_t index,
		       struct upd_thread *thread, struct inj_why *why)
{
	struct inj_frame frames[MAX_FRAMES];
	struct inj_status status;
	size_t n = 0;
	int r;

	thread->tid = hold->threads[index].tid;
	upd_fill_string(&thread->comm, inj_status_read(subject->process, thread->tid, &status) == 0
					       ? status.comm
					       : "");
	r = upd_walk_stack(subject, hold, index, frames, MAX_FRAMES, &n, &thread->reliable, why);
	return r ? r : fill_frames(subject, frames, n, thread, why);
}

/* The hold's list dies with the hold; the walk comes after it. */
static int copy_hold(const struct inj_hold *hold, struct inj_hold *ret)
{
	struct inj_thread *threads =
		calloc(hold->n_threads ? hold->n_threads : 1, sizeof(*threads));

	if (!threads)
		return -ENOMEM;
	memcpy(threads, hold->threads, hold->n_threads * sizeof(*threads));
	*ret = (struct inj_hold){
		.process = hold->process, .threads = threads, .n_threads = hold->n_threads,
	};
	return 0;
}

static int snapshot(struct upd_run *run, struct upd_subject *subject, struct inj_hold *ret,
		    struct upd_target *target, struct inj_why *why)
{
	const struct inj_process *process = subject->process;
	struct inj_hold *holds;
	int r = inj_tracer_hold(run->tracer, &process, 1, run->deadline_ns, run->hold_budget_ns,
				&holds, why);

	if (r != 0)
		return r;
	r = upd_walk_snapshot(subject, &holds[0], MAX_STACK_BYTES, why);
	if (r == 0)
		r = copy_hold(&holds[0], ret);
	inj_tracer_release(run->tracer, &target->held_ns);
	target->attempts = 1;
	return r;
}

static int list_one(struct upd_run *run, struct upd_subject *subject, struct upd_target *target)
{
	struct inj_hold hold = {};
	struct inj_why why = {};
	int r = upd_walk_prepare(subject);

	if (r != 0)
		return r;
	r = snapshot(run, subject, &hold, target, &why);
	if (r == 0) {
		target->threads =
			calloc(hold.n_threads ? hold.n_threads : 1, sizeof(*target->threads));
		r = target->threads ? 0 : -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < hold.n_threads; i++) {
		r = fill_thread(subject, &hold, i, &target->threads[i], &why);
		target->n_threads_listed += r == 0;
	}
	free(hold.threads);
	target->n_threads = (unsigned)target->n_threads_listed;
	if (r == -ENOMEM)
		inj_broke(&why, r, "listing the threads of process %d", subject->pid);
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

void upd_stacks(struct upd_run *run)
{
	struct inj_why why = {};
	int r = run->tracer ? 0 : inj_tracer_new(&run->tracer);

	if (r < 0) {
		upd_run_fail_all(run, inj_broke(&why, r, "preparing to hold the targets"), &why);
		return;
	}
	for (size_t i = 0; i < run->n_subjects; i++) {
		struct upd_subject *subject = &run->subjects[i];

		if (subject->code != 0)
			continue;
		if (run->request->patch_fd >= 0 && upd_draw(run, subject, 1) != 0)
			continue;
		list_one(run, subject, &run->report->targets[i]);
	}
}
