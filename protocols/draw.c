/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plans and facts from the reader of a target. What it sends is checked here, or by the blueprint's
 * rules, before anybody uses it.
 */
#include "protocols/draw.h"

#include <string.h>
#include <sys/mman.h>

#include "injector/base/clock.h"
#include "protocols/blueprint.h"
#include "protocols/reader-priv.h"

/* A request whose time is nearly up still deserves an answer that is no matter of luck. */
#define LEAST_NS 2000000000ull
#define ASK_NS 20000000000ull

static struct upd_patience patience_of(const struct upd_run *run)
{
	const uint64_t least_ns = inj_now_ns() + LEAST_NS;

	return (struct upd_patience){ run->deadline_ns > least_ns ? run->deadline_ns : least_ns,
				      run->request->cancel_fd };
}

int upd_ask_patch(struct upd_run *run, struct upd_reader *reader, struct inj_why *why)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	const struct upd_patience patience = patience_of(run);
	struct upd_patch_head head;
	int r = upd_reader_ask(reader, UPD_ASK_PATCH, NULL, 0, sizeof(head), &patience, &answer,
			       why);

	if (r != 0)
		return r;
	if (answer.n_bytes != sizeof(head))
		return upd_reader_lied(reader, why);
	memcpy(&head, answer.bytes, sizeof(head));
	head.id[sizeof(head.id) - 1] = '\0';
	inj_printable(head.id);
	memcpy(run->patch_id, head.id, sizeof(run->patch_id));
	return 0;
}

static int ask_plan(const struct upd_run *run, struct upd_subject *subject, uint32_t n_members,
		    struct upd_message *ret, struct inj_why *why)
{
	const struct upd_patience patience = patience_of(run);
	struct upd_ask_plan ask = { .n_members = n_members };
	struct upd_reader *reader;
	int r = upd_subject_reader(subject, &reader, why);

	if (r != 0)
		return r;
	memcpy(ask.update_id, run->request->update_id, sizeof(ask.update_id));
	snprintf(ask.protocol, sizeof(ask.protocol), "%s", run->protocol);
	return upd_reader_ask(reader, UPD_ASK_PLAN, &ask, sizeof(ask), UPD_SHEET_MAX_BYTES,
			      &patience, ret, why);
}

int upd_draw(const struct upd_run *run, struct upd_subject *subject, uint32_t n_members)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	struct upd_blueprint_facts facts = {
		.history = &subject->history, .n_members = n_members, .protocol = run->protocol,
	};
	struct inj_why why = {};
	int r = ask_plan(run, subject, n_members, &answer, &why);

	memcpy(facts.update_id, run->request->update_id, sizeof(facts.update_id));
	if (r == 0) {
		facts.maps = upd_reader_maps(subject->reader);
		r = facts.maps ? upd_blueprint_check(INJ_TAKE(answer.bytes), answer.n_bytes, &facts,
						     &subject->blueprint, &why) :
				 upd_reader_lied(subject->reader, &why);
	}
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

static bool is_code(const struct upd_subject *subject, inj_addr address)
{
	const struct inj_map *map = inj_maps_find(subject->maps, address);

	return map && (map->prot & PROT_EXEC);
}

int upd_look_for_unwinder(struct upd_subject *subject, bool functions, struct upd_unwinder *ret,
			  struct inj_why *why)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	const struct upd_patience patience = { inj_now_ns() + ASK_NS, -1 };
	const uint64_t wants_functions = functions;
	struct upd_tell_unwinder tell;
	struct upd_reader *reader;
	int r = upd_subject_reader(subject, &reader, why);

	if (r == 0)
		r = upd_reader_ask(reader, UPD_ASK_UNWINDER, &wants_functions,
				   sizeof(wants_functions), sizeof(tell), &patience, &answer, why);
	if (r != 0)
		return r;
	if (answer.n_bytes != sizeof(tell))
		return upd_reader_lied(reader, why);
	memcpy(&tell, answer.bytes, sizeof(tell));
	if (tell.tell != 0 && (!is_code(subject, tell.tell) || !is_code(subject, tell.forget)))
		return upd_reader_lied(reader, why);
	*ret = (struct upd_unwinder){ .tell = tell.tell, .forget = tell.forget,
				      .may_unwind = tell.may_unwind != 0 };
	memcpy(ret->locked, tell.locked, sizeof(ret->locked));
	return 0;
}
