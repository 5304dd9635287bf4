// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Functions that throw and catch, for the test of return pads: each hands the place of its own
 * return address to `plant` or `withdraw` at some moment, and says whether everything came out as
 * the language has it.
 */
#include <pthread.h>
#include <unwind.h>

#define NOINLINE __attribute__((noinline))

extern "C" {
struct pad_hooks {
	void (*plant)(void **slot);
	void (*withdraw)(void **slot);
};
bool pass_returning(const pad_hooks *hooks);
bool pass_caught_here(const pad_hooks *hooks);
bool pass_caught_beyond(const pad_hooks *hooks);
bool pass_cleanup(const pad_hooks *hooks);
bool pass_rethrown(const pad_hooks *hooks);
bool pass_planted_on_the_way(const pad_hooks *hooks);
bool pass_withdrawn_on_the_way(const pad_hooks *hooks);
bool pass_nested(const pad_hooks *hooks);
bool pass_many_arguments(const pad_hooks *hooks);
bool pass_thread_exit(const pad_hooks *hooks);
bool pass_backtrace(const pad_hooks *hooks);
}

/* Where the function that uses this will return through. */
#define OWN_SLOT (static_cast<void **>(__builtin_frame_address(0)) + 1)

struct refusal {
	long value;
};

static volatile long cleaned;

struct counted {
	NOINLINE ~counted()
	{
		cleaned = cleaned + 1;
	}
};

static NOINLINE long throwing(const pad_hooks *hooks, long x)
{
	hooks->plant(OWN_SLOT);
	if (x >= 0)
		throw refusal{x};
	return x;
}

bool pass_returning(const pad_hooks *hooks)
{
	return throwing(hooks, -5) == -5;
}

/* The handler is in the very frame that the pad leads to. */
bool pass_caught_here(const pad_hooks *hooks)
{
	try {
		throwing(hooks, 7);
	} catch (const refusal &refused) {
		return refused.value == 7;
	}
	return false;
}

static NOINLINE long between(const pad_hooks *hooks, long x)
{
	return throwing(hooks, x) + 1;
}

bool pass_caught_beyond(const pad_hooks *hooks)
{
	try {
		between(hooks, 8);
	} catch (const refusal &refused) {
		return refused.value == 8;
	}
	return false;
}

static NOINLINE long cleaning(const pad_hooks *hooks, long x)
{
	counted one;

	return throwing(hooks, x) + 1;
}

/* A destructor in the frame that the pad leads to, the handler further out. */
bool pass_cleanup(const pad_hooks *hooks)
{
	cleaned = 0;
	try {
		cleaning(hooks, 9);
	} catch (const refusal &refused) {
		return refused.value == 9 && cleaned == 1;
	}
	return false;
}

static NOINLINE long rethrowing(const pad_hooks *hooks, long x)
{
	hooks->plant(OWN_SLOT);
	try {
		return throwing(hooks, x);
	} catch (...) {
		throw;
	}
}

/* Two pads on one stack, and the exception stops between them. */
bool pass_rethrown(const pad_hooks *hooks)
{
	try {
		rethrowing(hooks, 10);
	} catch (const refusal &refused) {
		return refused.value == 10;
	}
	return false;
}

/* Does something to a slot when it is destroyed: while the exception is under way and its handler
 * is known. */
struct meddler {
	void (*meddle)(void **);
	void **slot;
	NOINLINE ~meddler()
	{
		meddle(slot);
	}
};

static NOINLINE void plain(long x)
{
	throw refusal{x};
}

static NOINLINE long planting(const pad_hooks *hooks, long x)
{
	meddler late = {hooks->plant, OWN_SLOT};

	plain(x);
	return x;
}

bool pass_planted_on_the_way(const pad_hooks *hooks)
{
	try {
		planting(hooks, 11);
	} catch (const refusal &refused) {
		return refused.value == 11;
	}
	return false;
}

static NOINLINE long withdrawing(const pad_hooks *hooks, long x)
{
	meddler late = {hooks->withdraw, OWN_SLOT};

	hooks->plant(OWN_SLOT);
	plain(x);
	return x;
}

bool pass_withdrawn_on_the_way(const pad_hooks *hooks)
{
	try {
		withdrawing(hooks, 12);
	} catch (const refusal &refused) {
		return refused.value == 12;
	}
	return false;
}

struct nesting {
	const pad_hooks *hooks;
	NOINLINE ~nesting()
	{
		if (!pass_caught_here(hooks) || !pass_cleanup(hooks))
			__builtin_abort();
	}
};

static NOINLINE long nested(const pad_hooks *hooks, long x)
{
	nesting inner = {hooks};

	hooks->plant(OWN_SLOT);
	plain(x);
	return x;
}

/* Another exception comes and goes while the first one is under way. */
bool pass_nested(const pad_hooks *hooks)
{
	try {
		nested(hooks, 13);
	} catch (const refusal &refused) {
		return refused.value == 13;
	}
	return false;
}

static NOINLINE long many(const pad_hooks *hooks, long a, long b, long c, long d, long e, long f,
			  long g, long h)
{
	hooks->plant(OWN_SLOT);
	if (a + b + c + d + e + f + g + h == 36)
		throw refusal{h};
	return 0;
}

/* Arguments lie on the stack between the return address and the caller's frame. */
bool pass_many_arguments(const pad_hooks *hooks)
{
	volatile long one = 1;

	try {
		many(hooks, one, 2, 3, 4, 5, 6, 7, 8);
	} catch (const refusal &refused) {
		return refused.value == 8 && one == 1;
	}
	return false;
}

static NOINLINE void exiting(const pad_hooks *hooks)
{
	hooks->plant(OWN_SLOT);
	pthread_exit(nullptr);
}

static void *exit_inside(void *argument)
{
	counted one;

	exiting(static_cast<const pad_hooks *>(argument));
	return argument;
}

/* Unwinding that no handler ends. */
bool pass_thread_exit(const pad_hooks *hooks)
{
	pthread_t thread;
	void *result = nullptr;

	cleaned = 0;
	return pthread_create(&thread, nullptr, exit_inside, const_cast<pad_hooks *>(hooks)) == 0 &&
	       pthread_join(thread, &result) == 0 && result == nullptr && cleaned == 1;
}

static _Unwind_Reason_Code count_frame(_Unwind_Context *, void *n)
{
	++*static_cast<long *>(n);
	return _URC_NO_REASON;
}

static NOINLINE long count_frames(const pad_hooks *hooks, bool with_pad)
{
	long n = 0;

	if (with_pad)
		hooks->plant(OWN_SLOT);
	_Unwind_Backtrace(count_frame, &n);
	return n;
}

/* To the end of the stack, and one frame more. */
bool pass_backtrace(const pad_hooks *hooks)
{
	volatile long without = count_frames(hooks, false);
	volatile long with = count_frames(hooks, true);

	return without > 3 && with == without + 1;
}
