/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>
#include <semaphore.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

struct refusal {
	long value;
};

extern "C" {
void deeper(long x);
long check_v2(long x);
void linger_v2(void);
extern sem_t lingering;
extern long lingered;
extern long cleaned;
}

namespace
{
struct counted {
	~counted()
	{
		cleaned++;
	}
};
}

long check_v2(long x)
{
	x += 1000;
	switch (x % 4) {
	case 0:
		throw refusal{x};
	case 1:
		deeper(x);
		return -1;
	case 2:
		try {
			deeper(x);
		} catch (const std::runtime_error &) {
			return x;
		}
		return -1;
	default:
		return x;
	}
}

/* Two cleanups of its own, so that they can be told from the old version's one. */
void linger_v2()
{
	counted one;
	counted two;

	lingered = 2;
	sem_post(&lingering);
	for (;;)
		pause();
}

DSU_PATCH("throwing-v2", "1.0");
DSU_REPLACE(check, check_v2);
DSU_REPLACE(linger, linger_v2);
