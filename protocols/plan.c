/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The plan of one target, step by step: what the patch's names mean there, what its own undefined
 * symbols mean, where everything will lie, and the record of it all. Nothing of the target is
 * touched while a plan is made, so a refusal at any step leaves it as it was.
 */
#include "protocols/plan.h"

#include <stdarg.h>
#include <sys/mman.h>

#include "protocols/blueprint.h"

static int refuse_applied(const struct upd_subject *subject, const struct inj_patch *patch,
			  struct inj_why *why)
{
	const struct inj_ledger *active = inj_history_active(&subject->history, patch->id);

	if (!active)
		return 0;
	return inj_refuse(why, INJ_ALREADY_APPLIED,
			  "Patch %s is active in process %d already (version %s). Revert it first, "
			  "or give the new patch another id.",
			  patch->id, subject->pid,
			  inj_ledger_string(active, active->record->patch_version));
}

/* What was free when the facts were read may be taken by now; addresses are chosen by the newest
 * map. */
static int look_again(struct upd_subject *subject, struct inj_why *why)
{
	struct inj_maps *maps;
	int r = inj_maps_read(subject->process, &maps, why);

	if (r != 0)
		return r;
	inj_maps_free(subject->maps);
	subject->maps = maps;
	return 0;
}

int upd_plan_make(struct upd_subject *subject, const struct inj_patch *patch,
		  const uint8_t update_id[16], uint32_t n_members, const char *protocol)
{
	struct inj_why why = {};
	struct upd_plan *plan = calloc(1, sizeof(*plan));
	int r;

	if (!plan)
		return upd_subject_fail(subject, inj_broke(&why, -ENOMEM, "making a plan"), &why);
	plan->patch = patch;
	subject->plan = plan;
	r = upd_subject_refuse_unknown(subject, &why);
	if (r == 0)
		r = refuse_applied(subject, patch, &why);
	if (r == 0)
		r = upd_plan_resolve(subject, plan, &why);
	if (r == 0)
		r = upd_plan_parts(subject, plan, &why);
	if (r == 0)
		r = upd_plan_family(subject, plan, &why);
	if (r == 0)
		r = upd_plan_callers(subject, plan, &why);
	upd_plan_forget_code(plan);
	if (r == 0)
		r = inj_image_layout(patch, &plan->image, &why);
	if (r == 0)
		r = upd_plan_bind(subject, plan, &why);
	if (r == 0)
		r = look_again(subject, &why);
	if (r == 0)
		r = upd_plan_place(subject, plan, &why);
	if (r == 0)
		r = upd_plan_record(subject, plan, update_id, n_members, protocol, &why);
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

int upd_change_add_part(struct upd_change *change, struct inj_range range)
{
	struct inj_range *grown = reallocarray(change->parts, change->n_parts + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	change->parts = grown;
	grown[change->n_parts++] = range;
	return 0;
}

int upd_plan_write(const struct upd_plan *plan, void **ret_bytes, size_t *ret_n,
		   struct inj_why *why)
{
	INJ_CLEANUP(inj_late_words_deinit) struct inj_late_words late = {};
	const size_t n = plan->image->bytes;
	/* Large and empty for the most part, as .bss is. */
	uint8_t *image = mmap(NULL, n, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int r;

	if (image == MAP_FAILED)
		return inj_broke(why, -errno, "linking the patch");
	r = inj_image_link(plan->image, plan->image_base, plan->bindings, image, &late, why);
	if (r == 0) {
		r = upd_blueprint_write(plan, &late, image, ret_bytes, ret_n);
		if (r < 0)
			inj_broke(why, r, "writing the plan down");
	}
	munmap(image, n);
	return r;
}

void upd_plan_note(struct upd_plan *plan, const char *format, ...)
{
	va_list arguments;
	char *text;

	if (plan->n_notes >= UPD_MAX_NOTES)
		return;
	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) >= 0) {
		inj_printable(text);
		plan->notes[plan->n_notes++] = text;
	}
	va_end(arguments);
}

void upd_plan_free(struct upd_plan *plan)
{
	if (!plan)
		return;
	for (size_t i = 0; i < plan->n_clusters; i++) {
		free(plan->clusters[i].stubs_data);
		free(plan->clusters[i].frames_data);
	}
	for (size_t i = 0; i < plan->n_notes; i++)
		free(plan->notes[i]);
	inj_image_free(plan->image);
	for (size_t i = 0; i < plan->n_changes; i++)
		free(plan->changes[i].parts);
	free(plan->changes);
	free(plan->twins);
	free(plan->bindings);
	free(plan->ledger_bytes);
	free(plan);
}
