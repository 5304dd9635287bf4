/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the private socket: D-Bus from peer to peer, without a broker, for root. Always holds: one
 * daemon has the socket, by a lock beside it; a socket that nobody listens on any more is
 * replaced; who speaks is known from the kernel, not from the peer.
 * Refuses users other than root, and peers beyond DSUD_MAX_CONNECTIONS.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "dsud/bus/access.h"
#include "dsud/bus/bus.h"
#include "dsud/bus/objects.h"
#include "dsud/contract.h"
#include "dsud/log.h"
#include "injector/base/cleanup.h"

#define PAUSE_USEC 1000000u

static int make_address(const char *path, struct sockaddr_un *ret, struct inj_why *why)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (path[0] != '/' || strlen(path) >= sizeof(ret->sun_path)) {
		inj_refuse(why, INJ_INTERNAL,
			   "%s cannot be a socket. Name a path that begins with / and has fewer "
			   "than %zu bytes.",
			   path, sizeof(ret->sun_path));
		return -EINVAL;
	}
	strcpy(ret->sun_path, path);
	return 0;
}

static int make_parent(const char *path, struct inj_why *why)
{
	char parent[PATH_MAX];
	char *slash;

	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return 0;
	*slash = '\0';
	if (mkdir(parent, 0755) == 0 || errno == EEXIST)
		return 0;
	/* A state directory that holds the socket may be two levels below what is there. */
	slash = strrchr(parent, '/');
	if (errno == ENOENT && slash != parent) {
		*slash = '\0';
		if (mkdir(parent, 0755) < 0 && errno != EEXIST)
			return inj_broke(why, -errno, "Cannot create the directory %s", parent);
		*slash = '/';
		if (mkdir(parent, 0755) == 0 || errno == EEXIST)
			return 0;
	}
	return inj_broke(why, -errno, "Cannot create the directory %s of the private socket",
			 parent);
}

static int lock_socket(struct dsud_bus *bus, const char *path, struct inj_why *why)
{
	char lock[PATH_MAX];

	snprintf(lock, sizeof(lock), "%s.lock", path);
	bus->socket_lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (bus->socket_lock_fd < 0)
		return inj_broke(why, -errno, "Cannot open %s", lock);
	if (flock(bus->socket_lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return inj_broke(why, -errno, "Cannot lock %s", lock);
	return inj_refuse(
		why, INJ_BUSY,
		"Another dsud listens on %s already. Use it, stop it first, or name another "
		"socket with --socket.",
		path);
}

/* Whoever holds the lock may remove what is left, unless another program listens there. */
static int remove_stale(const struct sockaddr_un *address, struct inj_why *why)
{
	INJ_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat status;

	if (fd < 0)
		return inj_broke(why, -errno, "Cannot make a socket");
	if (lstat(address->sun_path, &status) < 0 && errno == ENOENT)
		return 0;
	if (!S_ISSOCK(status.st_mode))
		return inj_refuse(why, INJ_BUSY,
				  "%s exists and is no socket. Remove it, or name another with "
				  "--socket.",
				  address->sun_path);
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
	    errno == EAGAIN)
		return inj_refuse(why, INJ_BUSY,
				  "Another program listens on %s. Stop it first, or name another "
				  "socket with --socket.",
				  address->sun_path);
	if (unlink(address->sun_path) < 0 && errno != ENOENT)
		return inj_broke(why, -errno, "Cannot remove the stale socket %s",
				 address->sun_path);
	return 0;
}

int dsud_bus_claim_socket(struct dsud_bus *bus, const char *path, struct inj_why *why)
{
	struct sockaddr_un address;
	int r = make_address(path, &address, why);

	if (r == 0)
		r = make_parent(path, why);
	if (r == 0)
		r = lock_socket(bus, path, why);
	if (r == 0)
		r = remove_stale(&address, why);
	if (r != 0)
		return r;
	bus->socket_path = strdup(path);
	return bus->socket_path ? 0 : inj_broke(why, -ENOMEM, "Cannot listen on %s", path);
}

/* --- peers -------------------------------------------------------------------------------- */

static size_t count_private(const struct dsud_bus *bus)
{
	size_t n = 0;

	for (struct dsud_connection *one = bus->first; one; one = one->next)
		n += !one->is_system;
	return n;
}

/* fd: taken. */
static int make_server(struct dsud_bus *owner, int fd, sd_bus **ret)
{
	sd_bus *bus = NULL;
	int r = sd_bus_new(&bus);

	if (r < 0) {
		close(fd);
		return r;
	}
	r = sd_bus_set_fd(bus, fd, fd);
	if (r < 0) {
		close(fd);
		sd_bus_unref(bus);
		return r;
	}
	r = sd_bus_set_description(bus, "private");
	if (r >= 0)
		r = sd_bus_set_server(bus, 1, owner->server_id);
	if (r >= 0)
		r = sd_bus_set_anonymous(bus, 0);
	if (r >= 0)
		r = sd_bus_negotiate_fds(bus, 1);
	/* Clients can match signals by sender, as on a bus. */
	if (r >= 0)
		r = sd_bus_set_sender(bus, DSUD_BUS_NAME);
	if (r < 0) {
		sd_bus_unref(bus);
		return r;
	}
	*ret = bus;
	return 0;
}

static int serve(struct dsud_bus *owner, int fd, uid_t uid)
{
	struct dsud_connection *connection = NULL;
	sd_bus *bus = NULL;
	int r = make_server(owner, fd, &bus);

	if (r >= 0)
		r = dsud_connection_new(owner, bus, false, &connection);
	if (r < 0)
		return r;
	connection->is_refused = !dsud_access_peer(uid);
	r = connection->is_refused ? dsud_access_refuse_all(bus) : dsud_objects_add(connection);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		r = sd_bus_attach_event(bus, owner->event, SD_EVENT_PRIORITY_NORMAL);
	if (r < 0)
		dsud_connection_drop(connection);
	return r;
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct dsud_bus *bus = userdata;

	bus->pause_source = sd_event_source_disable_unref(bus->pause_source);
	return sd_event_source_set_enabled(bus->listen_source, SD_EVENT_ON);
}

/* Whoever waits to be let in makes the socket readable: without a pause we would only spin. */
static int pause_listening(struct dsud_bus *bus, int negative_errno)
{
	dsud_log_errno(LOG_ERR, negative_errno,
		       "cannot accept clients; trying again in a second");
	sd_event_source_disable_unref(bus->pause_source);
	bus->pause_source = NULL;

	int r = sd_event_add_time_relative(bus->event, &bus->pause_source, CLOCK_MONOTONIC,
					   PAUSE_USEC, 0, on_pause_over, bus);

	return r < 0 ? r : sd_event_source_set_enabled(bus->listen_source, SD_EVENT_OFF);
}

static bool is_full(struct dsud_bus *bus)
{
	bool full = count_private(bus) >= DSUD_MAX_CONNECTIONS;

	if (full && !bus->told_full)
		dsud_log(LOG_WARNING, "%d clients are connected already; others are turned away",
			 DSUD_MAX_CONNECTIONS);
	bus->told_full = full;
	return full;
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata)
{
	struct dsud_bus *bus = userdata;
	struct ucred peer;
	socklen_t length = sizeof(peer);
	int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int r;

	if (fd < 0)
		return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED
			       ? 0
			       : pause_listening(bus, -errno);
	if (is_full(bus)) {
		close(fd);
		return 0;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) {
		close(fd);
		return 0;
	}
	r = serve(bus, fd, peer.uid);
	if (r < 0)
		dsud_log_errno(LOG_ERR, r, "cannot serve a client");
	return 0;
}

int dsud_bus_listen(struct dsud_bus *bus, struct inj_why *why)
{
	struct sockaddr_un address;
	int r = make_address(bus->socket_path, &address, why);

	if (r < 0)
		return r;
	bus->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bus->listen_fd < 0)
		return inj_broke(why, -errno, "Cannot make a socket");
	/* Mode before listen(): nobody gets in between. */
	if (bind(bus->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    chmod(bus->socket_path, 0600) < 0 || listen(bus->listen_fd, DSUD_MAX_CONNECTIONS) < 0)
		return inj_broke(why, -errno, "Cannot listen on %s", bus->socket_path);
	r = sd_event_add_io(bus->event, &bus->listen_source, bus->listen_fd, EPOLLIN,
			    on_connection, bus);
	return r < 0 ? inj_broke(why, r, "Cannot listen on %s", bus->socket_path) : 0;
}

void dsud_bus_stop_listening(struct dsud_bus *bus)
{
	bus->pause_source = sd_event_source_disable_unref(bus->pause_source);
	bus->listen_source = sd_event_source_disable_unref(bus->listen_source);
	if (bus->listen_fd < 0)
		return;
	close(bus->listen_fd);
	bus->listen_fd = -1;
	unlink(bus->socket_path);
}
