/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_TXN_OURS_H
#define INJ_TXN_OURS_H

#include <string.h>

#include "injector/process/maps.h"

/* Name of our memory in /proc/PID/maps and /proc/PID/fd begins with this. */
#define INJ_AREA_NAME_PREFIX "/memfd:dsu:"

static inline bool inj_map_is_ours(const struct inj_map *map)
{
	return strncmp(map->name, INJ_AREA_NAME_PREFIX, sizeof(INJ_AREA_NAME_PREFIX) - 1) == 0;
}

#endif
