/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls of clients: the first byte chooses the method, the rest its arguments. What is read is an
 * order within all limits, or an error with a sentence that can be shown; the weight of a message
 * is found within its limit. Finding processes is not part of this: whatever is named counts as
 * found once.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dsud/bus/arguments.h"
#include "dsud/bus/callers.h"
#include "dsud/contract.h"
#include "injector/base/cleanup.h"
#include "injector/base/why.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/make-message.h"

INJ_DEFINE_GUARD(sd_bus_message *, sd_bus_message_unref, message_guard)

int dsud_selector_from_word(const char *word, enum dsud_selector *ret)
{
	*ret = DSUD_BY_PID;
	return strcmp(word, "pid") == 0 || strcmp(word, "exe") == 0 || strcmp(word, "comm") == 0
		       ? 0
		       : -EINVAL;
}

int dsud_select(struct dsud_selection *selection, enum dsud_selector by, const char *value,
		struct inj_why *why)
{
	if (value[0] == '-')
		return inj_refuse(why, INJ_NO_SUCH_PROCESS, "No process %s.", value);
	if (selection->n == DSUD_MAX_TARGETS_PER_UPDATE)
		return inj_refuse(why, INJ_BUSY, "Too many.");
	selection->subjects[selection->n++] = (struct dsud_subject){.pid = 1, .start_ticks = 1};
	return 0;
}

const char *const *upd_protocols(void)
{
	static const char *const names[] = {"safe-redefine", NULL};

	return names;
}

/* Of the daemon, but it brings the registry along. */
void dsud_order_deinit(struct dsud_order *order)
{
	inj_close_guard(&order->patch_fd);
	free(order->patch_name);
	free(order->patch_id);
	free(order->protocol);
	free(order->subjects);
}

static const struct {
	enum upd_kind kind;
	const char *types;
} methods[] = {
	{UPD_APPLY, "hsa(ss)a{sv}"}, {UPD_REVERT, "sa(ss)a{sv}"}, {UPD_CHECK, "hsa(ss)a{sv}"},
	{UPD_STACKS, "a(ss)a{sv}"},  {UPD_STATUS, "a(ss)"},
};

static void expect_shown_well(const char *text)
{
	INJ_FREE char *copy = text ? strdup(text) : NULL;

	if (!copy)
		return;
	inj_printable(copy);
	if (strcmp(copy, text) != 0)
		abort();
}

static int read_call(sd_bus_message *call, struct dsud_order *order, sd_bus_error *error)
{
	int r = 0;

	if (order->kind == UPD_APPLY || order->kind == UPD_CHECK)
		r = dsud_read_patch(call, order, error);
	else if (order->kind == UPD_REVERT)
		r = dsud_read_patch_id(call, order, error);
	if (r >= 0)
		r = dsud_read_targets(call, order->kind == UPD_STATUS, order, error);
	if (r >= 0 && order->kind != UPD_STATUS)
		r = dsud_read_options(call, order, error);
	return r;
}

static void weigh(sd_bus_message *call, size_t length)
{
	size_t all = dsud_message_weight(call, SIZE_MAX / 2);

	/* Empty items come without bytes, within the bounds of make_message(). */
	if (all > (1 << 20) + 128 * length)
		abort();
	if (all > 64 && dsud_message_weight(call, all / 2) <= all / 2)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	INJ_CLEANUP(message_guard) sd_bus_message *call = NULL;
	INJ_CLEANUP(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	INJ_CLEANUP(dsud_order_deinit) struct dsud_order order = {.patch_fd = -1};
	static int fd = -1;
	size_t method;

	if (length == 0)
		return 0;
	if (fd < 0) {
		fd = memfd_create("patch", MFD_CLOEXEC);
		if (fd < 0 || write(fd, "patch", 5) != 5)
			abort();
	}
	method = bytes[0] % INJ_ARRAY_LENGTH(methods);
	order.kind = methods[method].kind;
	call = make_message(bytes + 1, length - 1, methods[method].types, fd);
	if (!call)
		return 0;
	weigh(call, length);
	if (read_call(call, &order, &error) < 0) {
		expect_shown_well(error.message);
		return 0;
	}
	if (order.n_subjects > DSUD_MAX_TARGETS_PER_UPDATE ||
	    order.timeout_ns > DSUD_MAX_TIMEOUT_USEC * 1000)
		abort();
	expect_shown_well(order.patch_name);
	expect_shown_well(order.patch_id);
	return 0;
}
