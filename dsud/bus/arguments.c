/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the reading of method calls: what a caller sends becomes an order, or an error that says
 * which argument is wrong and what would be right. Options stand in a table.
 * Refuses unknown names instead of passing over them: a misspelt option must not be lost silently.
 */
#include <errno.h>
#include <string.h>

#include "dsud/bus/arguments.h"
#include "dsud/bus/bus-error.h"
#include "dsud/bus/patch-copy.h"
#include "dsud/contract.h"
#include "injector/base/cleanup.h"

#define MAX_NAME_BYTES 255

static int copy_text(char **place, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*place);
	*place = copy;
	return 0;
}

/* A name that is shown to people and stored in ledgers. */
static int copy_name(char **place, const char *what, const char *text, sd_bus_error *error)
{
	char shown[MAX_NAME_BYTES + 1];

	if (text[0] == '\0')
		return dsud_bus_usage(error, "The %s is empty. Name it.", what);
	if (strlen(text) > MAX_NAME_BYTES)
		return dsud_bus_usage(error, "The %s has more than %d bytes.", what,
				      MAX_NAME_BYTES);
	strcpy(shown, text);
	inj_printable(shown);
	if (strcmp(shown, text) != 0)
		return dsud_bus_usage(error, "The %s '%s' has control characters.", what, shown);
	return copy_text(place, text);
}

int dsud_read_patch(sd_bus_message *message, struct dsud_order *order, sd_bus_error *error)
{
	struct inj_why why;
	const char *name;
	const char *slash;
	int fd;
	int r = sd_bus_message_read(message, "hs", &fd, &name);

	if (r < 0)
		return r;
	slash = strrchr(name, '/');
	r = copy_name(&order->patch_name, "patch name", slash ? slash + 1 : name, error);
	if (r < 0)
		return r;
	r = dsud_patch_copy(fd, order->patch_name, &order->patch_fd, &why);
	return r != 0 ? dsud_bus_error(error, r, &why) : 0;
}

int dsud_read_patch_id(sd_bus_message *message, struct dsud_order *order, sd_bus_error *error)
{
	const char *id;
	int r = sd_bus_message_read(message, "s", &id);

	return r < 0 ? r : copy_name(&order->patch_id, "patch id", id, error);
}

/* --- targets ------------------------------------------------------------------------------ */

/* Each search looks at every process of the machine while others wait. */
static int read_target(sd_bus_message *message, struct dsud_selection *selection,
		       unsigned *n_searches, sd_bus_error *error)
{
	enum dsud_selector by;
	struct inj_why why;
	const char *word;
	const char *value;
	int r = sd_bus_message_read(message, "(ss)", &word, &value);

	if (r <= 0)
		return r;
	if (dsud_selector_from_word(word, &by) < 0)
		return dsud_bus_usage(
			error, "There is no selector '%s'. Use pid, exe, comm or unit.", word);
	if (by != DSUD_BY_PID && ++*n_searches > DSUD_MAX_SEARCHES)
		return sd_bus_error_setf(error, DSUD_ERROR_BUSY,
					 "More than %d targets are named by exe, comm or unit. "
					 "Name them by pid, or split them into several updates.",
					 DSUD_MAX_SEARCHES);
	r = dsud_select(selection, by, value, &why);
	return r != 0 ? dsud_bus_error(error, r, &why) : 1;
}

int dsud_read_targets(sd_bus_message *message, bool may_be_empty, struct dsud_order *order,
		      sd_bus_error *error)
{
	INJ_FREE struct dsud_selection *selection = calloc(1, sizeof(*selection));
	unsigned n_searches = 0;
	size_t n_named = 0;
	int r;

	if (!selection)
		return -ENOMEM;
	r = sd_bus_message_enter_container(message, 'a', "(ss)");
	while (r >= 0 && (r = read_target(message, selection, &n_searches, error)) > 0)
		if (++n_named > DSUD_MAX_TARGETS_PER_UPDATE)
			return sd_bus_error_setf(error, DSUD_ERROR_BUSY,
						 "More than %d targets are named. Split them into "
						 "several updates.",
						 DSUD_MAX_TARGETS_PER_UPDATE);
	if (r >= 0)
		r = sd_bus_message_exit_container(message);
	if (r < 0)
		return r;
	if (selection->n == 0 && !may_be_empty)
		return dsud_bus_usage(error, "No target is named. Name at least one process.");
	order->n_subjects = selection->n;
	order->subjects = malloc(selection->n * sizeof(*order->subjects) + 1);
	if (!order->subjects)
		return -ENOMEM;
	memcpy(order->subjects, selection->subjects, selection->n * sizeof(*order->subjects));
	return 0;
}

/* --- options ------------------------------------------------------------------------------ */

static int read_usec(sd_bus_message *message, const char *name, uint64_t max_usec, uint64_t *ret_ns,
		     sd_bus_error *error)
{
	uint64_t usec;
	int r = sd_bus_message_read(message, "v", "t", &usec);

	if (r < 0)
		return r;
	if (usec == 0 || usec > max_usec)
		return dsud_bus_usage(error, "The option %s is %llu. It goes from 1 to %llu.", name,
				      (unsigned long long)usec, (unsigned long long)max_usec);
	*ret_ns = usec * 1000u;
	return 0;
}

static int read_timeout(sd_bus_message *message, struct dsud_order *order, sd_bus_error *error)
{
	return read_usec(message, DSUD_OPTION_TIMEOUT, DSUD_MAX_TIMEOUT_USEC, &order->timeout_ns,
			 error);
}

static int read_hold_budget(sd_bus_message *message, struct dsud_order *order, sd_bus_error *error)
{
	return read_usec(message, DSUD_OPTION_HOLD_BUDGET, DSUD_MAX_TIMEOUT_USEC,
			 &order->hold_budget_ns, error);
}

static int read_protocol(sd_bus_message *message, struct dsud_order *order, sd_bus_error *error)
{
	const char *name;
	int r = sd_bus_message_read(message, "v", "s", &name);

	if (r < 0)
		return r;
	for (const char *const *known = upd_protocols(); *known; known++)
		if (strcmp(*known, name) == 0)
			return copy_text(&order->protocol, name);
	return dsud_bus_usage(error, "There is no update protocol '%s'. Name %s, or none.", name,
			      upd_protocols()[0]);
}

static int read_marking_patch(sd_bus_message *message, struct dsud_order *order,
			      sd_bus_error *error)
{
	struct inj_why why;
	int fd;
	int r = sd_bus_message_read(message, "v", "h", &fd);

	if (r < 0)
		return r;
	r = copy_text(&order->patch_name, "of the option 'patch'");
	if (r < 0)
		return r;
	r = dsud_patch_copy(fd, order->patch_name, &order->patch_fd, &why);
	return r != 0 ? dsud_bus_error(error, r, &why) : 0;
}

#define KIND_BIT(kind) (1u << (kind))

static const struct option {
	const char *name;
	const char *type;
	unsigned kinds;
	int (*read)(sd_bus_message *message, struct dsud_order *order, sd_bus_error *error);
} options[] = {
	{DSUD_OPTION_TIMEOUT, "t",
	 KIND_BIT(UPD_APPLY) | KIND_BIT(UPD_REVERT) | KIND_BIT(UPD_CHECK) | KIND_BIT(UPD_STACKS),
	 read_timeout},
	{DSUD_OPTION_PROTOCOL, "s",
	 KIND_BIT(UPD_APPLY) | KIND_BIT(UPD_REVERT) | KIND_BIT(UPD_CHECK), read_protocol},
	{DSUD_OPTION_HOLD_BUDGET, "t",
	 KIND_BIT(UPD_APPLY) | KIND_BIT(UPD_REVERT) | KIND_BIT(UPD_CHECK) | KIND_BIT(UPD_STACKS),
	 read_hold_budget},
	{DSUD_OPTION_PATCH, "h", KIND_BIT(UPD_STACKS), read_marking_patch},
};

static int read_option(sd_bus_message *message, struct dsud_order *order, unsigned *seen,
		       sd_bus_error *error)
{
	const char *name;
	const char *type;
	char kind;
	int r = sd_bus_message_read(message, "s", &name);

	if (r < 0)
		return r;
	r = sd_bus_message_peek_type(message, &kind, &type);
	if (r < 0)
		return r;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(options); i++) {
		const struct option *option = &options[i];

		if (strcmp(option->name, name) != 0 || !(option->kinds & KIND_BIT(order->kind)))
			continue;
		if (strcmp(option->type, type) != 0)
			return dsud_bus_usage(error, "The option '%s' has the type %s, not %s.",
					      name, option->type, type);
		if (*seen & (1u << i))
			return dsud_bus_usage(error, "The option '%s' stands twice.", name);
		*seen |= 1u << i;
		return option->read(message, order, error);
	}
	return dsud_bus_usage(error, "There is no option '%s' here. See org.dsud1(5).", name);
}

int dsud_read_options(sd_bus_message *message, struct dsud_order *order, sd_bus_error *error)
{
	unsigned seen = 0;
	int r = sd_bus_message_enter_container(message, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
		r = read_option(message, order, &seen, error);
		if (r >= 0)
			r = sd_bus_message_exit_container(message);
	}
	return r < 0 ? r : sd_bus_message_exit_container(message);
}
