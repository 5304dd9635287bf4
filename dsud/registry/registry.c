/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the list of all jobs and decides what runs when. Always holds: jobs on the same process run
 * one after the other, in the order of their submission; reading ledgers disturbs nobody and waits
 * for nobody; no table grows beyond the limits of contract.h.
 * Refuses jobs beyond the limits, and any while the daemon is stopping.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "dsud/log.h"
#include "dsud/registry/registry.h"
#include "injector/base/cleanup.h"

#define MAX_READING 8
/* Reports kept beyond this make room for newer ones. */
#define MAX_FINISHED_BYTES (8u << 20)

static int on_pump(sd_event_source *source, void *userdata);

int dsud_registry_init(struct dsud_registry *registry, sd_event *event,
		       const struct dsud_state_dir *state_dir, uint64_t grace_ns, uint64_t retry_ns,
		       const struct dsud_registry_events *events, void *context)
{
	*registry = (struct dsud_registry){
		.event = event,
		.state_dir = state_dir,
		.grace_ns = grace_ns,
		.retry_ns = retry_ns,
		.events = events,
		.context = context,
	};
	dsud_targets_init(&registry->targets, event, &events->targets, context);

	int r = sd_event_add_defer(event, &registry->pump_source, on_pump, registry);

	return r < 0 ? r : sd_event_source_set_enabled(registry->pump_source, SD_EVENT_OFF);
}

void dsud_registry_deinit(struct dsud_registry *registry)
{
	dsud_unsettled_forget(registry);
	while (registry->first) {
		struct dsud_update *next = registry->first->next;

		dsud_update_free(registry->first);
		registry->first = next;
	}
	dsud_targets_deinit(&registry->targets);
	registry->pump_source = sd_event_source_disable_unref(registry->pump_source);
}

struct dsud_update *dsud_registry_find(const struct dsud_registry *registry, uint64_t number)
{
	for (struct dsud_update *update = registry->first; update; update = update->next)
		if (update->number == number && dsud_update_is_listed(update))
			return update;
	return NULL;
}

size_t dsud_registry_n_unfinished(const struct dsud_registry *registry)
{
	size_t n = 0;

	for (struct dsud_update *update = registry->first; update; update = update->next)
		n += dsud_update_is_listed(update) && !dsud_update_is_settled(update);
	return n;
}

/* --- what runs when ----------------------------------------------------------------------- */

static bool share_a_process(const struct dsud_order *a, const struct dsud_order *b)
{
	for (size_t i = 0; i < a->n_subjects; i++)
		for (size_t n = 0; n < b->n_subjects; n++)
			if (a->subjects[i].pid == b->subjects[n].pid)
				return true;
	return false;
}

/* Must it wait for an earlier one? */
static bool is_behind(const struct dsud_registry *registry, const struct dsud_update *update)
{
	if (update->order.kind == UPD_STATUS)
		return false;
	for (struct dsud_update *other = registry->first; other != update; other = other->next)
		if (!dsud_update_is_settled(other) && other->order.kind != UPD_STATUS &&
		    share_a_process(&other->order, &update->order))
			return true;
	return false;
}

static size_t count_running(const struct dsud_registry *registry, bool reading)
{
	size_t n = 0;

	for (struct dsud_update *update = registry->first; update; update = update->next)
		n += update->state == DSUD_RUNNING &&
		     (update->order.kind == UPD_STATUS) == reading;
	return n;
}

static struct dsud_update *find_startable(const struct dsud_registry *registry)
{
	bool may_read = count_running(registry, true) < MAX_READING;
	bool may_work = count_running(registry, false) < DSUD_MAX_RUNNING;

	for (struct dsud_update *update = registry->first; update; update = update->next) {
		bool may = update->order.kind == UPD_STATUS ? may_read : may_work;

		if (may && update->state == DSUD_QUEUED && !is_behind(registry, update))
			return update;
	}
	return NULL;
}

static bool is_idle(const struct dsud_registry *registry)
{
	for (struct dsud_update *update = registry->first; update; update = update->next)
		if (!dsud_update_is_settled(update))
			return false;
	return true;
}

static void link_last(struct dsud_registry *registry, struct dsud_update *update)
{
	struct dsud_update **place = &registry->first;

	while (*place)
		place = &(*place)->next;
	*place = update;
	update->next = NULL;
}

static void unlink_update(struct dsud_registry *registry, struct dsud_update *update)
{
	for (struct dsud_update **place = &registry->first; *place; place = &(*place)->next) {
		if (*place == update) {
			*place = update->next;
			return;
		}
	}
}

static void discard(struct dsud_registry *registry, struct dsud_update *update)
{
	if (dsud_update_is_listed(update))
		registry->events->update_removed(registry->context, update);
	unlink_update(registry, update);
	dsud_update_free(update);
}

/* Keep the newest finished updates; the very last one always stays. */
static void prune(struct dsud_registry *registry)
{
	for (;;) {
		struct dsud_update *oldest = NULL;
		size_t n = 0;
		size_t bytes = 0;

		for (struct dsud_update *update = registry->first; update; update = update->next) {
			if (!dsud_update_is_settled(update))
				continue;
			oldest = oldest ?: update;
			n++;
			bytes += update->report_length;
		}
		if (n <= 1 || (n <= DSUD_MAX_FINISHED && bytes <= MAX_FINISHED_BYTES))
			return;
		discard(registry, oldest);
	}
}

static int on_pump(sd_event_source *source, void *userdata)
{
	struct dsud_registry *registry = userdata;
	struct dsud_update *update;

	while ((update = find_startable(registry)))
		dsud_update_start(update);
	prune(registry);
	if (is_idle(registry))
		registry->events->idle(registry->context);
	return 0;
}

static void pump_later(struct dsud_registry *registry)
{
	sd_event_source_set_enabled(registry->pump_source, SD_EVENT_ONESHOT);
}

/* --- coming and going --------------------------------------------------------------------- */

static int check_limits(const struct dsud_registry *registry, const struct dsud_order *order,
			struct inj_why *why)
{
	size_t n_queued = 0;
	size_t n_owned = 0;

	if (registry->stopping)
		return inj_refuse(why, INJ_BUSY, "dsud is stopping. Try again when it runs anew.");
	for (struct dsud_update *update = registry->first; update; update = update->next) {
		n_queued += update->state == DSUD_QUEUED;
		n_owned += !dsud_update_is_settled(update) && order->owner &&
			   update->order.owner && strcmp(order->owner, update->order.owner) == 0;
	}
	if (n_queued >= DSUD_MAX_QUEUED)
		return inj_refuse(why, INJ_BUSY,
				  "%zu updates are waiting already. Wait for some of them; see "
				  "'dsuctl status'.",
				  n_queued);
	if (n_owned >= DSUD_MAX_PER_CONNECTION)
		return inj_refuse(
			why, INJ_BUSY,
			"This connection has %zu unfinished requests already. Wait for some "
			"of them.",
			n_owned);
	return 0;
}

static int make_update(struct dsud_registry *registry, struct dsud_order *order,
		       struct dsud_update **ret, struct inj_why *why)
{
	const char *patch = order->patch_id ?: order->patch_name ?: "";
	struct dsud_update *update = malloc(sizeof(*update));

	if (!update)
		return inj_broke(why, -ENOMEM, "Cannot keep another update");
	*update = (struct dsud_update){
		.registry = registry,
		.journal_fd = -1,
		.patch = strdup(patch),
		.order = *order,
	};
	*order = (struct dsud_order){.patch_fd = -1};
	if (!update->patch || getrandom(update->id, sizeof(update->id), 0) != sizeof(update->id)) {
		dsud_update_free(update);
		return inj_broke(why, -ENOMEM, "Cannot make another update");
	}
	*ret = update;
	return 0;
}

static void admit(struct dsud_registry *registry, struct dsud_update *update)
{
	update->number = ++registry->last_number;
	link_last(registry, update);
	if (dsud_update_is_listed(update))
		registry->events->update_new(registry->context, update);
	pump_later(registry);
}

int dsud_registry_submit(struct dsud_registry *registry, struct dsud_order *order,
			 struct dsud_update **ret_update, struct inj_why *why)
{
	struct dsud_update *update = NULL;
	int r = check_limits(registry, order, why);

	if (r == 0 && dsud_kind_changes(order->kind))
		r = dsud_unsettled_precede(registry, order, why);
	if (r == 0)
		r = make_update(registry, order, &update, why);
	if (r == 0 && dsud_kind_changes(update->order.kind))
		r = dsud_journal_create(registry->state_dir, update->id, update->order.subjects,
					update->order.n_subjects, &update->journal_fd, why);
	if (r != 0) {
		dsud_order_deinit(order);
		dsud_update_free(update);
		return r;
	}
	admit(registry, update);
	if (ret_update)
		*ret_update = update;
	return 0;
}

int dsud_registry_recover(struct dsud_registry *registry, struct dsud_leftover *leftover,
			  unsigned n_tries, struct inj_why *why)
{
	struct dsud_order order = {.kind = UPD_RECOVER, .patch_fd = -1};
	struct dsud_update *update = NULL;
	int r = make_update(registry, &order, &update, why);

	if (r != 0)
		return r;
	update->order.subjects = INJ_TAKE(leftover->subjects);
	update->order.n_subjects = leftover->n_subjects;
	update->journal_fd = inj_take_fd(&leftover->journal_fd);
	update->n_tries = n_tries;
	memcpy(update->id, leftover->id, sizeof(update->id));
	snprintf(update->death, sizeof(update->death), "lost its daemon");
	admit(registry, update);
	return 0;
}

void dsud_registry_settled(struct dsud_registry *registry, struct dsud_update *update,
			   const struct upd_report *report)
{
	if (dsud_update_is_listed(update)) {
		registry->events->update_changed(registry->context, update);
		registry->events->update_completed(registry->context, update, report);
		/* Finished ones stand last, in the order in which they finished. */
		unlink_update(registry, update);
		link_last(registry, update);
	} else {
		update->order.answer(update->order.context, update, report);
		discard(registry, update);
	}
	pump_later(registry);
}

/* Cancelling may settle and free the update itself, but never another one: those go in the pump. */
void dsud_registry_abandon(struct dsud_registry *registry, const char *owner)
{
	struct dsud_update *next;

	for (struct dsud_update *update = registry->first; update; update = next) {
		next = update->next;
		if (update->order.answer && update->order.owner &&
		    strcmp(update->order.owner, owner) == 0)
			dsud_update_cancel(update);
	}
}

void dsud_registry_stop(struct dsud_registry *registry)
{
	struct dsud_update *next;

	registry->stopping = true;
	for (struct dsud_update *update = registry->first; update; update = next) {
		next = update->next;
		dsud_update_cancel(update);
	}
	pump_later(registry);
}
