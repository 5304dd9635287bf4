// SPDX-License-Identifier: LGPL-2.1-or-later
// Exceptions through new code: thrown here and caught here with frames of the target between,
// destructors run on the way, an exception of the patch's own type, one that leaves the patch.
#include <stdexcept>
#include <string>

#include <dsu/patch.h>

DSU_PATCH("link-throw", "2.0-rc1+b~2:1");

extern int greeted;

namespace
{
struct failure {
	int code;
};

struct guard {
	~guard()
	{
		greeted++;
	}
};

int thrower_new(int x)
{
	guard counted;

	if (x > 10)
		throw failure{x};
	if (x > 5)
		throw std::runtime_error("more than five: " + std::to_string(x));
	return x;
}

// Calls back into the target, which calls thrower.
int catcher_new(int (*callback)(int), int x)
{
	try {
		return callback(x);
	} catch (const failure &caught) {
		return -caught.code;
	} catch (const std::exception &caught) {
		return static_cast<int>(std::string(caught.what()).size());
	}
}
}

DSU_REPLACE(thrower, thrower_new);
DSU_REPLACE(_ZN6target7catcherEPFiiEi, catcher_new);
