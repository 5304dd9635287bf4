/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `dsuctl inspect` on patch files, good and bad: what it says, word for word. */
#include <criterion/criterion.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "injector/base/types.h"
#include "tests/bus/dsuctl/cli.h"
#include "tests/support/victim.h"

static json_t *without(json_t *object, const char *key)
{
	cr_assert_not_null(json_object_get(object, key), "%s", key);
	json_object_del(object, key);
	return object;
}

/* What a compiler may decide otherwise tomorrow is checked for form, then left out. */
static void drop_what_varies(json_t *document)
{
	const char *digest = json_string_value(json_object_get(document, "digest"));
	json_t *item;
	size_t index;

	cr_assert_eq(strlen(digest), 64, "%s", digest);
	cr_assert_eq(strspn(digest, "0123456789abcdef"), 64, "%s", digest);
	cr_assert_gt(json_integer_value(json_object_get(document, "size")), 1000);
	json_array_foreach(json_object_get(document, "replacements"), index, item) {
		cr_assert_gt(json_integer_value(json_object_get(item, "size")), 0);
		without(item, "size");
	}
	without(without(without(without(document, "digest"), "size"), "build_id"), "file");
}

static void expect_document(const char *patch, const char *expected)
{
	json_t *document, *wanted = json_loads(expected, 0, NULL);
	CLI cli = {0};

	cr_assert_not_null(wanted);
	RUN(&cli, "inspect", "--json=short", build_path(patch));
	cli_expect_code(&cli, 0);
	document = cli_document(&cli);
	drop_what_varies(document);
	if (!json_equal(document, wanted)) {
		char *text = json_dumps(document, JSON_INDENT(1));

		cr_assert_fail("%s: %s", patch, text);
	}
	json_decref(document);
	json_decref(wanted);
}

Test(inspect, declared_patch)
{
	expect_document("tests/patches/link/constructors.so",
			"{\"id\":\"constructors\",\"version\":\"1\",\"manifest\":true,"
			"\"replacements\":[{\"module\":null,\"file\":null,\"name\":\"hello\","
			"\"new_name\":\"hello_new\"}],"
			"\"externals\":[{\"name\":\"greeted\",\"kind\":\"any\",\"file\":null,"
			"\"version\":null,\"weak\":false}],"
			"\"constructors\":{\"count\":2,\"run\":false},"
			"\"unwind_info\":true,\"debug_info\":false}");
}

Test(inspect, plain_shared_object)
{
	expect_document("tests/patches/link/plain.so",
			"{\"id\":\"plain.so\",\"version\":\"\",\"manifest\":false,"
			"\"replacements\":["
			"{\"module\":null,\"file\":null,\"name\":\"visible_too\","
			"\"new_name\":\"visible_too\"},"
			"{\"module\":null,\"file\":null,\"name\":\"visible\","
			"\"new_name\":\"visible\"}],"
			"\"externals\":[{\"name\":\"greeted\",\"kind\":\"any\",\"file\":null,"
			"\"version\":null,\"weak\":false}],"
			"\"constructors\":{\"count\":0,\"run\":false},"
			"\"unwind_info\":true,\"debug_info\":false}");
}

Test(inspect, for_people)
{
	CLI cli = {0};

	RUN(&cli, "inspect", build_path("tests/patches/link/constructors.so"));
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "constructors version 1\n");
	cli_expect_out(&cli, "  Constructors 2 present, not run\n");
	cli_expect_out(&cli, "  (main program) hello    hello_new");
	cli_expect_out(&cli, "\nNeeds of the target:\n");
	cli_done(&cli);
	RUN(&cli, "inspect", "--quiet", build_path("tests/patches/link/constructors.so"));
	cli_expect_code(&cli, 0);
	cr_assert_str_eq(cli.out, "");
}

Test(inspect, refusals)
{
	static const struct {
		const char *patch, *error;
	} cases[] = {
		{"own-tls", "UnsupportedTls"},
		{"twice", "BadPatch"},
		{"no-declaration", "BadPatch"},
		{"nothing", "BadPatch"},
		{"bad-id", "BadPatch"},
		{"text-relocation", "UnsupportedRelocation"},
		{"program", "BadPatch"},
		{"object", "BadPatch"},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		char path[128], error[64];
		CLI cli = {0};
		json_t *document;

		snprintf(path, sizeof(path), "tests/patches/refused/refused-%s.so", cases[i].patch);
		snprintf(error, sizeof(error), "org.dsud1.Error.%s", cases[i].error);
		RUN(&cli, "--json=short", "inspect", build_path(path));
		cli_expect_code(&cli, 4);
		document = cli_document(&cli);
		cr_assert_str_eq(json_string_value(json_object_get(document, "error")), error, "%s",
				 cases[i].patch);
		cr_assert_gt(strlen(json_string_value(json_object_get(document, "message"))), 20);
		json_decref(document);
	}
}

#define MAX_PATCH 65536

static size_t read_patch(uint8_t bytes[static MAX_PATCH])
{
	FILE *file = fopen(build_path("tests/patches/link/plain.so"), "re");
	size_t length;

	cr_assert_not_null(file);
	length = fread(bytes, 1, MAX_PATCH, file);
	fclose(file);
	cr_assert(length > 1000 && length < MAX_PATCH);
	return length;
}

static void expect_bad(const char *name, const uint8_t *bytes, size_t length)
{
	const char *path = cli_file(name, "");
	FILE *file = fopen(path, "we");
	CLI cli = {0};

	cr_assert_eq(fwrite(bytes, 1, length, file), length);
	fclose(file);
	RUN(&cli, "--json=short", "inspect", path);
	cli_expect_code(&cli, 4);
	cli_expect_out(&cli, "org.dsud1.Error.BadPatch");
	for (const char *c = cli.err; *c; c++)
		cr_assert(*c == '\n' || (unsigned char)*c >= 0x20, "byte %#x", *c);
}

Test(inspect, truncated)
{
	static const size_t lengths[] = {0, 3, 16, 63, 64, 500};
	static uint8_t bytes[MAX_PATCH];

	read_patch(bytes);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(lengths); i++) {
		char name[32];

		snprintf(name, sizeof(name), "cut-%zu.so", lengths[i]);
		expect_bad(name, bytes, lengths[i]);
	}
}

Test(inspect, wrong_architecture_and_hostile_offsets)
{
	static uint8_t bytes[MAX_PATCH];
	size_t length = read_patch(bytes);
	Elf64_Ehdr *header = (Elf64_Ehdr *)bytes, sound = *header;

	header->e_machine = EM_AARCH64;
	expect_bad("arm.so", bytes, length);
	*header = sound;
	header->e_ident[EI_CLASS] = ELFCLASS32;
	expect_bad("small.so", bytes, length);
	*header = sound;
	header->e_phoff = UINT64_MAX - 8;
	expect_bad("offset.so", bytes, length);
	*header = sound;
	header->e_phnum = 0xfffe;
	expect_bad("count.so", bytes, length);
}

Test(inspect, a_name_cannot_speak_to_the_terminal)
{
	expect_bad("\033[2Jname\a.so", (const uint8_t *)"no ELF", 6);
}
