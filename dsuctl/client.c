/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to the daemon: finding it, asking it, and telling apart what can go wrong on the
 * way. Without a bus the connection is a socket of the daemon's own; names and signals work alike
 * then, so no caller needs to know. Whatever the peer sends goes through ctl_json_from_message().
 */
#include "dsuctl/client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "dsuctl/json.h"
#include "dsuctl/outcome.h"
#include "dsuctl/print.h"
#include "dsud/contract.h"

#define BUS_NAME "org.freedesktop.DBus"
#define BUS_PATH "/org/freedesktop/DBus"

INJ_DEFINE_GUARD(sd_bus *, sd_bus_flush_close_unref, bus_guard)

static int no_daemon(const struct ctl_options *options, const char *list, const char *where,
		     int err)
{
	return ctl_fail(options, list, CTL_ERROR_NO_DAEMON, "No daemon is reachable at %s: %s.",
			where, strerror(err));
}

static int not_allowed(const struct ctl_options *options, const char *list, const char *where,
		       int err)
{
	return ctl_fail(options, list, CTL_ERROR_NOT_ALLOWED,
			"The daemon at %s does not talk to this user: %s.", where, strerror(err));
}

static int told(const struct ctl_options *options, const char *list, const char *where, int err)
{
	return err == EACCES || err == EPERM ? not_allowed(options, list, where, err)
					     : no_daemon(options, list, where, err);
}

/* Ours instead of an address for sd-bus: errors stay apart and no path needs escaping. */
static int connect_socket(const char *path, int *ret)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	INJ_CLOSE int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	*ret = inj_take_fd(&fd);
	return 0;
}

static int open_socket(const char *path, sd_bus **ret)
{
	INJ_CLEANUP(bus_guard) sd_bus *bus = NULL;
	INJ_CLOSE int fd = -1;
	int r;

	r = connect_socket(path, &fd);
	if (r < 0)
		return r;
	r = sd_bus_new(&bus);
	if (r < 0)
		return r;
	r = sd_bus_set_fd(bus, fd, fd);
	if (r < 0)
		return r;
	inj_take_fd(&fd);
	r = sd_bus_start(bus);
	if (r < 0)
		return r;
	/* The peer may still turn us away; better now than in the middle of a verb. */
	r = sd_bus_is_ready(bus);
	while (r == 0) {
		r = sd_bus_process(bus, NULL);
		if (r == 0)
			r = sd_bus_wait(bus, CTL_CALL_TIMEOUT_USEC);
		if (r < 0)
			return r;
		r = sd_bus_is_ready(bus);
	}
	if (r < 0)
		return r;
	*ret = INJ_TAKE(bus);
	return 0;
}

static bool bus_answers_yes(sd_bus *bus, const char *method)
{
	CTL_MESSAGE sd_bus_message *reply = NULL;
	int yes = 0;

	if (sd_bus_call_method(bus, BUS_NAME, BUS_PATH, BUS_NAME, method, NULL, &reply, "s",
			       DSUD_BUS_NAME) < 0 ||
	    sd_bus_message_read(reply, "b", &yes) < 0)
		yes = 0;
	return yes;
}

static bool is_activatable(sd_bus *bus)
{
	CTL_MESSAGE sd_bus_message *reply = NULL;
	bool found = false;
	const char *name;

	if (sd_bus_call_method(bus, BUS_NAME, BUS_PATH, BUS_NAME, "ListActivatableNames", NULL,
			       &reply, "") >= 0 &&
	    sd_bus_message_enter_container(reply, SD_BUS_TYPE_ARRAY, "s") >= 0)
		while (!found && sd_bus_message_read(reply, "s", &name) > 0)
			found = strcmp(name, DSUD_BUS_NAME) == 0;
	return found;
}

/* -ENOENT: there is a bus, but no daemon on it. */
static int open_bus(const char *host, sd_bus **ret)
{
	INJ_CLEANUP(bus_guard) sd_bus *bus = NULL;
	int r;

	r = host ? sd_bus_open_system_remote(&bus, host) : sd_bus_open_system(&bus);
	if (r < 0)
		return r;
	if (!bus_answers_yes(bus, "NameHasOwner") && !is_activatable(bus))
		return -ENOENT;
	*ret = INJ_TAKE(bus);
	return 0;
}

/* Units are the service manager's notion; without one there are none. */
static int check_units(const struct ctl_options *options, const char *list)
{
	for (size_t i = 0; i < options->n_targets; i++)
		if (strcmp(options->targets[i].kind, DSUD_SELECT_UNIT) == 0 && !options->host &&
		    sd_booted() <= 0)
			return ctl_fail(options, list, DSUD_ERROR_NO_SUCH_PROCESS,
					"No systemd runs here, so there is no unit %s; name its "
					"processes by --pid=, --exe= or --comm=.",
					options->targets[i].value);
	return 0;
}

static int open_remote(struct ctl_client *client)
{
	int r = open_bus(client->options->host, &client->bus);

	if (r < 0)
		return no_daemon(client->options, client->list, client->options->host, -r);
	client->destination = DSUD_BUS_NAME;
	return 0;
}

/* A path too long for a socket is too long for this buffer, too, and stays so when cut. */
static void choose_socket(const struct ctl_options *options, char ret[static CTL_PLACE_MAX])
{
	if (options->socket)
		snprintf(ret, CTL_PLACE_MAX, "%s", options->socket);
	else if (options->state_dir)
		snprintf(ret, CTL_PLACE_MAX, "%s/" DSUD_SOCKET_IN_STATE_DIR,
			 options->state_dir);
	else
		snprintf(ret, CTL_PLACE_MAX, "%s", DSUD_SOCKET_PATH);
}

static bool wants_socket(const struct ctl_options *options)
{
	return options->socket || options->state_dir;
}

static int open_private(struct ctl_client *client)
{
	char path[CTL_PLACE_MAX];
	int r;

	choose_socket(client->options, path);
	r = open_socket(path, &client->bus);
	return r < 0 ? told(client->options, client->list, path, -r) : 0;
}

int ctl_client_open(struct ctl_client *ret, const struct ctl_options *options, const char *list)
{
	int r;

	*ret = (struct ctl_client){.options = options, .list = list};
	r = check_units(options, list);
	if (r > 0)
		return r;
	if (options->host)
		return open_remote(ret);
	if (!wants_socket(options) && open_bus(NULL, &ret->bus) == 0) {
		ret->destination = DSUD_BUS_NAME;
		/* The bus's policy decides; a person at a terminal may be asked for a password. */
		sd_bus_set_allow_interactive_authorization(ret->bus, isatty(STDIN_FILENO));
		return 0;
	}
	return open_private(ret);
}

bool ctl_client_find(const struct ctl_options *options, char ret_place[static CTL_PLACE_MAX])
{
	INJ_CLEANUP(bus_guard) sd_bus *bus = NULL;

	if (!wants_socket(options) && sd_bus_open_system(&bus) >= 0 &&
	    bus_answers_yes(bus, "NameHasOwner")) {
		snprintf(ret_place, CTL_PLACE_MAX, "the system bus");
		return true;
	}
	bus = sd_bus_flush_close_unref(bus);
	choose_socket(options, ret_place);
	return open_socket(ret_place, &bus) >= 0;
}

void ctl_client_close(struct ctl_client *client)
{
	client->bus = sd_bus_flush_close_unref(client->bus);
}

static const char *name_of_errno(int r)
{
	switch (r) {
	case -EACCES:
	case -EPERM:
		return CTL_ERROR_NOT_ALLOWED;
	case -ETIMEDOUT:
		return SD_BUS_ERROR_NO_REPLY;
	case -ECONNRESET:
	case -ENOTCONN:
	case -EPIPE:
		return SD_BUS_ERROR_DISCONNECTED;
	default:
		return CTL_ERROR_FAILED;
	}
}

int ctl_client_fail(const struct ctl_client *client, const sd_bus_error *error, int r)
{
	/* sd-bus invents an error for a failure on this side; errno says it better. */
	bool is_local = !error || !sd_bus_error_is_set(error) ||
			strncmp(error->name, "System.Error.", 13) == 0 ||
			sd_bus_error_has_name(error, SD_BUS_ERROR_DISCONNECTED) ||
			sd_bus_error_has_name(error, SD_BUS_ERROR_TIMEOUT);

	if (!is_local)
		return ctl_fail(client->options, client->list, error->name, "%s",
				error->message && *error->message ? error->message : error->name);
	return ctl_fail(client->options, client->list, name_of_errno(r),
			"The daemon did not answer: %s.", strerror(-r));
}

int ctl_client_new_call(const struct ctl_client *client, const char *method, sd_bus_message **ret)
{
	return sd_bus_message_new_method_call(client->bus, ret, client->destination, DSUD_PATH_ROOT,
					      DSUD_IFACE_MANAGER, method);
}

int ctl_client_append_targets(sd_bus_message *call, const struct ctl_options *options)
{
	int r = sd_bus_message_open_container(call, SD_BUS_TYPE_ARRAY, "(ss)");

	for (size_t i = 0; r >= 0 && i < options->n_targets; i++)
		r = sd_bus_message_append(call, "(ss)", options->targets[i].kind,
					  options->targets[i].value);
	return r < 0 ? r : sd_bus_message_close_container(call);
}

int ctl_client_append_options(sd_bus_message *call, const struct ctl_options *options,
			      bool with_timeout, int patch_fd)
{
	int r = sd_bus_message_open_container(call, SD_BUS_TYPE_ARRAY, "{sv}");

	/* The daemon takes no 0; the least that it takes is over before anything can happen,
	 * too. */
	if (r >= 0 && with_timeout)
		r = sd_bus_message_append(call, "{sv}", DSUD_OPTION_TIMEOUT, "t",
					  options->timeout_usec ? options->timeout_usec : 1);
	if (r >= 0 && options->protocol)
		r = sd_bus_message_append(call, "{sv}", DSUD_OPTION_PROTOCOL, "s",
					  options->protocol);
	if (r >= 0 && patch_fd >= 0)
		r = sd_bus_message_append(call, "{sv}", DSUD_OPTION_PATCH, "h", patch_fd);
	return r < 0 ? r : sd_bus_message_close_container(call);
}

int ctl_client_ask(const struct ctl_client *client, sd_bus_message *call, const char *type,
		   json_t **ret)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	CTL_MESSAGE sd_bus_message *reply = NULL;
	int r;

	r = sd_bus_call(client->bus, call, CTL_CALL_TIMEOUT_USEC, &error, &reply);
	if (r >= 0)
		r = ctl_json_from_message(reply, type, ret);
	if (r < 0)
		r = ctl_client_fail(client, &error, r);
	sd_bus_error_free(&error);
	return r;
}

int ctl_client_properties(const struct ctl_client *client, const char *path, const char *interface,
			  json_t **ret)
{
	CTL_MESSAGE sd_bus_message *reply = NULL;
	int r;

	r = sd_bus_call_method(client->bus, client->destination, path,
			       "org.freedesktop.DBus.Properties", "GetAll", NULL, &reply, "s",
			       interface);
	if (r >= 0)
		r = ctl_json_from_message(reply, "a{sv}", ret);
	return r;
}

int ctl_client_property(const struct ctl_client *client, const char *path, const char *interface,
			const char *name, json_t **ret)
{
	CTL_MESSAGE sd_bus_message *reply = NULL;
	int r;

	r = sd_bus_call_method(client->bus, client->destination, path,
			       "org.freedesktop.DBus.Properties", "Get", NULL, &reply, "ss",
			       interface, name);
	if (r >= 0)
		r = ctl_json_from_message(reply, "v", ret);
	return r;
}

static int watch_owner(const struct ctl_client *client, sd_bus_message_handler_t on_loss,
		       void *context)
{
	/* An empty third argument: the name has no owner any more. */
	return sd_bus_add_match(client->bus, NULL,
				"type='signal',sender='" BUS_NAME "',path='" BUS_PATH "',"
				"interface='" BUS_NAME "',member='NameOwnerChanged',"
				"arg0='" DSUD_BUS_NAME "',arg2=''",
				on_loss, context);
}

int ctl_client_watch(const struct ctl_client *client, const char *interface,
		     sd_bus_message_handler_t handler, sd_bus_message_handler_t on_loss,
		     void *context)
{
	int r;

	r = sd_bus_match_signal(client->bus, NULL, client->destination, NULL, interface, NULL,
				handler, context);
	if (r >= 0 && client->destination)
		r = watch_owner(client, on_loss, context);
	if (r >= 0)
		r = sd_bus_match_signal(client->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
					"org.freedesktop.DBus.Local", "Disconnected", on_loss,
					context);
	return r < 0 ? r : 0;
}
