/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The facts of one target: identity, mappings, modules, ledgers. Everything here is read while the target runs and may be
 * stale by the time it is used; whoever changes something compares bytes first.
 */
#include "protocols/subject.h"

int upd_subject_fail(struct upd_subject *subject, int code, const struct inj_why *why)
{
	if (subject->code == 0) {
		subject->code = code;
		if (why != &subject->why)
			subject->why = *why;
	} else if (why != &subject->why) {
		inj_why_append(&subject->why, why);
	}
	return code;
}

int upd_subject_refresh(struct upd_subject *subject)
{
	struct inj_why why = {};
	int r;

	inj_maps_free(INJ_TAKE(subject->maps));
	inj_history_deinit(&subject->history);
	r = inj_maps_read(subject->process, &subject->maps, &why);
	if (r == 0)
		r = inj_history_read(subject->process, subject->maps, &subject->history, &why);
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

int upd_subject_open(struct upd_subject *subject)
{
	struct inj_why why = {};
	int r;

	subject->space.fd = -1;
	r = inj_process_open(subject->pid, &subject->process, &why);
	if (r != 0)
		return upd_subject_fail(subject, r, &why);
	r = upd_subject_refresh(subject);
	if (r != 0)
		return r;
	r = inj_modules_load(subject->process, subject->maps, &subject->modules, &why);
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

void upd_subject_deinit(struct upd_subject *subject)
{
	inj_walker_free(INJ_TAKE(subject->walker));
	upd_code_map_deinit(&subject->code_map);
	inj_space_deinit(&subject->space);
	inj_writer_free(INJ_TAKE(subject->writer));
	inj_history_deinit(&subject->history);
	inj_modules_free(INJ_TAKE(subject->modules));
	inj_maps_free(INJ_TAKE(subject->maps));
	inj_process_close(INJ_TAKE(subject->process));
}
