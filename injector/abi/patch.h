/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSU_PATCH_H
#define DSU_PATCH_H

/*
 * What the author of a patch writes; installed as <dsu/patch.h>. C and C++, gcc and clang, any
 * standard they know. dsu-patch(5) is the manual.
 *
 *	#include <dsu/patch.h>
 *
 *	DSU_PATCH("hello-v2", "1.0");
 *	DSU_REPLACE(hello, hello_v2);
 *
 *	extern int greeted;
 *
 *	void hello_v2(void) { greeted++; }
 *
 *	cc -shared -fPIC -O2 hello_v2.c -o patch.so $(pkg-config --cflags dsu-patch)
 */

/*
 * Name the patch: id (1 to 127 of A-Z a-z 0-9 . _ + -, first a letter, a digit or _) and version
 * (likewise, also ~ and :). Both are string literals. Exactly once in a patch; a second one is a
 * "multiple definition" for the compiler or the linker.
 */
#define DSU_PATCH(id, version)                                                                     \
	struct dsu_manifest_patch dsu_patch_declared_here DSU_MANIFEST_ATTRIBUTES_ = {             \
		{DSU_MANIFEST_MAGIC, DSU_MANIFEST_VERSION, DSU_MANIFEST_PATCH,                     \
		 sizeof(struct dsu_manifest_patch), 0},                                            \
		"" id, "" version}

/*
 * Replace the function with the symbol `old` in the main program, or in the only module that has
 * it, by `new_function`, a function of the patch, defined anywhere in the same source file or in
 * another one. Where several source files of the target have a static function of that name:
 * DSU_REPLACE(DSU_SYMBOL("b.c", old), new_function).
 */
#define DSU_REPLACE(old, new_function)                                                             \
	DSU_MANIFEST_REPLACE_(__COUNTER__, "", "", #old, new_function, #new_function)

/*
 * Before the definition of a new function that is static:
 *
 *	DSU_NEW static void hello_v2(void) { ... }
 */
#define DSU_NEW __attribute__((used))

/* DSU_REPLACE() in one module, named by its SONAME or base name, a string literal. */
#define DSU_REPLACE_IN(module, old, new_function)                                                  \
	DSU_MANIFEST_REPLACE_(__COUNTER__, "" module, "", #old, new_function, #new_function)

/*
 * The same for symbols that are no identifiers, or for generated code: module, source file and
 * name of the old function are string literals, "" where module or file do not matter.
 */
#define DSU_REPLACE_NAMED(module, file, name, new_function)                                        \
	DSU_MANIFEST_REPLACE_(__COUNTER__, "" module, "" file, "" name, new_function,              \
			      #new_function)

/*
 * Follows the declarator of an extern declaration and says which symbol of the target is meant:
 * `name` as defined in the source file `file` (base name, or as many trailing path components as
 * are needed).
 *
 *	extern int counter_in_b DSU_SYMBOL("b.c", counter);
 *
 * gcc hands an assembler name to the assembler as it is, so one that is no identifier carries
 * its own quotes; clang quotes by itself.
 */
#ifdef __clang__
#define DSU_SYMBOL(file, name) __asm__(DSU_SYMBOL_PREFIX file ":" #name)
#else
#define DSU_SYMBOL(file, name) __asm__("\"" DSU_SYMBOL_PREFIX file ":" #name "\"")
#endif

/*
 * From here on: how the above is written down for the reader (patch-format.h, and
 * docs/patch-format.md). Nothing below is for direct use.
 */
#define DSU_SYMBOL_PREFIX "dsu:"
#define DSU_MANIFEST_SECTION ".dsu.manifest"
#define DSU_MANIFEST_MAGIC 0x4d555344u /* "DSUM" */
#define DSU_MANIFEST_VERSION 1
#define DSU_MANIFEST_PATCH 1
#define DSU_MANIFEST_REPLACE 2
#define DSU_MANIFEST_ID_BYTES 128

struct dsu_manifest_header {
	unsigned int magic;
	unsigned short version;
	unsigned short kind;
	unsigned int bytes; /* of the whole record, this header included */
	unsigned int flags; /* 0 */
};

struct dsu_manifest_patch {
	struct dsu_manifest_header header;
	char id[DSU_MANIFEST_ID_BYTES];
	char version[DSU_MANIFEST_ID_BYTES];
};

/* `used` keeps a record through the compiler, `retain` through the linker's --gc-sections. */
#ifdef __has_attribute
#if __has_attribute(retain)
#define DSU_MANIFEST_RETAIN_ retain,
#endif
#endif
#ifndef DSU_MANIFEST_RETAIN_
#define DSU_MANIFEST_RETAIN_
#endif
#define DSU_MANIFEST_ATTRIBUTES_                                                                   \
	__attribute__((DSU_MANIFEST_RETAIN_ used, section(DSU_MANIFEST_SECTION), aligned(8)))

#ifdef __cplusplus
extern "C" {
#endif
/* Declared here, so that no warning about an undeclared global hits the author. */
extern __attribute__((visibility("hidden"))) struct dsu_manifest_patch dsu_patch_declared_here;
#ifdef __cplusplus
}
#endif

#define DSU_MANIFEST_PASTE_(a, b) DSU_MANIFEST_PASTED_(a, b)
#define DSU_MANIFEST_PASTED_(a, b) a##b
/*
 * In C the new function may be defined further down, so it is not named as an identifier but by its
 * symbol. A static function that nothing else uses needs DSU_NEW then, or the compiler drops it. In
 * C++, whose symbols are mangled, it must have been declared.
 */
#ifdef __cplusplus
#define DSU_MANIFEST_DECLARE_(number, function_name)
#define DSU_MANIFEST_ADDRESS_TYPE_(function) __typeof__(&(function))
#define DSU_MANIFEST_ADDRESS_(number, function) &(function)
#else
#define DSU_MANIFEST_DECLARE_(number, function_name)                                               \
	extern void DSU_MANIFEST_PASTE_(dsu_new_, number)(void) __asm__(function_name);
typedef void (*dsu_new_function)(void);
#define DSU_MANIFEST_ADDRESS_TYPE_(function) dsu_new_function
#define DSU_MANIFEST_ADDRESS_(number, function) DSU_MANIFEST_PASTE_(dsu_new_, number)
#endif
#define DSU_MANIFEST_REPLACE_(number, module, file, name, function, function_name)                 \
	DSU_MANIFEST_DECLARE_(number, function_name)                                               \
	static struct {                                                                            \
		struct dsu_manifest_header header;                                                 \
		DSU_MANIFEST_ADDRESS_TYPE_(function) address;                                      \
		char strings_1[sizeof(module)];                                                    \
		char strings_2[sizeof(file)];                                                      \
		char strings_3[sizeof(name)];                                                      \
		char strings_4[sizeof(function_name)];                                             \
	} DSU_MANIFEST_PASTE_(dsu_replace_, number) DSU_MANIFEST_ATTRIBUTES_ = {                   \
		{DSU_MANIFEST_MAGIC, DSU_MANIFEST_VERSION, DSU_MANIFEST_REPLACE,                   \
		 sizeof(DSU_MANIFEST_PASTE_(dsu_replace_, number)), 0},                            \
		DSU_MANIFEST_ADDRESS_(number, function), module, file, name, function_name}

#endif
