/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reader's end of having files opened: each wish is one message, and one comes back. */
#include <string.h>

#include "injector/symbol/file.h"
#include "protocols/reader-priv.h"

#define MAX_ANSWER (65u << 20)

/* Without an answer there is nothing left to do for a reader. */
static int want(int socket, uint32_t kind, const void *bytes, size_t n_bytes,
		struct upd_message *ret)
{
	struct upd_give give;
	int r = upd_message_send(socket, kind, bytes, n_bytes, -1, UINT64_MAX, -1);

	if (r == 0)
		r = upd_message_receive(socket, MAX_ANSWER, UINT64_MAX, -1, ret);
	if (r < 0 || ret->kind != UPD_GIVE || ret->n_bytes < sizeof(give))
		_exit(EXIT_FAILURE);
	memcpy(&give, ret->bytes, sizeof(give));
	return (int)give.result;
}

static int want_fd(int socket, uint32_t kind, const void *bytes, size_t n_bytes)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	int r = want(socket, kind, bytes, n_bytes, &answer);

	if (r < 0)
		return r;
	return answer.fd < 0 ? -EIO : inj_take_fd(&answer.fd);
}

static int door_open(void *context, const char *name)
{
	return want_fd(*(int *)context, UPD_WANT_OPEN, name, strlen(name) + 1);
}

static int door_open_mapped(void *context, inj_addr start)
{
	return want_fd(*(int *)context, UPD_WANT_MAPPED, &start, sizeof(start));
}

static int door_open_debug(void *context, const struct inj_debug_name *name)
{
	return want_fd(*(int *)context, UPD_WANT_DEBUG, name, sizeof(*name));
}

static int door_read(void *context, const char *name, size_t max_bytes, char **ret_text,
		     size_t *ret_length)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	INJ_CLEANUP(upd_parcel_deinit) struct upd_parcel parcel = {};
	const uint64_t max = max_bytes;
	size_t length;
	char *text;
	int r;

	upd_parcel_put(&parcel, &max, sizeof(max));
	upd_parcel_put(&parcel, name, strlen(name) + 1);
	if (parcel.failed)
		return -ENOMEM;
	r = want(*(int *)context, UPD_WANT_READ, parcel.bytes, parcel.n_bytes, &answer);
	if (r < 0)
		return r;
	length = answer.n_bytes - sizeof(struct upd_give);
	text = malloc(length + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, answer.bytes + sizeof(struct upd_give), length);
	text[length] = '\0';
	*ret_text = text;
	if (ret_length)
		*ret_length = length;
	return 0;
}

void upd_door_init(struct inj_door *door, int *socket, int mem_fd)
{
	*door = (struct inj_door){
		.mem_fd = mem_fd, .context = socket, .open = door_open, .read = door_read,
		.open_mapped = door_open_mapped, .open_debug = door_open_debug,
	};
}
