/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Answers of a daemon that is not to be trusted: the first byte chooses the type, the rest is the
 * contents. What becomes a document is printable throughout, is JSON when printed, and can be told
 * to people, whatever it has and lacks.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dsuctl/json.h"
#include "dsuctl/progress.h"
#include "dsuctl/report.h"
#include "injector/base/cleanup.h"
#include "injector/base/why.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/make-message.h"

INJ_DEFINE_GUARD(sd_bus_message *, sd_bus_message_unref, message_guard)

static const char *const types[] = {"aa{sv}", "v", "a{sv}", "a(tsssso)", "a(usso)", "s"};

static void expect_shown_well(const char *text)
{
	INJ_FREE char *copy = strdup(text);

	if (!copy)
		abort();
	inj_printable(copy);
	if (strcmp(copy, text) != 0)
		abort();
}

/* As deep as a message can be. */
static void walk(const json_t *value)
{
	const json_t *inside;
	const char *key;
	size_t index;

	if (json_is_string(value))
		expect_shown_well(json_string_value(value));
	/* clang-format off */
	json_array_foreach(value, index, inside)
		walk(inside);
	json_object_foreach((json_t *)value, key, inside) {
		expect_shown_well(key);
		walk(inside);
	}
	/* clang-format on */
}

static void print(json_t *answer)
{
	CTL_JSON json_t *document = json_pack("{s:O}", "answer", answer);
	INJ_FREE char *text = NULL;
	size_t length = 0;
	FILE *stream = open_memstream(&text, &length);
	json_t *again;

	if (!document || !stream || ctl_json_print(stream, CTL_JSON_SHORT, document) < 0 ||
	    fclose(stream) != 0)
		abort();
	again = json_loadb(text, length, JSON_DECODE_ANY, NULL);
	if (!again || !json_equal(again, document))
		abort();
	json_decref(again);
}

static void tell(json_t *document)
{
	const struct ctl_options options = {.no_pager = true};
	INJ_FREE char *line = ctl_progress_line(document, 1);
	FILE *const out = stdout, *const errors = stderr;
	static FILE *nowhere;

	if (!line)
		abort();
	expect_shown_well(line);
	nowhere = nowhere ? nowhere : fopen("/dev/null", "we");
	if (!nowhere)
		abort();
	stdout = stderr = nowhere;
	ctl_report_tell(&options, document);
	stdout = out;
	stderr = errors;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	INJ_CLEANUP(message_guard) sd_bus_message *message = NULL;
	CTL_JSON json_t *document = NULL;
	const char *type;

	if (length == 0)
		return 0;
	type = types[bytes[0] % INJ_ARRAY_LENGTH(types)];
	message = make_message(bytes + 1, length - 1, type, STDIN_FILENO);
	if (!message || ctl_json_from_message(message, type, &document) < 0)
		return 0;
	walk(document);
	print(document);
	tell(document);
	return 0;
}
