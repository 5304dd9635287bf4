/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `dsuctl inspect`: what a patch file contains, read by the same code as in a reader of the daemon,
 * so a file that is refused here would be refused there. The file is hostile: it is read by a child
 * without rights, which tells one JSON document; names in it become printable there, and what comes
 * back is looked at once more before it goes anywhere. Talks to nobody.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "dsuctl/file.h"
#include "dsuctl/json.h"
#include "dsuctl/outcome.h"
#include "dsuctl/print.h"
#include "dsuctl/table.h"
#include "dsuctl/verbs.h"
#include "injector/base/io.h"
#include "injector/base/sandbox.h"
#include "injector/image/patch.h"

#define MAX_ANSWER (64u << 20)
#define MAX_CPU_SECONDS 60

static bool has_unwind_info(const struct inj_patch *patch)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(patch->elf, &n);

	for (size_t i = 0; i < n; i++)
		if (segments[i].p_type == PT_GNU_EH_FRAME)
			return true;
	return inj_elf_section_named(patch->elf, ".eh_frame") != NULL;
}

static const char *kind_word(uint8_t type)
{
	switch (type) {
	case STT_FUNC:
	case STT_GNU_IFUNC:
		return "function";
	case STT_OBJECT:
	case STT_COMMON:
		return "variable";
	case STT_TLS:
		return "thread-local";
	default:
		return "any";
	}
}

static json_t *optional_text(const char *text)
{
	return text ? ctl_json_text(text) : json_null();
}

static json_t *replacements_of(const struct inj_patch *patch)
{
	json_t *list = json_array();

	for (size_t i = 0; i < patch->n_replacements; i++) {
		const struct inj_replacement *replacement = &patch->replacements[i];

		json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o, s:I}",
			"module", optional_text(replacement->module),
			"file", optional_text(replacement->file),
			"name", ctl_json_text(replacement->name),
			"new_name", ctl_json_text(replacement->new_name),
			"size", (json_int_t)replacement->new_size));
	}
	return list;
}

static json_t *externals_of(const struct inj_patch *patch)
{
	json_t *list = json_array();

	for (size_t i = 0; i < patch->n_externals; i++) {
		const struct inj_external *external = &patch->externals[i];

		json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:o, s:b}",
			"name", ctl_json_text(external->name),
			"kind", kind_word(external->type),
			"file", optional_text(external->file),
			"version", optional_text(external->version),
			"weak", external->weak));
	}
	return list;
}

static json_t *document_of(const struct inj_patch *patch, const char *path)
{
	return json_pack("{s:o, s:o, s:o, s:b, s:s, s:s, s:I, s:o, s:o, s:{s:I, s:b}, s:b, s:b}",
		"file", ctl_json_text(path),
		"id", ctl_json_text(patch->id),
		"version", ctl_json_text(patch->version),
		"manifest", patch->has_manifest,
		"digest", patch->digest,
		"build_id", patch->build_id_hex,
		"size", (json_int_t)patch->file_bytes,
		"replacements", replacements_of(patch),
		"externals", externals_of(patch),
		"constructors", "count", (json_int_t)patch->n_constructors, "run", 0,
		"unwind_info", has_unwind_info(patch),
		"debug_info", patch->has_debug_info);
}

static const char *yes_no(bool yes)
{
	return yes ? "yes" : "no";
}

static void print_facts(const struct ctl_output *output, const json_t *document)
{
	FILE *out = output->stream;
	const char *bold = ctl_colour(output, CTL_BOLD), *reset = ctl_colour(output, CTL_RESET);
	const char *version = ctl_json_get_text(document, "version");
	const char *build_id = ctl_json_get_text(document, "build_id");
	uint64_t n_constructors =
		ctl_json_get_number(json_object_get(document, "constructors"), "count");

	fprintf(out, "%s%s%s%s%s\n", bold, ctl_json_get_text(document, "id"), reset,
		*version ? " version " : "", version);
	fprintf(out, "  File         %s, %" PRIu64 " bytes\n", ctl_json_get_text(document, "file"),
		ctl_json_get_number(document, "size"));
	fprintf(out, "  SHA-256      %s\n", ctl_json_get_text(document, "digest"));
	fprintf(out, "  Build-id     %s\n", *build_id ? build_id : "none");
	if (!json_is_true(json_object_get(document, "manifest")))
		fprintf(out, "  Manifest     none: each exported function replaces its namesake "
			     "in the main program\n");
	if (n_constructors > 0)
		fprintf(out, "  Constructors %" PRIu64 " present, not run\n", n_constructors);
	fprintf(out, "  Unwind info  %s\n",
		json_is_true(json_object_get(document, "unwind_info"))
			? "yes"
			: "no: exceptions and debuggers cannot pass through the new code");
	fprintf(out, "  Debug info   %s\n",
		yes_no(json_is_true(json_object_get(document, "debug_info"))));
}

static int print_replacements(const struct ctl_output *output, const json_t *list)
{
	static const struct ctl_column columns[] = {
		{"MODULE", 0}, {"FUNCTION", CTL_COLUMN_TRIM}, {"NEW", CTL_COLUMN_TRIM},
		{"BYTES", CTL_COLUMN_RIGHT},
	};
	INJ_CLEANUP(ctl_table_guard) struct ctl_table *table =
		ctl_table_new(output, columns, INJ_ARRAY_LENGTH(columns));
	const json_t *item;
	size_t index;

	json_array_foreach(list, index, item) {
		const char *module = json_string_value(json_object_get(item, "module"));
		char size[24];

		snprintf(size, sizeof(size), "%" PRIu64, ctl_json_get_number(item, "size"));
		ctl_table_add(table, CTL_ROW(module ? module : "(main program)",
					     ctl_json_get_text(item, "name"),
					     ctl_json_get_text(item, "new_name"), size));
	}
	fprintf(output->stream, "\nReplaces:\n");
	return ctl_table_print(table, output, 2);
}

static int print_externals(const struct ctl_output *output, const json_t *list)
{
	static const struct ctl_column columns[] = {
		{"SYMBOL", CTL_COLUMN_TRIM}, {"KIND", 0}, {"FILE", 0}, {"VERSION", 0}, {"WEAK", 0},
	};
	INJ_CLEANUP(ctl_table_guard) struct ctl_table *table =
		ctl_table_new(output, columns, INJ_ARRAY_LENGTH(columns));
	const json_t *item;
	size_t index;

	if (json_array_size(list) == 0) {
		fprintf(output->stream, "\nNeeds nothing of the target.\n");
		return 0;
	}
	json_array_foreach(list, index, item)
		ctl_table_add(table, CTL_ROW(ctl_json_get_text(item, "name"),
					     ctl_json_get_text(item, "kind"),
					     ctl_json_get_text(item, "file"),
					     ctl_json_get_text(item, "version"),
					     yes_no(json_is_true(json_object_get(item, "weak")))));
	fprintf(output->stream, "\nNeeds of the target:\n");
	return ctl_table_print(table, output, 2);
}

static int print_people(const struct ctl_options *options, const json_t *document)
{
	INJ_CLEANUP(ctl_output_end) struct ctl_output output;
	int r;

	ctl_output_begin(&output, options);
	print_facts(&output, document);
	r = print_replacements(&output, json_object_get(document, "replacements"));
	if (r < 0)
		return r;
	return print_externals(&output, json_object_get(document, "externals"));
}

/* The child: a byte that says which, then the document, the story of the refusal, or nothing where
 * it could not be confined. Ends. */
static _Noreturn void read_alone(int patch_fd, int answer_fd, const char *path)
{
	const int fds[] = { patch_fd, answer_fd };
	const struct inj_sandbox sandbox = {
		.name = "dsuctl-reader",
		.fds = fds,
		.n_fds = INJ_ARRAY_LENGTH(fds),
		.memory_bytes = INJ_SANDBOX_MEMORY_BYTES,
		.cpu_seconds = MAX_CPU_SECONDS,
		.max_fds = 64,
	};
	struct inj_patch *patch = NULL;
	struct inj_why why = {0};
	json_t *document;
	char *text;
	int r;

	if (inj_sandbox_enter(&sandbox) < 0) {
		inj_write_full(answer_fd, "!", 1);
		_exit(EXIT_FAILURE);
	}
	r = inj_patch_open(patch_fd, ctl_file_name(path), &patch, &why);
	if (r != 0) {
		inj_write_full(answer_fd, "-", 1);
		inj_write_full(answer_fd, &why, sizeof(why));
		_exit(EXIT_SUCCESS);
	}
	document = document_of(patch, path);
	text = document ? json_dumps(document, JSON_COMPACT) : NULL;
	if (!text || inj_write_full(answer_fd, "+", 1) < 0 ||
	    inj_write_full(answer_fd, text, strlen(text)) < 0)
		_exit(EXIT_FAILURE);
	_exit(EXIT_SUCCESS);
}

/* Our own documents hold printable text only, so nothing in them is escaped but quotes and
 * backslashes. */
static json_t *parse_answer(char *text, size_t length)
{
	for (const char *at = text; (at = strchr(at, '\\')); at += 2)
		if (at[1] != '"' && at[1] != '\\')
			return NULL;
	inj_printable(text);
	return json_loadb(text, length, 0, NULL);
}

static int unconfined(const struct ctl_options *options)
{
	return ctl_fail(options, NULL, CTL_ERROR_FAILED,
			"The process that reads the patch cannot be confined on this host, and the "
			"file is not read without. `dsuctl doctor` tells what is missing.");
}

static int refuse(const struct ctl_options *options, const char *answer, size_t length)
{
	struct inj_why why = { .code = INJ_BAD_PATCH };
	char error[64];

	if (length == 1 + sizeof(why)) {
		memcpy(&why, answer + 1, sizeof(why));
		why.text[sizeof(why.text) - 1] = '\0';
		inj_printable(why.text);
	} else {
		inj_refuse(&why, INJ_BAD_PATCH,
			   "The process that reads the patch came to a bad end: the file is "
			   "damaged, or made to attack who reads it. Find out where it comes "
			   "from.");
	}
	snprintf(error, sizeof(error), "org.dsud1.Error.%s", inj_code_bus_name(why.code));
	return ctl_fail(options, NULL, error, "%s", why.text);
}

/* Have the patch read. Return: 0 with a document, else an exit code after the failure was told. */
static int have_read(const struct ctl_options *options, int fd, const char *path, json_t **ret)
{
	INJ_FREE char *answer = NULL;
	INJ_CLOSE int mine = -1;
	size_t length = 0;
	pid_t child;
	int pair[2];
	int r;

	/* Jansson wants to read random numbers, once in a process. */
	json_object_seed(0);
	if (pipe2(pair, O_CLOEXEC) < 0)
		return ctl_fail_errno(options, NULL, -errno);
	mine = pair[0];
	child = fork();
	if (child == 0)
		read_alone(fd, pair[1], path);
	close(pair[1]);
	if (child < 0)
		return ctl_fail_errno(options, NULL, -errno);
	r = inj_read_whole(mine, MAX_ANSWER, &answer, &length);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	if (r < 0)
		return ctl_fail_errno(options, NULL, r);
	if (length == 1 && answer[0] == '!')
		return unconfined(options);
	*ret = length > 0 && answer[0] == '+' ? parse_answer(answer + 1, length - 1) : NULL;
	return *ret ? 0 : refuse(options, answer, length);
}

int ctl_verb_inspect(const struct ctl_options *options)
{
	CTL_JSON json_t *document = NULL;
	const char *path = options->arguments[0];
	INJ_CLOSE int fd = -1;
	int r;

	r = ctl_file_open(options, NULL, path, &fd);
	if (r == 0)
		r = have_read(options, fd, path, &document);
	if (r > 0)
		return r;
	if (options->quiet && options->json == CTL_JSON_OFF)
		return CTL_EXIT_DONE;
	r = options->json == CTL_JSON_OFF ? print_people(options, document)
					  : ctl_json_print(stdout, options->json, document);
	return r < 0 ? ctl_fail_errno(options, NULL, r) : CTL_EXIT_DONE;
}
