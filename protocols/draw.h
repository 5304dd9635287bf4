/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_DRAW_H
#define UPD_DRAW_H

#include "protocols/run.h"

/*
 * Ask what the patch of the request is.
 * reader: any of the request.
 * State: any.
 * Return: 0 and run->patch_id.
 * Errors: as inj_patch_open() and upd_reader_ask().
 * Source: docs/patch-format.md.
 */
int upd_ask_patch(struct upd_run *run, struct upd_reader *reader, struct inj_why *why);

/*
 * Have the plan of one target made, and check what comes back.
 * subject: opened; n_members: targets of the update, for the record.
 * State: running; nothing is touched.
 * Return: 0 and subject->blueprint.
 * Errors: every refusal of planning; INJ_BAD_PATCH (a blueprint against the rules); the story is in
 *   subject->why.
 * Source: docs/safety.md.
 */
int upd_draw(const struct upd_run *run, struct upd_subject *subject, uint32_t n_members);

/*
 * What the target itself unwinds with.
 * functions: its addresses as well, not only whether it may; ret: untouched on failure.
 * State: any.
 * Return: 0.
 * Errors: those of upd_subject_reader() and upd_reader_ask().
 * Source: protocols/unwinder.h.
 */
int upd_look_for_unwinder(struct upd_subject *subject, bool functions, struct upd_unwinder *ret,
			  struct inj_why *why);

#endif
