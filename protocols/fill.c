/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From facts, plans and ledgers to the report: words and numbers for people and programs. */
#include "protocols/fill.h"

#include <stdio.h>
#include <string.h>

#define MAX_UNKNOWN 64

void upd_fill_string(char **field, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return;
	inj_printable(copy);
	free(*field);
	*field = copy;
}

/* One more zeroed element at the end of a table; NULL when memory is out. */
static void *grow(void *table, size_t *n, size_t bytes)
{
	void **items = table;
	uint8_t *grown = reallocarray(*items, *n + 1, bytes);

	if (!grown)
		return NULL;
	*items = grown;
	memset(grown + *n * bytes, 0, bytes);
	return grown + (*n)++ * bytes;
}

void upd_fill_identity(struct upd_target *target, const struct inj_process *process)
{
	upd_fill_string(&target->comm, process->comm);
	upd_fill_string(&target->exe, process->exe);
}

void upd_fill_phase(struct upd_target *target, const char *name, uint64_t ns)
{
	struct upd_phase *phase = grow(&target->phases, &target->n_phases, sizeof(*phase));

	if (!phase)
		return;
	phase->ns = ns;
	upd_fill_string(&phase->name, name);
}

static void clear_blockers(struct upd_target *target)
{
	for (size_t i = 0; i < target->n_blockers; i++) {
		free(target->blockers[i].comm);
		free(target->blockers[i].function);
	}
	free(target->blockers);
	target->blockers = NULL;
	target->n_blockers = 0;
}

void upd_fill_blockers(struct upd_target *target, const struct inj_process *process,
		       const struct inj_activity *activity, const char *const *names,
		       size_t n_names)
{
	clear_blockers(target);
	if (!process)
		return;
	for (size_t i = 0; i < activity->n_hits; i++) {
		const struct inj_hit *hit = &activity->hits[i];
		struct upd_blocker *blocker =
			grow(&target->blockers, &target->n_blockers, sizeof(*blocker));
		struct inj_status status;

		if (!blocker)
			return;
		blocker->tid = hit->tid;
		blocker->frame = hit->frame;
		blocker->address = hit->address;
		blocker->reliable = hit->reliable;
		upd_fill_string(&blocker->function, hit->tag < n_names ? names[hit->tag] : "?");
		upd_fill_string(&blocker->comm, inj_status_read(process, hit->tid, &status) == 0
							? status.comm
							: "");
	}
}

static struct upd_function *add_function(struct upd_function **table, size_t *n)
{
	return grow(table, n, sizeof(**table));
}

static void fill_sites(struct upd_function **table, size_t *n, const struct inj_ledger *ledger)
{
	for (size_t i = 0; i < ledger->record->n_sites; i++) {
		const struct dsu_ledger_site *site = &ledger->sites[i];
		struct upd_function *function = add_function(table, n);

		if (!function)
			return;
		upd_fill_string(&function->module, inj_ledger_string(ledger, site->module));
		upd_fill_string(&function->build_id, inj_ledger_string(ledger, site->build_id));
		upd_fill_string(&function->name, inj_ledger_string(ledger, site->name));
		upd_fill_string(&function->new_name, inj_ledger_string(ledger, site->new_name));
		function->address = site->address;
		function->replacement = site->replacement;
		function->via_jump = site->kind == INJ_SITE_LATE;
	}
}

void upd_fill_ledger(struct upd_target *target, const struct inj_ledger *ledger)
{
	const struct dsu_ledger *record = ledger->record;

	upd_fill_string(&target->patch, inj_ledger_string(ledger, record->patch_id));
	upd_fill_string(&target->patch_version, inj_ledger_string(ledger, record->patch_version));
	upd_fill_string(&target->protocol, inj_ledger_string(ledger, record->protocol));
	fill_sites(&target->functions, &target->n_functions, ledger);
}

void upd_fill_note(struct upd_target *target, const char *text)
{
	char **note = grow(&target->notes, &target->n_notes, sizeof(*note));

	if (note)
		upd_fill_string(note, text);
}

void upd_fill_blueprint(struct upd_target *target, const struct upd_blueprint *blueprint)
{
	const char *note = blueprint->notes;
	const char *end = note + blueprint->sheet->n_note_bytes;
	const struct dsu_ledger *record = blueprint->record->record;

	upd_fill_string(&target->patch, upd_blueprint_patch_id(blueprint));
	upd_fill_string(&target->patch_version,
			inj_ledger_string(blueprint->record, record->patch_version));
	fill_sites(&target->functions, &target->n_functions, blueprint->record);
	for (; note < end && target->n_notes < UPD_REPORT_MAX_NOTES; note += strlen(note) + 1)
		upd_fill_note(target, note);
}

static const char *state_of(const struct inj_ledger *ledger)
{
	if (inj_ledger_active(ledger))
		return "active";
	return ledger->control.phase == DSU_PHASE_STAGED ? "staged" : "reverting";
}

static void fill_unknown(struct upd_target *target, const struct inj_unknown_ledger *unknown)
{
	struct upd_patch_state *state =
		grow(&target->patches, &target->n_patches, sizeof(*state));
	char **note = grow(&target->notes, &target->n_notes, sizeof(*note));
	char text[512];

	if (state) {
		upd_fill_string(&state->id, unknown->patch_id);
		upd_fill_string(&state->state, "unknown");
		upd_fill_string(&state->version, "");
		upd_fill_string(&state->digest, "");
		upd_fill_string(&state->protocol, "");
	}
	snprintf(text, sizeof(text),
		 "Patch %s was applied by another version of dsud (ledger format %u, and this one "
		 "knows %u). Only that version can change this process.",
		 unknown->patch_id, unknown->version, DSU_LEDGER_VERSION);
	if (note)
		upd_fill_string(note, text);
}

static void fill_known(struct upd_target *target, const struct inj_ledger *ledger)
{
	const struct dsu_ledger *record = ledger->record;
	struct upd_patch_state *state =
		grow(&target->patches, &target->n_patches, sizeof(*state));

	if (!state)
		return;
	upd_fill_string(&state->id, inj_ledger_string(ledger, record->patch_id));
	upd_fill_string(&state->version, inj_ledger_string(ledger, record->patch_version));
	upd_fill_string(&state->digest, inj_ledger_string(ledger, record->patch_digest));
	upd_fill_string(&state->protocol, inj_ledger_string(ledger, record->protocol));
	upd_fill_string(&state->state, state_of(ledger));
	state->applied_at_ns = ledger->control.applied_at_ns;
	fill_sites(&state->functions, &state->n_functions, ledger);
}

/* A target may forge as many records as it likes: what is beyond the bounds of a report is left
 * out. */
void upd_fill_patches(struct upd_target *target, const struct inj_history *history)
{
	size_t n_left_out = 0;
	char note[64];

	for (size_t i = 0; i < history->n_unknown && i < MAX_UNKNOWN; i++)
		fill_unknown(target, &history->unknown[i]);
	for (size_t i = 0; i < history->n_ledgers; i++) {
		const struct inj_ledger *ledger = history->ledgers[i];

		if (!ledger->complete || (!inj_ledger_active(ledger) &&
					  ledger->control.phase == DSU_PHASE_REVERTED))
			continue;
		if (target->n_patches < UPD_REPORT_MAX_PATCHES)
			fill_known(target, ledger);
		else
			n_left_out++;
	}
	if (n_left_out > 0) {
		snprintf(note, sizeof(note), "%zu more patches are not listed", n_left_out);
		upd_fill_note(target, note);
	}
}

static enum upd_result result_of(const struct upd_subject *subject)
{
	switch (subject->code) {
	case INJ_BLOCKED:
		return UPD_BLOCKED;
	case INJ_NO_SUCH_PROCESS:
	case INJ_PROCESS_GONE:
		return UPD_GONE;
	case INJ_CANCELLED:
		return UPD_UNCHANGED;
	case INJ_INTERNAL:
	case INJ_HOOK_FAILED:
		return UPD_FAILED;
	default:
		return subject->code > 0 ? UPD_REFUSED : UPD_FAILED;
	}
}

void upd_fill_outcome(struct upd_target *target, const struct upd_subject *subject,
		      enum upd_result good)
{
	if (subject->process)
		upd_fill_identity(target, subject->process);
	target->result = subject->code ? result_of(subject) : good;
	target->code = subject->code == 0 ? 0 :
		       subject->why.code  ? subject->why.code :
					    INJ_INTERNAL;
	upd_fill_string(&target->message, subject->code ? subject->why.text : "");
	/* A process that vanished is gone, whatever broke first because of it. */
	if (target->code == INJ_PROCESS_GONE)
		target->result = UPD_GONE;
}
