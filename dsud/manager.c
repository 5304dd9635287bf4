/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the daemon as a whole: start, readiness, the passage of events from the registry to the bus,
 * and the end. Always holds: nobody is listened to before the first look for patched processes is
 * over, so what clients see is complete; on the way out every running update is undone or finished
 * before the daemon ends. A second signal ends it at once: workers then undo by themselves.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "dsud/bus/objects.h"
#include "dsud/log.h"
#include "dsud/manager.h"
#include "injector/base/cleanup.h"

#define SCAN_NS 10000000000u
#define STATUS_USEC 500000u

static int on_status(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct dsud_manager *manager = userdata;

	sd_notifyf(0, "STATUS=%zu patched processes, %zu updates running or waiting",
		   manager->registry.targets.n, dsud_registry_n_unfinished(&manager->registry));
	return 0;
}

/* Many changes make one line, so that a slow supervisor is not flooded. */
static void tell_systemd(struct dsud_manager *manager)
{
	if (!manager->is_ready || manager->stopping)
		return;
	sd_event_source_set_time_relative(manager->status_source, STATUS_USEC);
	sd_event_source_set_enabled(manager->status_source, SD_EVENT_ONESHOT);
}

/* --- from the registry to the bus --------------------------------------------------------- */

static void on_update_new(void *context, struct dsud_update *update)
{
	struct dsud_manager *manager = context;

	dsud_tell_update_new(&manager->bus, update);
	tell_systemd(manager);
}

static void on_update_changed(void *context, struct dsud_update *update)
{
	struct dsud_manager *manager = context;

	dsud_tell_update_changed(&manager->bus, update);
}

static void on_update_progress(void *context, struct dsud_update *update)
{
	struct dsud_manager *manager = context;

	dsud_tell_update_progress(&manager->bus, update);
}

static void on_update_completed(void *context, struct dsud_update *update,
				const struct upd_report *report)
{
	struct dsud_manager *manager = context;

	dsud_log(LOG_INFO, "update %llu: %s of %s on %zu process%s: %s%s%s",
		 (unsigned long long)update->number, dsud_kind_word(update->order.kind),
		 update->patch[0] ? update->patch : "an interrupted update",
		 update->order.n_subjects, update->order.n_subjects == 1 ? "" : "es",
		 dsud_update_result_word(update),
		 report->n_targets > 0 && report->targets[0].message[0] ? ": " : "",
		 report->n_targets > 0 ? report->targets[0].message : "");
	dsud_tell_update_completed(&manager->bus, update, report);
	tell_systemd(manager);
}

static void on_update_removed(void *context, struct dsud_update *update)
{
	struct dsud_manager *manager = context;

	dsud_tell_update_removed(&manager->bus, update);
}

static void on_target_added(void *context, struct dsud_target *target)
{
	struct dsud_manager *manager = context;

	dsud_tell_target_new(&manager->bus, target);
	tell_systemd(manager);
}

static void on_target_changed(void *context, struct dsud_target *target)
{
	struct dsud_manager *manager = context;

	dsud_tell_target_changed(&manager->bus, target);
}

static void on_target_removed(void *context, struct dsud_target *target)
{
	struct dsud_manager *manager = context;

	dsud_tell_target_removed(&manager->bus, target);
	tell_systemd(manager);
}

static void on_idle(void *context)
{
	struct dsud_manager *manager = context;

	if (manager->stopping)
		sd_event_exit(manager->event, 0);
}

static const struct dsud_registry_events registry_events = {
	.targets = {
		.added = on_target_added,
		.changed = on_target_changed,
		.removed = on_target_removed,
	},
	.update_new = on_update_new,
	.update_changed = on_update_changed,
	.update_progress = on_update_progress,
	.update_completed = on_update_completed,
	.update_removed = on_update_removed,
	.idle = on_idle,
};

/* --- readiness ---------------------------------------------------------------------------- */

static void become_ready(struct dsud_manager *manager)
{
	if (manager->is_ready || !manager->adopted || !manager->name_known)
		return;
	manager->is_ready = true;
	dsud_log(LOG_INFO, "ready on %s; patched processes: %zu", manager->config->socket_path,
		 manager->registry.targets.n);
	sd_notify(0, "READY=1");
	tell_systemd(manager);
}

static void on_name(void *context, int r)
{
	struct dsud_manager *manager = context;

	manager->name_known = true;
	if (r < 0 && manager->config->system_bus == DSUD_SYSTEM_BUS_YES && !manager->is_ready)
		sd_event_exit(manager->event, r);
	else
		become_ready(manager);
}

static const struct dsud_bus_events bus_events = {.name = on_name};

static void start_serving(struct dsud_manager *manager)
{
	struct inj_why why;
	int r = dsud_bus_listen(&manager->bus, &why);

	if (r != 0) {
		dsud_log(LOG_ERR, "%s", why.text);
		sd_event_exit(manager->event, r < 0 ? r : -EIO);
		return;
	}
	manager->name_known = manager->config->system_bus == DSUD_SYSTEM_BUS_NO;
	r = dsud_bus_connect_system(&manager->bus, manager->config->system_bus);
	if (r < 0) {
		dsud_log_errno(LOG_ERR, r, "cannot connect to the system bus");
		sd_event_exit(manager->event, r);
		return;
	}
	become_ready(manager);
}

static int on_adopted_deferred(sd_event_source *source, void *userdata)
{
	struct dsud_manager *manager = userdata;

	sd_event_source_disable_unref(source);
	manager->adopted = true;
	if (!manager->stopping)
		start_serving(manager);
	return 0;
}

/* The registry takes in the ledgers after this call: serving begins one turn later. */
static void on_adopted(void *context, struct dsud_update *update, const struct upd_report *report)
{
	struct dsud_manager *manager = context;
	sd_event_source *source;

	if (sd_event_add_defer(manager->event, &source, on_adopted_deferred, manager) < 0)
		sd_event_exit(manager->event, -ENOMEM);
}

/* --- start -------------------------------------------------------------------------------- */

static int settle_leftover(struct dsud_manager *manager, struct dsud_leftover *leftover,
			   struct inj_why *why)
{
	if (leftover->is_foreign) {
		dsud_unsettled_add(&manager->registry, leftover, 0,
				   "an update was interrupted whose journal another version of "
				   "dsud has written; start that version once to settle it");
		return 0;
	}
	dsud_log(LOG_NOTICE, "an update was interrupted (processes alive: %zu); settling it",
		 leftover->n_subjects);
	return dsud_registry_recover(&manager->registry, leftover, 0, why);
}

static int settle_leftovers(struct dsud_manager *manager, struct inj_why *why)
{
	INJ_FREE struct dsud_leftover *leftovers = NULL;
	size_t n = 0;
	int r = dsud_journal_leftovers(&manager->state_dir, &leftovers, &n);

	if (r < 0)
		return inj_broke(why, r, "Cannot list the state directory %s",
				 manager->state_dir.path);
	for (size_t i = 0; i < n; i++) {
		r = r ?: settle_leftover(manager, &leftovers[i], why);
		dsud_leftover_deinit(&leftovers[i]);
	}
	return r;
}

static int look_for_patched(struct dsud_manager *manager, struct inj_why *why)
{
	struct dsud_order order = {
		.kind = UPD_STATUS,
		.scan = true,
		.patch_fd = -1,
		.timeout_ns = SCAN_NS,
		.answer = on_adopted,
		.context = manager,
	};

	return dsud_registry_submit(&manager->registry, &order, NULL, why);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct dsud_manager *manager = userdata;

	if (manager->stopping) {
		dsud_log(LOG_WARNING,
			 "told twice to stop: running updates are left to undo themselves");
		return sd_event_exit(manager->event, 0);
	}
	manager->stopping = true;
	sd_notify(0, "STOPPING=1\nSTATUS=Undoing what is under way");
	dsud_bus_stop_listening(&manager->bus);
	dsud_registry_stop(&manager->registry);
	return 0;
}

static int make_loop(struct dsud_manager *manager, struct inj_why *why)
{
	int r = sd_event_new(&manager->event);

	if (r >= 0)
		r = sd_event_add_signal(manager->event, NULL, SIGTERM, on_signal, manager);
	if (r >= 0)
		r = sd_event_add_signal(manager->event, NULL, SIGINT, on_signal, manager);
	if (r >= 0)
		r = sd_event_add_time(manager->event, &manager->status_source, CLOCK_MONOTONIC, 0,
				      STATUS_USEC, on_status, manager);
	if (r >= 0)
		r = sd_event_source_set_enabled(manager->status_source, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_set_watchdog(manager->event, true);
	return r < 0 ? inj_broke(why, r, "Cannot make an event loop") : 0;
}

static int make_parts(struct dsud_manager *manager, struct inj_why *why)
{
	int r = dsud_registry_init(&manager->registry, manager->event, &manager->state_dir,
				   manager->config->grace_ns, manager->config->retry_ns,
				   &registry_events, manager);

	if (r < 0)
		return inj_broke(why, r, "Cannot make the registry");
	manager->has_registry = true;
	r = dsud_bus_init(&manager->bus, manager->event, &manager->registry, &bus_events, manager);
	manager->has_bus = true;
	return r < 0 ? inj_broke(why, r, "Cannot make the bus") : 0;
}

int dsud_manager_init(struct dsud_manager *manager, const struct dsud_config *config,
		      struct inj_why *why)
{
	int r;

	*manager = (struct dsud_manager){
		.config = config,
		.state_dir = {.fd = -1, .lock_fd = -1},
	};
	r = make_loop(manager, why);
	if (r == 0)
		r = make_parts(manager, why);
	if (r == 0)
		r = dsud_bus_claim_socket(&manager->bus, config->socket_path, why);
	if (r == 0)
		r = dsud_state_dir_init(config->state_dir, &manager->state_dir, why);
	if (r == 0)
		r = settle_leftovers(manager, why);
	return r != 0 ? r : look_for_patched(manager, why);
}

int dsud_manager_run(struct dsud_manager *manager)
{
	return sd_event_loop(manager->event);
}

void dsud_manager_deinit(struct dsud_manager *manager)
{
	/* Connections first: dropping one cancels its questions. */
	if (manager->has_bus)
		dsud_bus_deinit(&manager->bus);
	if (manager->has_registry)
		dsud_registry_deinit(&manager->registry);
	dsud_state_dir_deinit(&manager->state_dir);
	manager->status_source = sd_event_source_disable_unref(manager->status_source);
	manager->event = sd_event_unref(manager->event);
}
