/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages over a stream socket. Owns framing, descriptors on their way, and waiting with a
 * deadline. Refuses messages longer than the receiver said, before anything is allocated for them.
 */
#include "protocols/message.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "injector/base/clock.h"

struct header {
	uint32_t kind;
	uint32_t has_fd;
	uint64_t n_bytes;
};

void upd_message_deinit(struct upd_message *message)
{
	free(message->bytes);
	inj_close_guard(&message->fd);
	*message = UPD_MESSAGE_NONE;
}

static int wait_for(int socket, short events, uint64_t deadline_ns, int cancel_fd)
{
	struct pollfd fds[2] = { { .fd = socket, .events = events },
				 { .fd = cancel_fd, .events = POLLIN } };
	struct timespec timeout;
	uint64_t left;

	for (;;) {
		int n;

		left = deadline_ns == UINT64_MAX ? 0 : inj_remaining_ns(deadline_ns);
		if (deadline_ns != UINT64_MAX && left == 0)
			return -ETIMEDOUT;
		timeout = (struct timespec){ .tv_sec = (time_t)(left / 1000000000u),
					     .tv_nsec = (long)(left % 1000000000u) };
		n = ppoll(fds, cancel_fd >= 0 ? 2 : 1, deadline_ns == UINT64_MAX ? NULL : &timeout,
			  NULL);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && fds[0].revents)
			return 0;
		if (n > 0 && cancel_fd >= 0 && fds[1].revents)
			return -ECANCELED;
	}
}

static ssize_t send_some(int socket, struct msghdr *message)
{
	ssize_t n = sendmsg(socket, message, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	return errno == ECONNRESET ? -EPIPE : -errno;
}

/* Leave out what was sent. */
static void advance(struct iovec parts[2], size_t n)
{
	for (size_t i = 0; i < 2; i++) {
		size_t done = n < parts[i].iov_len ? n : parts[i].iov_len;

		parts[i].iov_base = (uint8_t *)parts[i].iov_base + done;
		parts[i].iov_len -= done;
		n -= done;
	}
}

int upd_message_send(int socket, uint32_t kind, const void *bytes, size_t n_bytes, int fd,
		     uint64_t deadline_ns, int cancel_fd)
{
	struct header header = { .kind = kind, .has_fd = fd >= 0, .n_bytes = n_bytes };
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec parts[2] = {{&header, sizeof(header)}, {(void *)(uintptr_t)bytes, n_bytes}};
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };

	if (fd >= 0) {
		struct cmsghdr *part = (void *)control;

		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(part), &fd, sizeof(fd));
	}
	while (parts[0].iov_len + parts[1].iov_len > 0) {
		ssize_t n = send_some(socket, &message);

		if (n < 0)
			return (int)n;
		if (n == 0) {
			int r = wait_for(socket, POLLOUT, deadline_ns, cancel_fd);

			if (r < 0)
				return r;
			continue;
		}
		advance(parts, (size_t)n);
		/* The descriptor went with the first byte. */
		message.msg_control = NULL;
		message.msg_controllen = 0;
	}
	return 0;
}

/* Keep one descriptor, close whatever else somebody sent. */
static void take_fds(struct msghdr *message, int *fd)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part;
	     part = CMSG_NXTHDR(message, part)) {
		size_t n = part->cmsg_len >= CMSG_LEN(0)
				   ? (part->cmsg_len - CMSG_LEN(0)) / sizeof(int)
				   : 0;

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int got;

			memcpy(&got, CMSG_DATA(part) + i * sizeof(int), sizeof(got));
			if (*fd < 0)
				*fd = got;
			else
				close(got);
		}
	}
}

static int receive_all(int socket, void *buffer, size_t n_bytes, uint64_t deadline_ns,
		       int cancel_fd, int *fd)
{
	size_t done = 0;

	while (done < n_bytes) {
		_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(4 * sizeof(int))];
		struct iovec part = { (uint8_t *)buffer + done, n_bytes - done };
		struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
					  .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int r;

		if (n > 0) {
			take_fds(&message, fd);
			done += (size_t)n;
			continue;
		}
		if (n == 0 || errno == ECONNRESET)
			return -EPIPE;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		r = wait_for(socket, POLLIN, deadline_ns, cancel_fd);
		if (r < 0)
			return r;
	}
	return 0;
}

int upd_message_receive(int socket, size_t max_bytes, uint64_t deadline_ns, int cancel_fd,
			struct upd_message *ret)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message message = UPD_MESSAGE_NONE;
	struct header header;
	int r = receive_all(socket, &header, sizeof(header), deadline_ns, cancel_fd, &message.fd);

	if (r < 0)
		return r;
	if (header.n_bytes > max_bytes)
		return -EMSGSIZE;
	message.kind = header.kind;
	message.n_bytes = header.n_bytes;
	if (message.n_bytes) {
		message.bytes = malloc(message.n_bytes);
		if (!message.bytes)
			return -ENOMEM;
		r = receive_all(socket, message.bytes, message.n_bytes, deadline_ns, cancel_fd,
				&message.fd);
	}
	if (r < 0)
		return r;
	*ret = message;
	message = UPD_MESSAGE_NONE;
	return 0;
}

void upd_parcel_put(struct upd_parcel *parcel, const void *bytes, size_t n_bytes)
{
	if (parcel->failed || n_bytes == 0)
		return;
	if (n_bytes > parcel->capacity - parcel->n_bytes) {
		size_t capacity = parcel->capacity ? 2 * parcel->capacity : 512;
		uint8_t *grown;

		if (capacity < parcel->n_bytes + n_bytes)
			capacity = parcel->n_bytes + n_bytes;
		grown = realloc(parcel->bytes, capacity);
		if (!grown) {
			parcel->failed = true;
			return;
		}
		parcel->bytes = grown;
		parcel->capacity = capacity;
	}
	memcpy(parcel->bytes + parcel->n_bytes, bytes, n_bytes);
	parcel->n_bytes += n_bytes;
}

void upd_parcel_deinit(struct upd_parcel *parcel)
{
	free(parcel->bytes);
	*parcel = (struct upd_parcel){};
}

const void *upd_cursor_skip(struct upd_cursor *cursor, size_t n, size_t entry_bytes)
{
	const void *at = cursor->at;

	if (n > cursor->left / entry_bytes)
		return NULL;
	cursor->at += n * entry_bytes;
	cursor->left -= n * entry_bytes;
	return at ? at : "";
}

bool upd_cursor_take(struct upd_cursor *cursor, void *ret, size_t n_bytes)
{
	const void *at = upd_cursor_skip(cursor, n_bytes, 1);

	if (!at)
		return false;
	memcpy(ret, at, n_bytes);
	return true;
}
