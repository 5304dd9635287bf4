/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A few hundred small functions of many shapes, built by several compilers at several levels. They
 * are deterministic: the same arguments after corpus_reset() give the same results, whatever they
 * left in memory. Every number is reduced before use, so that any argument is fine.
 */
#include "tests/unit/redirect/corpus.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY(kind_, name_)                                                                  \
	static const struct corpus_entry entry_##name_                                       \
		__attribute__((section("corpus"), used, aligned(8))) = {                     \
			#name_, (void *)(name_), kind_                                       \
		}

#define DEFINE(kind_, type_, name_, ...)                                                     \
	type_ name_(__VA_ARGS__);                                                            \
	ENTRY(kind_, name_);                                                                 \
	type_ name_(__VA_ARGS__)

#define INTEGERS(type_, name_) \
	DEFINE(CORPUS_INTEGERS, type_, name_, long a, long b, long c, long d, long e, long f)
#define MEMORY(type_, name_) \
	DEFINE(CORPUS_MEMORY, type_, name_, void *memory, long a, long b, long c, long d, long e)
#define STRING(type_, name_) \
	DEFINE(CORPUS_STRING, type_, name_, char *text, long a, long b, long c, long d, long e)
#define NOINLINE __attribute__((noinline))
#define KEEP(x) __asm__ volatile("" : "+r"(x))

static long counter;
static int table[16] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3 };
static _Thread_local long thread_count;
long exported_counter;

const struct corpus_entry *corpus_list(unsigned long *ret_n);
void corpus_reset(void);

void corpus_reset(void)
{
	static const int fresh[16] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3 };

	counter = 0;
	thread_count = 0;
	exported_counter = 0;
	memcpy(table, fresh, sizeof(table));
}

/* Families: the same over many types. */
#define FAMILY(tag, type)                                                                    \
	INTEGERS(type, add_##tag) { return (type)((type)a + (type)b); }                      \
	INTEGERS(type, subtract_##tag) { return (type)((type)a - (type)b); }                 \
	INTEGERS(type, multiply_##tag) { return (type)((type)a * (type)b); }                 \
	INTEGERS(type, divide_##tag) { return (type)((type)(a & 63) / (type)((b & 7) + 1)); } \
	INTEGERS(type, least_##tag) { return (type)a < (type)b ? (type)a : (type)b; }        \
	INTEGERS(type, clamp_##tag)                                                          \
	{                                                                                    \
		if ((type)a < (type)b)                                                       \
			return (type)b;                                                      \
		if ((type)a > (type)c)                                                       \
			return (type)c;                                                      \
		return (type)a;                                                              \
	}                                                                                    \
	INTEGERS(type, average_##tag)                                                        \
	{                                                                                    \
		return (type)(((type)(a & 31) + (type)(b & 31) + (type)(c & 31)) / (type)3); \
	}                                                                                    \
	MEMORY(type, sum_##tag)                                                              \
	{                                                                                    \
		const type *items = memory;                                                  \
		type sum = 0;                                                                \
		for (long i = 0; i < (a & 15); i++)                                          \
			sum = (type)(sum + items[i]);                                        \
		return sum;                                                                  \
	}                                                                                    \
	MEMORY(void, fill_##tag)                                                             \
	{                                                                                    \
		type *items = memory;                                                        \
		for (long i = 0; i < (a & 15); i++)                                          \
			items[i] = (type)b;                                                  \
	}                                                                                    \
	MEMORY(long, find_##tag)                                                             \
	{                                                                                    \
		const type *items = memory;                                                  \
		for (long i = 0; i < 16; i++)                                                \
			if (items[i] == (type)a)                                             \
				return i;                                                    \
		return -1;                                                                   \
	}                                                                                    \
	MEMORY(void, swap_##tag)                                                             \
	{                                                                                    \
		type *items = memory;                                                        \
		type item = items[a & 15];                                                   \
		items[a & 15] = items[b & 15];                                               \
		items[b & 15] = item;                                                        \
	}                                                                                    \
	MEMORY(type, get_##tag) { return ((const type *)memory)[a & 7]; }                    \
	MEMORY(void, set_##tag) { ((type *)memory)[0] = (type)a; }

FAMILY(s8, signed char)
FAMILY(u8, unsigned char)
FAMILY(s16, short)
FAMILY(u16, unsigned short)
FAMILY(s32, int)
FAMILY(u32, unsigned)
FAMILY(s64, long)
FAMILY(u64, unsigned long)
FAMILY(s128, __int128)
FAMILY(f32, float)
FAMILY(f64, double)

/* One-liners. */
INTEGERS(void, nothing) { }
INTEGERS(int, zero) { return 0; }
INTEGERS(int, one) { return 1; }
INTEGERS(long, first) { return a; }
INTEGERS(long, second) { return b; }
INTEGERS(long, sixth) { return f; }
INTEGERS(int, is_zero) { return a == 0; }
INTEGERS(int, negate_bool) { return !a; }
INTEGERS(long, constant) { return 0x123456789abcdefl; }
INTEGERS(void *, own_address) { return (void *)own_address; }
INTEGERS(const char *, literal) { return "text"; }
INTEGERS(long, global) { return exported_counter; }
INTEGERS(long, count_up) { return ++counter; }
INTEGERS(void, store_global) { exported_counter = a; }
INTEGERS(long, count_in_thread) { return ++thread_count; }
INTEGERS(int, look_up) { return table[a & 15]; }
INTEGERS(long, shift) { return (long)((unsigned long)a << (b & 63)); }
INTEGERS(int, bits) { return __builtin_popcountl((unsigned long)a); }
INTEGERS(int, parity) { return __builtin_parityl((unsigned long)a); }
INTEGERS(unsigned, reverse_bytes) { return __builtin_bswap32((unsigned)a); }
INTEGERS(void *, return_address) { return __builtin_return_address(0); }

/* Loops whose head is at or near the entry. */
INTEGERS(long, count_down)
{
	while (a > 0 && a < 1000)
		a -= 3;
	return a;
}

INTEGERS(unsigned long, collatz)
{
	unsigned long n = ((unsigned long)a & 31) + 1;
	unsigned long steps = 0;

	while (n != 1) {
		n = n & 1 ? 3 * n + 1 : n / 2;
		steps++;
	}
	return steps;
}

INTEGERS(unsigned, gcd)
{
	unsigned x = (unsigned)a & 1023, y = (unsigned)b & 1023;

	while (y) {
		unsigned rest = x % y;

		x = y;
		y = rest;
	}
	return x;
}

INTEGERS(int, highest_bit)
{
	unsigned char x = (unsigned char)a;
	int n = 0;

	while (x >>= 1)
		n++;
	return n;
}

STRING(unsigned long, length)
{
	const char *end = text;

	while (*end)
		end++;
	return (unsigned long)(end - text);
}

STRING(char *, skip)
{
	while (*text && *text != 'x')
		text++;
	return text;
}

STRING(int, hash)
{
	unsigned h = 5381;

	while (*text)
		h = h * 33 + (unsigned char)*text++;
	return (int)h;
}

STRING(long, parse)
{
	long n = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		n = n * 10 + (*text - '0');
	return n;
}

STRING(void, upper)
{
	for (; *text; text++)
		if (*text >= 'a' && *text <= 'z')
			*text = (char)(*text - 32);
}

STRING(void, reverse)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n / 2; i++) {
		char c = text[i];

		text[i] = text[n - 1 - i];
		text[n - 1 - i] = c;
	}
}

STRING(int, count_words)
{
	int words = 0, inside = 0;

	for (; *text; text++) {
		if (*text == ' ')
			inside = 0;
		else if (!inside)
			inside = 1, words++;
	}
	return words;
}

STRING(int, print)
{
	return snprintf(text, CORPUS_SCRATCH_BYTES, "%ld,%lx,%s", a, b, c & 1 ? "odd" : "even");
}

/* Early exits. */
MEMORY(long, guarded)
{
	if (!memory)
		return -1;
	if (a < 0)
		return -2;
	if (b == c)
		return counter;
	return ((long *)memory)[a & 7] + b;
}

INTEGERS(int, ladder)
{
	if (a == 1)
		return 10;
	if (a == 2)
		return 200;
	if (a == 5)
		return (int)b;
	if (a > 12)
		return (int)(c + d);
	return a < -2 ? -1 : 0;
}

INTEGERS(int, both) { return a > 0 && b > 0; }
INTEGERS(int, either) { return a > 0 || b > 0; }

/* Switches: tables, computed goto, an interpreter whose loop begins at once. */
INTEGERS(long, dispatch)
{
	switch (a) {
	case 0: return b + c;
	case 1: return b - c;
	case 2: return b * c;
	case 3: return b ^ c;
	case 4: return b | c;
	case 5: return b & c;
	case 6: return ++counter;
	case 7: return d;
	case 8: return e;
	case 9: return table[b & 15];
	default: return -a;
	}
}

STRING(long, interpret)
{
	long n = 0;

	for (;;) {
		switch (*text++) {
		case 'a': n++; break;
		case 'b': n += 2; break;
		case 'c': n *= 3; break;
		case 'd': n -= 7; break;
		case 'e': break;
		case 'f': n ^= 0x55; break;
		case 'g': n = -n; break;
		case 'h': n <<= 1; break;
		case 0: return n;
		default: continue;
		}
	}
}

STRING(long, threaded)
{
	static const void *const labels[] = { &&stop, &&up, &&down, &&twice };
	long n = a & 7;

	goto *labels[*text & 3];
up:
	n++;
	goto *labels[*++text & 3];
down:
	n--;
	goto *labels[*++text & 3];
twice:
	n += n;
	goto *labels[*++text & 3];
stop:
	return n;
}

INTEGERS(const char *, name_of)
{
	switch (a & 7) {
	case 0: return "zero";
	case 1: return "one";
	case 2: return "two";
	case 3: return "three";
	case 4: return "four";
	default: return "many";
	}
}

/* Calls: nested, recursive, mutual, in tail position, through pointers, as the first thing. */
static NOINLINE long helper(long x)
{
	KEEP(x);
	return x * 3 + 1;
}

static NOINLINE void effect(void)
{
	counter += 5;
}

INTEGERS(long, call_twice) { return helper(a) + helper(b); }
INTEGERS(long, call_tail) { return helper(a + b); }
INTEGERS(long, call_first)
{
	effect();
	return a + counter;
}
INTEGERS(void, call_only)
{
	effect();
	effect();
}

static NOINLINE long sum_to(long n)
{
	return n <= 0 ? 0 : n + sum_to(n - 1);
}

INTEGERS(long, sum_recursively) { return sum_to(a & 31); }

static long is_odd(long n);
static NOINLINE long is_even(long n) { return n == 0 ? 1 : is_odd(n - 1); }
static NOINLINE long is_odd(long n) { return n == 0 ? 0 : is_even(n - 1); }
INTEGERS(long, mutual) { return is_even(a & 31); }

long fibonacci(long n, long b, long c, long d, long e, long f);
ENTRY(CORPUS_INTEGERS, fibonacci);
long fibonacci(long n, long b, long c, long d, long e, long f)
{
	n &= 15;
	return n < 2 ? n : fibonacci(n - 1, b, c, d, e, f) + fibonacci(n - 2, b, c, d, e, f);
}

long tail_recursion(long n, long sum, long c, long d, long e, long f);
ENTRY(CORPUS_INTEGERS, tail_recursion);
long tail_recursion(long n, long sum, long c, long d, long e, long f)
{
	if (n <= 0 || n > 1000)
		return sum;
	return tail_recursion(n - 1, sum + n, c, d, e, f);
}

static NOINLINE long apply(long (*function)(long), long x)
{
	return function(x) + 1;
}

INTEGERS(long, call_pointer) { return apply(helper, a); }

typedef long (*six_fn)(long, long, long, long, long, long);
INTEGERS(long, tail_pointer)
{
	static six_fn const functions[] = { dispatch, clamp_s64, first };

	return functions[(unsigned long)a % 3](b, c, d, e, f, a);
}

static int compare_ints(const void *x, const void *y)
{
	return *(const int *)x - *(const int *)y;
}

MEMORY(void, sort)
{
	int *items = memory;

	for (int i = 0; i < 16; i++)
		items[i] &= 0xffff;
	qsort(items, 16, sizeof(int), compare_ints);
}

MEMORY(void *, copy) { return memcpy(memory, table, sizeof(table)); }
MEMORY(void *, clear) { return memset(memory, 0, (size_t)(a & 63)); }

/* A hot loop whose rare part the compiler moves away; it comes back into the loop. */
__attribute__((cold)) static NOINLINE void complain(void)
{
	counter += 100;
}

INTEGERS(long, retry)
{
	long n = 0;

	for (;;) {
		n = helper(n);
		if (__builtin_expect(n % 7 == 3, 0)) {
			complain();
			continue;
		}
		if (n > 500)
			return n + counter;
	}
}

/* Variable arguments. */
long add_all(long n, ...);
ENTRY(CORPUS_COUNTED, add_all);
long add_all(long n, ...)
{
	va_list list;
	long sum = 0;

	va_start(list, n);
	for (long i = 0; i < n; i++)
		sum += va_arg(list, long);
	va_end(list);
	return sum;
}

double add_doubles(long n, ...);
ENTRY(CORPUS_COUNTED, add_doubles);
double add_doubles(long n, ...)
{
	va_list list;
	double sum = 0;

	va_start(list, n);
	for (long i = 0; i < n && i < 4; i++)
		sum += va_arg(list, double);
	va_end(list);
	return sum;
}

/* Structures and large frames. */
struct small {
	int a, b;
};
struct large {
	long items[12];
};

DEFINE(CORPUS_INTEGERS, struct small, pair, long a, long b)
{
	return (struct small){ (int)a, (int)b };
}

DEFINE(CORPUS_MEMORY, struct large, spread, long a, long b)
{
	struct large result = { { a, b, a + b, a - b } };

	result.items[11] = counter;
	return result;
}

INTEGERS(long, big_frame)
{
	volatile char buffer[9000];

	buffer[0] = (char)a;
	buffer[8999] = (char)b;
	return buffer[0] + buffer[8999];
}

INTEGERS(long, sized_frame)
{
	size_t n = ((size_t)a & 63) + 1;
	volatile char *buffer = __builtin_alloca(n);

	for (size_t i = 0; i < n; i++)
		buffer[i] = (char)i;
	return buffer[n - 1] + buffer[0];
}

INTEGERS(long, aligned_frame)
{
	long items[8] __attribute__((aligned(64)));

	for (int i = 0; i < 8; i++)
		items[i] = a + i * b;
	KEEP(a);
	return items[c & 7] + (((unsigned long)items & 63) != 0);
}

INTEGERS(long, many_values)
{
	long x[12] = { a, b, c, d, e, f, a + b, c + d, e + f, a - c, b - d, e - a };
	long sum = 0;

	for (int i = 0; i < 12; i++) {
		x[i] = helper(x[i]) ^ x[(i + 5) % 12];
		sum += x[i];
	}
	return sum;
}

/* Floating point. */
#define DOUBLES(type_, name_) \
	DEFINE(CORPUS_INTEGERS, type_, name_, double x, double y, double z, double w)
DOUBLES(double, add_two) { return x + y; }
DOUBLES(double, polynomial) { return ((x * 0.5 + y) * x + z) * x + w; }
DOUBLES(double, root) { return x > 0 ? sqrt(x) : 0; }
DOUBLES(double, absolute) { return fabs(x); }
DOUBLES(float, narrow) { return (float)x * 2.0f; }
DOUBLES(long, rounded) { return (long)(x * 10); }
DOUBLES(int, compare_doubles) { return x < y ? -1 : x > y; }
DOUBLES(double, sine) { return sin(x) + cos(y); }
DOUBLES(double, constant_double) { return 2.718281828; }
DOUBLES(double, iterate)
{
	double guess = 1;

	if (!(x > 0) || x > 1e6)
		return 0;
	for (int i = 0; i < 20; i++)
		guess = (guess + x / guess) / 2;
	return guess;
}
INTEGERS(long, extended)
{
	long double x = (long double)(a & 1023) / 3.0L;

	KEEP(b);
	return (long)(x * 1000.0L);
}
MEMORY(double, dot)
{
	static const double weights[4] = { 0.25, 0.5, 0.75, 1.0 };
	const int *items = memory;
	double sum = 0;

	for (int i = 0; i < 4; i++)
		sum += weights[i] * (items[i] & 255);
	return sum;
}

extern const struct corpus_entry __start_corpus[], __stop_corpus[];

const struct corpus_entry *corpus_list(unsigned long *ret_n)
{
	*ret_n = (unsigned long)(__stop_corpus - __start_corpus);
	return __start_corpus;
}
