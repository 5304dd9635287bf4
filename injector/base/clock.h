/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_BASE_CLOCK_H
#define INJ_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds. Deadlines are absolute values of this clock. */
static inline uint64_t inj_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Nanoseconds left until the deadline, 0 when it passed. */
static inline uint64_t inj_remaining_ns(uint64_t deadline_ns)
{
	uint64_t now = inj_now_ns();

	return deadline_ns > now ? deadline_ns - now : 0;
}

#endif
