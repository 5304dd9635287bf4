/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the load generators. Always holds: a run counts only when it ended with status 0 and did all
 * its requests, none of them failed. Refuses results it does not understand.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/real/load.h"

#define RUN_MS 120000

static void start(struct load *load)
{
	char output[64];

	snprintf(output, sizeof(output), "load-%u.log", load->n_runs);
	load->keeper = keeper_start(&(struct keeper_order){
		.argv = load->argv, .user = load->user, .directory = load->scene->directory,
		.output = scene_path(load->scene, output), .stop_signal = SIGTERM,
		.keep_fd = load->scene->keep_fd});
}

/* The run has ended. */
static void collect(struct load *load)
{
	const char *text = keeper_output(load->keeper);

	cr_assert_eq(load->keeper->status, 0, "%s ended with status 0x%x: %s", load->argv[0],
		     (unsigned)load->keeper->status, text);

	uint64_t n = load->read(text);

	cr_assert_eq(n, load->n_expected, "%s did %llu of %llu requests: %s", load->argv[0],
		     (unsigned long long)n, (unsigned long long)load->n_expected, text);
	load->n_requests += n;
	load->n_runs++;
	keeper_free(INJ_TAKE(load->keeper));
}

void load_keep_going(struct load *load)
{
	if (load->keeper && keeper_await_end(load->keeper, 0))
		collect(load);
	if (!load->keeper)
		start(load);
}

void load_finish(struct load *load)
{
	if (!load->keeper)
		return;
	cr_assert(keeper_await_end(load->keeper, RUN_MS), "%s does not come to an end: %s",
		  load->argv[0], keeper_output(load->keeper));
	collect(load);
}

void load_deinit(struct load *load)
{
	keeper_free(load->keeper);
}

/* --- results ---------------------------------------------------------------------------------- */

static const char *find_line(const char *text, const char *label)
{
	size_t length = strlen(label);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, label, length) == 0)
			return line + length;
	}
	return NULL;
}

bool load_has_line(const char *text, const char *label)
{
	return find_line(text, label) != NULL;
}

uint64_t load_number(const char *text, const char *label)
{
	const char *value = find_line(text, label);
	char *end = NULL;
	uint64_t number = value ? strtoull(value, &end, 10) : 0;

	cr_assert(value && end != value, "no number behind \"%s\" in: %s", label, text);
	return number;
}

uint64_t load_read_ab(const char *text)
{
	uint64_t n = load_number(text, "Complete requests:");

	cr_assert_eq(load_number(text, "Failed requests:"), 0, "%s", text);
	cr_assert(!load_has_line(text, "Non-2xx responses:"), "%s", text);
	cr_assert(!load_has_line(text, "Write errors:"), "%s", text);
	/* Less would mean that connections were closed. */
	cr_assert_eq(load_number(text, "Keep-Alive requests:"), n, "%s", text);
	return n;
}

uint64_t load_read_pgbench(const char *text)
{
	cr_assert_eq(load_number(text, "number of failed transactions:"), 0, "%s", text);
	cr_assert(!strstr(text, "ERROR") && !strstr(text, "aborted"), "%s", text);
	return load_number(text, "number of transactions actually processed:");
}
