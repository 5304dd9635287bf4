/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program whose names are written to take over the terminal or the log of whoever looks at it.
 * Everything that dsuctl and dsud say about it is looked at byte by byte.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "tests/bus/bus-fixture.h"
#include "tests/bus/dsuctl/cli.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

#define PATCH(name) "tests/bus/dsuctl/awkward-" name ".so"
#define ODD	    "od\033[2J\nd\xc2\x9b"

/* What the tests share: a daemon whose words are kept, and the program. */
struct scene {
	struct bus_fixture *fixture;
	struct victim *victim;
	int words;
	char socket[256];
	char pid[32];
};

static void copy_file(const char *from, const char *to)
{
	INJ_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC);
	INJ_CLOSE int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	char buffer[65536];
	ssize_t n;

	cr_assert(in >= 0 && out >= 0, "%s", to);
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		cr_assert_eq(write(out, buffer, (size_t)n), n);
}

static struct victim *start_disguised(const struct bus_fixture *fixture)
{
	char program[256], library[256];
	char *argv[] = {program, library, NULL};
	struct victim *victim;

	snprintf(program, sizeof(program), "%s/" ODD "exe", fixture->directory);
	snprintf(library, sizeof(library), "%s/" ODD "lib", fixture->directory);
	copy_file(build_path("tests/victims/disguise"), program);
	copy_file(build_path("tests/victims/libdisguise.so"), library);
	victim = victim_spawn(argv);
	cr_assert_str_eq(victim_hear(victim), "ready");
	return victim;
}

static void scene_begin(struct scene *scene)
{
	int saved = dup(STDERR_FILENO);

	need_root();
	*scene = (struct scene){.fixture = bus_fixture_prepare("dsud/dsud", false)};
	scene->words = memfd_create("words", MFD_CLOEXEC);
	fflush(stderr);
	dup2(scene->words, STDERR_FILENO);
	bus_fixture_start(scene->fixture, NULL);
	dup2(saved, STDERR_FILENO);
	close(saved);
	scene->victim = start_disguised(scene->fixture);
	snprintf(scene->socket, sizeof(scene->socket), "--socket=%s", scene->fixture->socket_path);
	snprintf(scene->pid, sizeof(scene->pid), "--pid=%d", (int)scene->victim->pid);
}

static void scene_end(struct scene *scene)
{
	victim_free(scene->victim);
	bus_fixture_free(scene->fixture);
	close(scene->words);
}

/* Judged by the C library, not by the code under test. */
static void expect_characters(const char *line)
{
	mbstate_t state = {0};
	size_t left = strlen(line);
	wchar_t character;

	cr_assert_not_null(setlocale(LC_CTYPE, "C.UTF-8"));
	while (left > 0) {
		size_t n = mbrtowc(&character, line, left, &state);

		cr_assert(n > 0 && n <= left, "no UTF-8: %s", line);
		cr_assert(!iswcntrl((wint_t)character) &&
				  (character < 0x202a || character > 0x202e),
			  "U+%04x in: %s", (unsigned)character, line);
		line += n;
		left -= n;
	}
}

/* Lines of text that can be shown; colours of dsuctl's own where it may have some. */
static void expect_harmless(char *text, bool colours)
{
	static const char *const ours[] = {"\033[31m", "\033[32m", "\033[33m", "\033[1m",
					   "\033[0m",  "\033[m",   "\033[K",   "\r"};
	char *line;

	for (size_t i = 0; colours && i < INJ_ARRAY_LENGTH(ours); i++)
		for (char *at; (at = strstr(text, ours[i]));)
			memset(at, ' ', strlen(ours[i]));
	for (char *rest = text; (line = strsep(&rest, "\n"));) {
		expect_characters(line);
		cr_assert(!strstr(line, "<0>") || strstr(line, "?<0>"), "a line was forged: %s",
			  line);
	}
}

static void expect_harmless_run(const struct scene *scene, int code, const char *json,
				const char *verb, const char *argument, const char *option)
{
	CLI cli = {0};

	RUN(&cli, scene->socket, json, verb, argument, scene->pid, option);
	cli_expect_code(&cli, code);
	cr_assert(cli.out[0] || cli.err[0], "nothing was said");
	if (strcmp(json, "--no-pager") != 0)
		json_decref(cli_document(&cli));
	expect_harmless(cli.out, false);
	expect_harmless(cli.err, false);
}

static void expect_harmless_words(const struct scene *scene)
{
	struct stat status;
	char *text;

	cr_assert_eq(fstat(scene->words, &status), 0);
	text = calloc(1, (size_t)status.st_size + 1);
	cr_assert_eq(pread(scene->words, text, (size_t)status.st_size, 0), status.st_size);
	cr_assert(strstr(text, "update"), "the daemon said nothing");
	for (char *line = text; *line; line = strchr(line, '\n') + 1)
		cr_assert_eq(strncmp(line, "dsud: ", 6), 0, "a line was forged: %s", line);
	expect_harmless(text, false);
	free(text);
}

Test(disguise, nothing_odd_is_shown, .timeout = 120)
{
	static const char *const modes[] = {"--no-pager", "--json=short", "--json=pretty"};
	INJ_CLEANUP(scene_end) struct scene scene;
	char patches[3][512];

	scene_begin(&scene);
	snprintf(patches[0], sizeof(patches[0]), "%s", build_path(PATCH("stay")));
	snprintf(patches[1], sizeof(patches[1]), "%s", build_path(PATCH("absent")));
	snprintf(patches[2], sizeof(patches[2]), "%s", build_path(PATCH("answer")));
	victim_expect(scene.victim, "busy", "inside");
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(modes); i++) {
		/* Blocked: command, function. Refused: names that come near. Stacks: all of it. */
		expect_harmless_run(&scene, 3, modes[i], "apply", patches[0], "--timeout=0.2");
		expect_harmless_run(&scene, 0, modes[i], "check", patches[0], "--timeout=1");
		expect_harmless_run(&scene, 4, modes[i], "apply", patches[1], "--timeout=1");
		expect_harmless_run(&scene, 0, modes[i], "stacks", "--no-legend", "--no-legend");
		expect_harmless_run(&scene, 0, modes[i], "apply", patches[2], "--timeout=5");
		expect_harmless_run(&scene, 0, modes[i], "status", "--no-legend", "--no-legend");
		expect_harmless_run(&scene, 0, modes[i], "revert", "awkward-answer", "--timeout=5");
	}
	victim_expect(scene.victim, "go", "out 1");
	expect_harmless_words(&scene);
}

/* The names are there, with their harmless parts: nothing was left out instead. */
Test(disguise, what_is_harmless_is_shown)
{
	INJ_CLEANUP(scene_end) struct scene scene;
	CLI cli = {0};

	scene_begin(&scene);
	victim_expect(scene.victim, "busy", "inside");
	RUN(&cli, scene.socket, "stacks", scene.pid, "--no-pager");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "a?[2J?<0>?c");
	cli_expect_out(&cli, "a?[2J?<0>?t");
	cli_expect_out(&cli, "through?[2J??1ithe");
	cli_expect_out(&cli, "od?[2J?d??lib");
	cli_expect_out(&cli, "stay");
	victim_expect(scene.victim, "go", "out 1");
}

static void read_all(int fd, char *buffer, size_t size)
{
	size_t used = 0;
	ssize_t n;

	/* The other side of a closed terminal is an error, not an end. */
	while (used + 1 < size && (n = read(fd, buffer + used, size - 1 - used)) > 0)
		used += (size_t)n;
	buffer[used] = '\0';
}

Test(disguise, on_a_terminal_neither)
{
	INJ_CLEANUP(scene_end) struct scene scene;
	char text[65536];
	char patch[512];

	scene_begin(&scene);
	snprintf(patch, sizeof(patch), "%s", build_path(PATCH("stay")));
	victim_expect(scene.victim, "busy", "inside");

	const char *const runs[][7] = {
		{scene.socket, "apply", patch, scene.pid, "--timeout=0.5", NULL},
		{scene.socket, "stacks", scene.pid, "--no-pager", NULL},
		{scene.socket, "--json=pretty", "stacks", scene.pid, NULL},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(runs); i++) {
		CLI cli = {0};
		INJ_CLOSE int terminal = cli_start_on_terminal(&cli, runs[i], true);

		read_all(terminal, text, sizeof(text));
		cli_wait(&cli);
		cr_assert_str_neq(text, "");
		expect_harmless(text, true);
	}
	victim_expect(scene.victim, "go", "out 1");
}
