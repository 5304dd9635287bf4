/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the list of patched processes. It is a picture of the ledgers, refreshed whenever a worker
 * read them; the truth stays in the targets. Always holds: every entry has a pidfd in the loop, so
 * an exit removes it at once, and a pid that is used again never inherits an entry.
 * Refuses more entries than DSUD_MAX_TARGETS.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>

#include "dsud/log.h"
#include "dsud/registry/target.h"
#include "injector/base/bisect.h"
#include "injector/base/cleanup.h"

void dsud_targets_init(struct dsud_targets *targets, sd_event *event,
		       const struct dsud_targets_events *events, void *context)
{
	*targets = (struct dsud_targets){.event = event, .events = events, .context = context};
}

static void target_free(struct dsud_target *target)
{
	if (!target)
		return;
	sd_event_source_disable_unref(target->exit_source);
	inj_close_guard(&target->pidfd);
	upd_report_deinit(&target->state);
	free(target);
}

INJ_DEFINE_GUARD(struct dsud_target *, target_free, target_guard)

void dsud_targets_deinit(struct dsud_targets *targets)
{
	for (size_t i = 0; i < targets->n; i++)
		target_free(targets->list[i]);
	free(targets->list);
	targets->list = NULL;
	targets->n = 0;
}

/* Index of the first entry whose pid is not below. */
static size_t position_of(const struct dsud_targets *targets, pid_t pid)
{
	return INJ_COUNT_WHILE(targets->n, i, targets->list[i]->pid < pid);
}

struct dsud_target *dsud_targets_find(const struct dsud_targets *targets, pid_t pid)
{
	size_t at = position_of(targets, pid);

	return at < targets->n && targets->list[at]->pid == pid ? targets->list[at] : NULL;
}

bool dsud_state_is_patched(const struct upd_target *state)
{
	for (size_t i = 0; i < state->n_patches; i++)
		if (strcmp(state->patches[i].state, "reverted") != 0)
			return true;
	return false;
}

static void forget(struct dsud_targets *targets, struct dsud_target *target)
{
	size_t at = position_of(targets, target->pid);

	targets->events->removed(targets->context, target);
	memmove(&targets->list[at], &targets->list[at + 1],
		(targets->n - at - 1) * sizeof(*targets->list));
	targets->n--;
	target_free(target);
}

static int on_exit_of_target(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct dsud_target *target = userdata;

	forget(target->owner, target);
	return 0;
}

/* Contents change hands; the source keeps what can be freed. */
static void swap_state(struct upd_target *a, struct upd_target *b)
{
	struct upd_target kept = *a;

	*a = *b;
	*b = kept;
}

static int insert(struct dsud_targets *targets, struct dsud_target *target)
{
	size_t at = position_of(targets, target->pid);
	struct dsud_target **grown =
		reallocarray(targets->list, targets->n + 1, sizeof(*targets->list));

	if (!grown)
		return -ENOMEM;
	targets->list = grown;
	memmove(&grown[at + 1], &grown[at], (targets->n - at) * sizeof(*grown));
	grown[at] = target;
	targets->n++;
	return 0;
}

static int appear(struct dsud_targets *targets, struct upd_target *state)
{
	INJ_CLEANUP(target_guard) struct dsud_target *target = NULL;
	int r;

	if (targets->n >= DSUD_MAX_TARGETS)
		return -ENFILE;
	target = malloc(sizeof(*target));
	if (!target)
		return -ENOMEM;
	*target = (struct dsud_target){.pid = state->pid, .owner = targets};
	target->pidfd = pidfd_open(state->pid, 0);
	if (target->pidfd < 0)
		return errno == ESRCH ? 0 : -errno;
	target->start_ticks = dsud_subject_look(state->pid).start_ticks;

	struct upd_target *own = upd_report_add(&target->state, state->pid);

	if (!own)
		return -ENOMEM;
	r = sd_event_add_io(targets->event, &target->exit_source, target->pidfd, EPOLLIN,
			    on_exit_of_target, target);
	if (r < 0)
		return r;
	r = insert(targets, target);
	if (r < 0)
		return r;
	swap_state(own, state);
	targets->events->added(targets->context, INJ_TAKE(target));
	return 0;
}

int dsud_targets_learn(struct dsud_targets *targets, struct upd_target *state)
{
	struct dsud_target *known = dsud_targets_find(targets, state->pid);

	/* The pid is used again, and the end of its former owner was not told yet. */
	if (known && known->start_ticks != dsud_subject_look(state->pid).start_ticks) {
		forget(targets, known);
		known = NULL;
	}
	if (!dsud_state_is_patched(state)) {
		if (known)
			forget(targets, known);
		return 0;
	}
	if (!known)
		return appear(targets, state);
	swap_state(&known->state.targets[0], state);
	targets->events->changed(targets->context, known);
	return 0;
}
