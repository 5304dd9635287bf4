/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* redis-server: another answer to PING. */
#include <dsu/patch.h>

struct client;
extern void addReplyStatus(struct client *client, const char *status);

DSU_PATCH("redis-ping", "1.0");
DSU_REPLACE(pingCommand, ping);

DSU_NEW static void ping(struct client *client)
{
	addReplyStatus(client, "PONG2");
}
