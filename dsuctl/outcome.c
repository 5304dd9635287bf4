/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an outcome means to the caller's shell, and what a person should try next. One table knows
 * every error name; the exit codes are a contract. Several targets give one exit code, the one
 * that needs most attention.
 */
#include "dsuctl/outcome.h"

#include <stddef.h>
#include <string.h>

#include "dsuctl/json.h"
#include "dsud/contract.h"
#include "injector/base/types.h"

#define DSUD DSUD_ERROR_PREFIX
#define DBUS "org.freedesktop.DBus.Error."

static const struct {
	const char *name;
	enum ctl_exit code;
	const char *advice;
} errors[] = {
	{DSUD "BadPatch", CTL_EXIT_REFUSED, NULL},
	{DSUD "NoSuchSymbol", CTL_EXIT_REFUSED,
	 "Check the name with `nm`; a stripped program may need its debug symbols."},
	{DSUD "AmbiguousSymbol", CTL_EXIT_REFUSED,
	 "dsu-patch(5) tells how a patch says which one is meant."},
	{DSUD "BuildIdMismatch", CTL_EXIT_REFUSED,
	 "Build the patch against the version that is running."},
	{DSUD "Inlined", CTL_EXIT_REFUSED,
	 "Replace the functions it was inlined into as well."},
	{DSUD "FunctionTooShort", CTL_EXIT_REFUSED,
	 "Replace a caller of this function instead."},
	{DSUD "UnsafeCallers", CTL_EXIT_REFUSED,
	 "Put the callers named above into the patch as well."},
	{DSUD "UnsupportedRelocation", CTL_EXIT_REFUSED,
	 "Compile the patch with -shared -fPIC and without special code models."},
	{DSUD "UnsupportedTls", CTL_EXIT_REFUSED,
	 "A patch may use thread-local variables of the target, but cannot bring new ones."},
	{DSUD "UnreliableStack", CTL_EXIT_REFUSED,
	 "`dsuctl stacks` shows which thread's stack cannot be read to its end."},
	{DSUD "Blocked", CTL_EXIT_BLOCKED,
	 "`dsuctl stacks --patch=FILE` shows who is where; give --timeout= more seconds to wait."},
	{DSUD "AlreadyApplied", CTL_EXIT_REFUSED, "`dsuctl status` lists what is active."},
	{DSUD "NotApplied", CTL_EXIT_REFUSED, NULL},
	{DSUD "DependsOn", CTL_EXIT_REFUSED, "Revert the later patch first."},
	{DSUD "NoSuchProcess", CTL_EXIT_NO_TARGET, NULL},
	{DSUD "ProcessGone", CTL_EXIT_NO_TARGET, "It ended by itself; choose a running process."},
	{DSUD "AlreadyTraced", CTL_EXIT_REFUSED,
	 "End the debugger or strace that is attached, then try again."},
	{DSUD "UnsupportedProcess", CTL_EXIT_REFUSED, NULL},
	{DSUD "HookFailed", CTL_EXIT_FAILED, "The hook belongs to the patch; ask its author."},
	{DSUD "BadSignature", CTL_EXIT_NOT_ALLOWED,
	 "Sign the patch with a key that this host trusts."},
	{DSUD "Busy", CTL_EXIT_FAILED, "Wait for the running update to end: `dsuctl status`."},
	{DSUD "Cancelled", CTL_EXIT_FAILED,
	 "The target is as it was; the command can be repeated."},
	{DSUD "AccessDenied", CTL_EXIT_NOT_ALLOWED, "Run the command as root."},
	{DSUD "Internal", CTL_EXIT_FAILED, "The daemon's log has the details."},
	{DBUS "InvalidArgs", CTL_EXIT_USAGE, NULL},
	{DBUS "FileNotFound", CTL_EXIT_USAGE, NULL},
	{DBUS "NotSupported", CTL_EXIT_USAGE, NULL},
	{DBUS "AccessDenied", CTL_EXIT_NOT_ALLOWED, "Run the command as root."},
	{DBUS "AuthFailed", CTL_EXIT_NOT_ALLOWED, "Run the command as root."},
	{DBUS "InteractiveAuthorizationRequired", CTL_EXIT_NOT_ALLOWED, "Run the command as root."},
	{DBUS "ServiceUnknown", CTL_EXIT_NO_DAEMON,
	 "Start the daemon: `systemctl start dsud`, or by hand `sudo dsud &`."},
	{DBUS "NameHasNoOwner", CTL_EXIT_NO_DAEMON,
	 "Start the daemon: `systemctl start dsud`, or by hand `sudo dsud &`."},
	{DBUS "NoServer", CTL_EXIT_NO_DAEMON,
	 "Start the daemon: `systemctl start dsud`, or by hand `sudo dsud &`."},
	{DBUS "NoReply", CTL_EXIT_NO_DAEMON,
	 "Look at the daemon's log; `dsuctl status` tells what happened in the end."},
	{DBUS "Disconnected", CTL_EXIT_NO_DAEMON,
	 "When the daemon runs again it settles what was under way; `dsuctl status` then tells."},
	{DBUS "LimitsExceeded", CTL_EXIT_FAILED, "Wait for running updates: `dsuctl status`."},
};

/* Words of `result` for targets that carry no error. */
static const struct {
	const char *result;
	enum ctl_exit code;
} results[] = {
	{"applied", CTL_EXIT_DONE},	   {"reverted", CTL_EXIT_DONE},
	{"unchanged", CTL_EXIT_DONE},	   {"refused", CTL_EXIT_REFUSED},
	{"blocked", CTL_EXIT_BLOCKED},	   {"failed", CTL_EXIT_FAILED},
	{"gone", CTL_EXIT_NO_TARGET},
};

/* Gravest first. */
static const enum ctl_exit order[] = {
	CTL_EXIT_FAILED,    CTL_EXIT_USAGE,   CTL_EXIT_NO_DAEMON, CTL_EXIT_NOT_ALLOWED,
	CTL_EXIT_NO_TARGET, CTL_EXIT_REFUSED, CTL_EXIT_BLOCKED,	  CTL_EXIT_DONE,
};

enum ctl_exit ctl_outcome_of_error(const char *name)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(errors); i++)
		if (strcmp(errors[i].name, name) == 0)
			return errors[i].code;
	return CTL_EXIT_FAILED;
}

const char *ctl_outcome_advice(const char *name)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(errors); i++)
		if (strcmp(errors[i].name, name) == 0)
			return errors[i].advice;
	return NULL;
}

enum ctl_exit ctl_outcome_of_target(const json_t *target)
{
	const char *error = ctl_json_get_text(target, "error");
	const char *result = ctl_json_get_text(target, "result");

	if (*error)
		return ctl_outcome_of_error(error);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(results); i++)
		if (strcmp(results[i].result, result) == 0)
			return results[i].code;
	return *result ? CTL_EXIT_FAILED : CTL_EXIT_DONE;
}

bool ctl_outcome_is_cancelled(const json_t *target)
{
	return strcmp(ctl_json_get_text(target, DSUD_KEY_ERROR), DSUD_ERROR_CANCELLED) == 0;
}

static size_t rank(enum ctl_exit code)
{
	size_t i = 0;

	while (i < INJ_ARRAY_LENGTH(order) - 1 && order[i] != code)
		i++;
	return i;
}

enum ctl_exit ctl_outcome_of_list(const json_t *list)
{
	enum ctl_exit worst = CTL_EXIT_DONE;
	bool is_cancelled = false;
	const json_t *target;
	size_t index;

	json_array_foreach(list, index, target) {
		enum ctl_exit code = ctl_outcome_of_target(target);

		if (ctl_outcome_is_cancelled(target))
			is_cancelled = true;
		else if (rank(code) < rank(worst))
			worst = code;
	}
	return worst == CTL_EXIT_DONE && is_cancelled ? CTL_EXIT_FAILED : worst;
}
