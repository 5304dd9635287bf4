/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_PLAN_H
#define UPD_PLAN_H

#include "injector/image/image.h"
#include "injector/redirect/arrivals.h"
#include "protocols/subject.h"
#include "protocols/unwinder.h"

/* One piece of code that functions of the patch lie in, as it was compiled. */
struct upd_code {
	inj_addr address;
	const uint8_t *bytes;
	size_t n;
	uint8_t *copy;                 /* owned; NULL when bytes are the module's */
	struct inj_arrivals *arrivals; /* at all replaced functions in it */
};

/* One function of the target and what becomes of it. */
struct upd_change {
	const struct inj_replacement *wanted; /* in the patch */
	struct inj_symbol symbol;      /* what its name means in the target */
	inj_addr entry;                /* what gets the redirect: the symbol, or the newest
					  replacement of it */
	uint64_t size;
	const struct inj_ledger *below; /* the update that put `entry` there, NULL for the program's
					   own code */
	struct inj_range near;         /* the stub must reach all of this */
	const struct upd_code *code;   /* that `entry` lies in; NULL once its callers are known */
	struct inj_range *parts;       /* owned: the same function's code elsewhere, clones that end
					  with it among them */
	size_t n_parts;
	struct inj_site site;
	struct inj_stub stub;
	inj_addr stub_address;
	inj_addr replacement;
	struct inj_code_write writes[2];
	size_t n_writes;
	unsigned cluster;
};

/* Another name of a function that is replaced, with which the patch replaces it as well. */
struct upd_twin {
	const struct inj_replacement *wanted;
	inj_addr address;
};

/* Sites that can share one area of stubs. */
struct upd_cluster {
	struct inj_range near;
	size_t n_changes;
	inj_addr stubs;
	size_t stubs_bytes;
	inj_addr frames;
	size_t frames_bytes;
	size_t stubs_offset, frames_offset; /* in the memfd */
	uint8_t *stubs_data, *frames_data;  /* the bytes, owned */
};

#define UPD_MAX_CLUSTERS 8
#define UPD_MAX_NOTES 16
#define UPD_PADS_BYTES (2 * INJ_PAGE_BYTES)
#define UPD_PAD_FRAMES_BYTES (2 * INJ_PAGE_BYTES)

/* What will be done to one target, decided before anything is touched. */
struct upd_plan {
	const struct inj_patch *patch; /* borrowed */
	struct inj_image *image;
	struct upd_change *changes;
	size_t n_changes;
	struct upd_twin *twins;
	size_t n_twins;
	struct upd_code *codes;
	size_t n_codes;
	struct inj_binding *bindings; /* one per external of the patch */
	size_t n_ifuncs;               /* bindings that no module of the target has made yet */
	struct upd_cluster clusters[UPD_MAX_CLUSTERS];
	size_t n_clusters;
	struct dsu_ledger_area areas[DSU_N_UNWIND_OBJECTS + 20];
	size_t n_areas;
	size_t memfd_bytes;
	size_t home_bytes;      /* what lies in one piece, from the record on */
	size_t control_offset;
	inj_addr control;
	inj_addr ledger;
	inj_addr image_base;
	size_t image_offset;
	inj_addr pads, pad_frames; /* return pads and their unwind table */
	size_t pads_offset, pad_frames_offset;
	uint8_t pads_data[UPD_PADS_BYTES], pad_frames_data[UPD_PAD_FRAMES_BYTES];
	inj_addr scratch;       /* 0 when no remote call is needed */
	size_t scratch_bytes, scratch_offset;
	inj_addr call_pad;
	struct upd_unwinder unwinder;
	uint64_t sequence;
	void *ledger_bytes;     /* finished record */
	size_t n_ledger_bytes;
	bool needs_guard;       /* the commit is more than stores of whole stub jumps */
	char *notes[UPD_MAX_NOTES];
	size_t n_notes;
};

/*
 * Decide everything for one target.
 * subject: opened; patch: borrowed for the plan's life; update_id, n_members (targets of the
 *   update), protocol: for the record.
 * State: running; nothing is touched.
 * Return: 0 and subject->plan, which upd_plan_free() ends, also after an error.
 * Errors: every refusal of resolving, examining, linking and placing; the story is in subject->why.
 * Source: docs/protocols.md.
 */
int upd_plan_make(struct upd_subject *subject, const struct inj_patch *patch,
		  const uint8_t update_id[16], uint32_t n_members, const char *protocol);

/*
 * Free a plan and all that it owns.
 * plan: NULL and half-made ones are fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_plan_free(struct upd_plan *plan);

/*
 * Link the patch for its place and write the whole plan down as a blueprint.
 * plan: made; ret_bytes: malloc'ed, the caller's; ret_n: their number.
 * State: any; the target is not looked at.
 * Return: 0.
 * Errors: as inj_image_link(); -ENOMEM; -E2BIG (beyond the bounds of a blueprint).
 * Source: protocols/blueprint.h.
 */
int upd_plan_write(const struct upd_plan *plan, void **ret_bytes, size_t *ret_n,
		   struct inj_why *why);

/*
 * Steps of upd_plan_make(), in their own files and in this order: what the patch's names mean, the
 * code around them, their parts elsewhere, their namesakes and copies, their direct callers, what
 * the patch's own undefined symbols mean, where all will lie, the record of it.
 * subject, plan: of upd_plan_make(), as the steps before left them; why: of the caller.
 * State: running; nothing is touched.
 * Return: 0.
 * Errors: the refusals that docs/safety.md lists; -ENOMEM; other negative errno of reading.
 * Source: docs/protocols.md.
 */
int upd_plan_resolve(struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why);
int upd_plan_code(struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why);
int upd_plan_parts(const struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why);
int upd_plan_family(const struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why);
int upd_plan_callers(const struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why);
int upd_plan_bind(struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why);
int upd_plan_place(struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why);
int upd_plan_record(struct upd_subject *subject, struct upd_plan *plan, const uint8_t update_id[16],
		    uint32_t n_members, const char *protocol, struct inj_why *why);

/*
 * Let a look at a function see the code around it: where jumps back into it, and calls, may stand.
 * change: with its code; text: code, code_address, n_code and arrivals are set, borrowed from the
 *   plan.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_change_show_code(const struct upd_change *change, struct inj_text *text);

/*
 * Note code elsewhere that is part of the function.
 * range: in the target.
 * State: any.
 * Return: 0.
 * Errors: -ENOMEM.
 * Source: none.
 */
int upd_change_add_part(struct upd_change *change, struct inj_range range);

/*
 * Callers were looked at: let go of the code that only they needed.
 * plan: any; its changes have no code afterwards.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_plan_forget_code(struct upd_plan *plan);

/*
 * Put what the target uses for an IFUNC in place of it: the change's symbol. Part of
 * upd_plan_resolve().
 * change: resolved; one that is no IFUNC stays as it is.
 * State: running.
 * Return: 0.
 * Errors: INJ_NO_SUCH_SYMBOL (the target has not chosen, or has chosen code without a name).
 * Source: inj_resolve_ifunc_bound().
 */
int upd_plan_follow_ifunc(const struct upd_subject *subject, struct upd_plan *plan,
			  struct upd_change *change, struct inj_why *why);

/*
 * Add a remark for the report.
 * format: as printf(3).
 * State: any.
 * Return: nothing.
 * Errors: none; beyond UPD_MAX_NOTES, and when memory is short, a remark is dropped.
 * Source: none.
 */
void upd_plan_note(struct upd_plan *plan, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
