/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program of several files that tells where its symbols are: `NAME` answers with the address,
 * `tls:NAME` with the distance from the thread pointer. With an argument it loads that library by
 * dlopen(3) and answers for its `plugin_tell` too. `cycle` and `wild` spoil the loader's list of
 * objects; the program must not load, look up or exit after that.
 */
#include <stdint.h>

#ifndef NO_LIBRARY
#include <dlfcn.h>
#include <link.h>
#endif

#include "tests/live/symbol/symbols.h"
#include "tests/victims/line.h"

static const void *(*plugin_tell)(const char *name);

static const void *tell(const char *name)
{
	const void *address = one_tell(name);

	if (!address)
		address = two_tell(name);
#ifndef NO_LIBRARY
	if (!address)
		address = library_tell(name);
	if (!address && strcmp(name, "main:variable") == 0)
		address = &library_variable;
#endif
	if (!address && plugin_tell)
		address = plugin_tell(name);
	return address;
}

/* Return: 1 when the line was such an order. */
static long spoil(const char *line)
{
#ifndef NO_LIBRARY
	struct link_map *first = _r_debug.r_map;

	if (strcmp(line, "cycle") == 0)
		return (first->l_next->l_next = first) != NULL;
	if (strcmp(line, "wild") == 0)
		return (first->l_next = (struct link_map *)(uintptr_t)0x1234567890) != NULL;
#endif
	return 0;
}

static long thread_pointer(void)
{
	long pointer;

	__asm__("movq %%fs:0, %0" : "=r"(pointer));
	return pointer;
}

int main(int argc, char **argv)
{
	const char *line;

#ifndef NO_LIBRARY
	if (argc > 1) {
		void *plugin = dlopen(argv[1], RTLD_NOW);

		plugin_tell = plugin ? (const void *(*)(const char *))dlsym(plugin, "plugin_tell")
				     : NULL;
		if (!plugin_tell) {
			puts(dlerror());
			return 1;
		}
	}
#endif
	line_ready();
	while ((line = line_next())) {
		long address = spoil(line) ? 1 : (long)(uintptr_t)tell(line);

		if (strncmp(line, "tls:", 4) == 0)
			address -= thread_pointer();
		printf("%ld\n", address);
	}
	return 0;
}
