/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the shape of reports on the bus. Always holds: keys come in the order of the contract, types
 * never depend on values, lists are there even when empty, except those that tell of trouble. A
 * message stays below what a bus carries: beyond a budget of list entries the rest is left out, and
 * a note says so.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "dsud/bus/bus-error.h"
#include "dsud/bus/report-message.h"
#include "dsud/contract.h"

/* Some 250 bytes each: a bus takes 32 MiB at most. */
#define MAX_ENTRIES 60000

struct appender {
	sd_bus_message *message;
	size_t n_entries;
	bool cut;
	int error; /* the first one; later calls do nothing */
};

static void check(struct appender *to, int r)
{
	if (to->error == 0 && r < 0)
		to->error = r;
}

static void open_container(struct appender *to, char type, const char *contents)
{
	if (to->error == 0)
		check(to, sd_bus_message_open_container(to->message, type, contents));
}

static void close_container(struct appender *to)
{
	if (to->error == 0)
		check(to, sd_bus_message_close_container(to->message));
}

static void put_string(struct appender *to, const char *key, const char *value)
{
	if (to->error == 0)
		check(to, sd_bus_message_append(to->message, "{sv}", key, "s", value));
}

static void put_u32(struct appender *to, const char *key, uint32_t value)
{
	if (to->error == 0)
		check(to, sd_bus_message_append(to->message, "{sv}", key, "u", value));
}

static void put_u64(struct appender *to, const char *key, uint64_t value)
{
	if (to->error == 0)
		check(to, sd_bus_message_append(to->message, "{sv}", key, "t", value));
}

static void put_bool(struct appender *to, const char *key, bool value)
{
	if (to->error == 0)
		check(to, sd_bus_message_append(to->message, "{sv}", key, "b", (int)value));
}

static void put_address(struct appender *to, const char *key, inj_addr value)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	put_string(to, key, text);
}

/* An entry {key: variant of a list} is open until end_list(). */
static void begin_list(struct appender *to, const char *key, const char *type, const char *element)
{
	open_container(to, 'e', "sv");
	if (to->error == 0)
		check(to, sd_bus_message_append_basic(to->message, 's', key));
	open_container(to, 'v', type);
	open_container(to, 'a', element);
}

static void end_list(struct appender *to)
{
	close_container(to);
	close_container(to);
	close_container(to);
}

static bool may_append(struct appender *to)
{
	if (to->n_entries >= MAX_ENTRIES) {
		to->cut = true;
		return false;
	}
	to->n_entries++;
	return to->error == 0;
}

/* --- lists -------------------------------------------------------------------------------- */

static void put_functions(struct appender *to, const struct upd_function *functions, size_t n)
{
	begin_list(to, DSUD_KEY_FUNCTIONS, "aa{sv}", "a{sv}");
	for (size_t i = 0; i < n && may_append(to); i++) {
		const struct upd_function *function = &functions[i];

		open_container(to, 'a', "{sv}");
		put_string(to, DSUD_KEY_MODULE, function->module);
		put_string(to, DSUD_KEY_BUILD_ID, function->build_id);
		put_string(to, DSUD_KEY_NAME, function->name);
		put_address(to, DSUD_KEY_ADDRESS, function->address);
		if (function->replacement)
			put_address(to, DSUD_KEY_REPLACEMENT, function->replacement);
		else
			put_string(to, DSUD_KEY_REPLACEMENT, "");
		put_string(to, DSUD_KEY_VIA, function->via_jump ? "jump" : "stub");
		put_string(to, DSUD_KEY_NEW_NAME, function->new_name);
		close_container(to);
	}
	end_list(to);
}

static void put_blockers(struct appender *to, const struct upd_target *target)
{
	begin_list(to, DSUD_KEY_BLOCKERS, "aa{sv}", "a{sv}");
	for (size_t i = 0; i < target->n_blockers && may_append(to); i++) {
		const struct upd_blocker *blocker = &target->blockers[i];

		open_container(to, 'a', "{sv}");
		put_u32(to, DSUD_KEY_TID, (uint32_t)blocker->tid);
		put_string(to, DSUD_KEY_COMM, blocker->comm);
		put_string(to, DSUD_KEY_FUNCTION, blocker->function);
		put_u32(to, DSUD_KEY_FRAME, blocker->frame);
		put_address(to, DSUD_KEY_ADDRESS, blocker->address);
		put_bool(to, DSUD_KEY_RELIABLE, blocker->reliable);
		close_container(to);
	}
	end_list(to);
}

static void put_phases(struct appender *to, const struct upd_target *target)
{
	begin_list(to, DSUD_KEY_PHASES, "a{st}", "{st}");
	for (size_t i = 0; i < target->n_phases && may_append(to); i++)
		check(to, sd_bus_message_append(to->message, "{st}", target->phases[i].name,
						target->phases[i].ns));
	end_list(to);
}

static void put_notes(struct appender *to, const struct upd_target *target)
{
	begin_list(to, DSUD_KEY_NOTES, "as", "s");
	for (size_t i = 0; i < target->n_notes && may_append(to); i++)
		check(to, sd_bus_message_append_basic(to->message, 's', target->notes[i]));
	if (to->cut && to->error == 0)
		check(to, sd_bus_message_append_basic(
				  to->message, 's',
				  "a list is cut here: the whole is too long for one message; ask "
				  "about fewer processes at once"));
	end_list(to);
}

static void put_frames(struct appender *to, const struct upd_thread *thread)
{
	begin_list(to, DSUD_KEY_FRAMES, "aa{sv}", "a{sv}");
	for (size_t i = 0; i < thread->n_frames && may_append(to); i++) {
		const struct upd_frame *frame = &thread->frames[i];

		open_container(to, 'a', "{sv}");
		put_u32(to, DSUD_KEY_FRAME, (uint32_t)i);
		put_address(to, DSUD_KEY_ADDRESS, frame->address);
		put_string(to, DSUD_KEY_FUNCTION, frame->function);
		put_u64(to, DSUD_KEY_OFFSET, frame->offset);
		put_string(to, DSUD_KEY_MODULE, frame->module);
		put_string(to, DSUD_KEY_MARK, frame->mark);
		close_container(to);
	}
	end_list(to);
}

static void put_threads(struct appender *to, const struct upd_target *target)
{
	begin_list(to, DSUD_KEY_THREADS, "aa{sv}", "a{sv}");
	for (size_t i = 0; i < target->n_threads_listed && may_append(to); i++) {
		const struct upd_thread *thread = &target->threads[i];

		open_container(to, 'a', "{sv}");
		put_u32(to, DSUD_KEY_TID, (uint32_t)thread->tid);
		put_string(to, DSUD_KEY_COMM, thread->comm);
		put_bool(to, DSUD_KEY_RELIABLE, thread->reliable);
		put_frames(to, thread);
		close_container(to);
	}
	end_list(to);
}

/* RFC 3339 in UTC, microseconds as precise as anybody needs; "" when the time is not known. */
static void put_time(struct appender *to, const char *key, uint64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / 1000000000u);
	struct tm parts;
	char date[32];
	char text[64] = "";

	if (realtime_ns && gmtime_r(&seconds, &parts) &&
	    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts) > 0)
		snprintf(text, sizeof(text), "%s.%06uZ", date,
			 (unsigned)(realtime_ns % 1000000000u / 1000u));
	put_string(to, key, text);
}

static void put_patch_entries(struct appender *to, const struct upd_target *target)
{
	for (size_t i = 0; i < target->n_patches && may_append(to); i++) {
		const struct upd_patch_state *patch = &target->patches[i];

		open_container(to, 'a', "{sv}");
		put_string(to, DSUD_KEY_ID, patch->id);
		put_string(to, DSUD_KEY_VERSION, patch->version);
		put_string(to, DSUD_KEY_STATE, patch->state);
		put_time(to, DSUD_KEY_APPLIED_AT, patch->applied_at_ns);
		put_string(to, DSUD_KEY_PROTOCOL, patch->protocol);
		put_functions(to, patch->functions, patch->n_functions);
		put_string(to, DSUD_KEY_DIGEST, patch->digest);
		close_container(to);
	}
}

/* --- one target --------------------------------------------------------------------------- */

static void put_trouble(struct appender *to, const struct upd_target *target)
{
	char name[96];

	if (target->code != 0) {
		put_string(to, DSUD_KEY_ERROR,
			   dsud_bus_error_name(target->code, name, sizeof(name)));
		put_string(to, DSUD_KEY_MESSAGE,
			   target->message[0] ? target->message : inj_code_text(target->code));
	}
	if (target->n_blockers > 0)
		put_blockers(to, target);
}

static void put_outcome(struct appender *to, const struct upd_target *target)
{
	put_u32(to, DSUD_KEY_PID, (uint32_t)target->pid);
	put_string(to, DSUD_KEY_PATCH, target->patch);
	put_string(to, DSUD_KEY_RESULT, upd_result_word(target->result));
	put_string(to, DSUD_KEY_PROTOCOL, target->protocol);
	put_u32(to, DSUD_KEY_ATTEMPTS, target->attempts);
	put_u64(to, DSUD_KEY_HELD, target->held_ns);
	put_u64(to, DSUD_KEY_TOTAL, target->total_ns);
	put_functions(to, target->functions, target->n_functions);
	put_trouble(to, target);
	put_string(to, DSUD_KEY_COMM, target->comm);
	put_string(to, DSUD_KEY_EXE, target->exe);
	put_string(to, DSUD_KEY_PATCH_VERSION, target->patch_version);
	put_u32(to, DSUD_KEY_N_THREADS, target->n_threads);
	put_phases(to, target);
	put_notes(to, target);
}

static void put_status(struct appender *to, const struct upd_target *target)
{
	put_u32(to, DSUD_KEY_PID, (uint32_t)target->pid);
	put_string(to, DSUD_KEY_COMM, target->comm);
	put_string(to, DSUD_KEY_EXE, target->exe);
	begin_list(to, DSUD_KEY_PATCHES, "aa{sv}", "a{sv}");
	put_patch_entries(to, target);
	end_list(to);
	put_trouble(to, target);
	put_notes(to, target);
}

static void put_stacks(struct appender *to, const struct upd_target *target)
{
	put_u32(to, DSUD_KEY_PID, (uint32_t)target->pid);
	put_string(to, DSUD_KEY_COMM, target->comm);
	put_string(to, DSUD_KEY_EXE, target->exe);
	put_u64(to, DSUD_KEY_HELD, target->held_ns);
	put_u32(to, DSUD_KEY_N_THREADS, target->n_threads);
	put_threads(to, target);
	put_trouble(to, target);
	put_notes(to, target);
}

int dsud_append_report(sd_bus_message *message, const struct upd_report *report,
		       enum upd_kind kind)
{
	struct appender to = {.message = message};

	open_container(&to, 'a', "a{sv}");
	for (size_t i = 0; i < report->n_targets; i++) {
		open_container(&to, 'a', "{sv}");
		if (kind == UPD_STATUS)
			put_status(&to, &report->targets[i]);
		else if (kind == UPD_STACKS)
			put_stacks(&to, &report->targets[i]);
		else
			put_outcome(&to, &report->targets[i]);
		close_container(&to);
	}
	close_container(&to);
	return to.error;
}

int dsud_append_patches(sd_bus_message *message, const struct upd_target *target)
{
	struct appender to = {.message = message};

	open_container(&to, 'a', "a{sv}");
	put_patch_entries(&to, target);
	close_container(&to);
	return to.error;
}

/* --- updates in short --------------------------------------------------------------------- */

int dsud_append_progress(sd_bus_message *message, const struct dsud_update *update)
{
	struct appender to = {.message = message};

	open_container(&to, 'a', "{sv}");
	put_u32(&to, DSUD_KEY_PID, (uint32_t)update->progress.pid);
	put_string(&to, DSUD_KEY_PHASE, update->progress.phase);
	put_u32(&to, DSUD_KEY_ATTEMPT, update->progress.attempt);
	put_u64(&to, DSUD_KEY_REMAINING, update->progress.remaining_ns / 1000u);
	put_string(&to, DSUD_KEY_TEXT, update->progress.text);
	close_container(&to);
	return to.error;
}

static void put_pids(struct appender *to, const struct dsud_order *order)
{
	begin_list(to, DSUD_KEY_TARGETS, "au", "u");
	for (size_t i = 0; i < order->n_subjects && to->error == 0; i++)
		check(to,
		      sd_bus_message_append(to->message, "u", (uint32_t)order->subjects[i].pid));
	end_list(to);
}

int dsud_append_summary(sd_bus_message *message, const struct dsud_update *update)
{
	struct appender to = {.message = message};

	open_container(&to, 'a', "{sv}");
	put_string(&to, DSUD_KEY_KIND, dsud_kind_word(update->order.kind));
	put_string(&to, DSUD_KEY_PATCH, update->patch);
	put_string(&to, DSUD_KEY_STATE, dsud_update_state_word(update->state));
	put_string(&to, DSUD_KEY_RESULT, dsud_update_result_word(update));
	put_pids(&to, &update->order);
	close_container(&to);
	return to.error;
}
