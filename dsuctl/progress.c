/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The progress line. It is drawn over itself and never wider than the terminal, so that it stays
 * one line; it is gone before any other word is printed. Silent where standard error is no
 * terminal, and with --quiet.
 */
#include "dsuctl/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dsuctl/json.h"
#include "dsud/contract.h"
#include "injector/base/clock.h"

void ctl_progress_init(struct ctl_progress *ret, const struct ctl_options *options)
{
	*ret = (struct ctl_progress){.is_shown = !options->quiet && isatty(STDERR_FILENO)};
}

void ctl_progress_deinit(struct ctl_progress *progress)
{
	json_decref(progress->latest);
	progress->latest = NULL;
}

char *ctl_progress_line(const json_t *event, uint64_t remaining_ns)
{
	const char *phase = ctl_json_get_text(event, DSUD_KEY_PHASE);
	const char *text = ctl_json_get_text(event, DSUD_KEY_TEXT);
	uint64_t attempt = ctl_json_get_number(event, DSUD_KEY_ATTEMPT);
	char attempts[48] = "", left[48] = "";
	char *line;

	if (attempt > 0)
		snprintf(attempts, sizeof(attempts), ", attempt %" PRIu64, attempt);
	if (remaining_ns != UINT64_MAX)
		snprintf(left, sizeof(left), ", %" PRIu64 " s left",
			 remaining_ns / 1000000000 + (remaining_ns % 1000000000 > 0));
	if (asprintf(&line, "%s%s%s%s%s", phase, attempts, left, *text ? ": " : "", text) < 0)
		return NULL;
	return line;
}

static size_t screen_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 2)
		return 79;
	return size.ws_col - 1u;
}

/* Bytes of the longest prefix with at most so many characters; UTF-8 is taken as checked. */
static size_t prefix_bytes(const char *text, size_t n_characters)
{
	size_t i = 0;

	for (; text[i]; i++)
		if (((unsigned char)text[i] & 0xc0) != 0x80 && n_characters-- == 0)
			break;
	return i;
}

void ctl_progress_draw(struct ctl_progress *progress)
{
	INJ_FREE char *line = NULL;

	if (!progress->is_shown || !progress->latest)
		return;
	line = ctl_progress_line(progress->latest, progress->deadline_ns
							   ? inj_remaining_ns(progress->deadline_ns)
							   : UINT64_MAX);
	if (!line)
		return;
	fprintf(stderr, "\r%.*s\033[K", (int)prefix_bytes(line, screen_width()), line);
	fflush(stderr);
	progress->is_on_screen = true;
}

void ctl_progress_set(struct ctl_progress *progress, json_t *event)
{
	json_t *remaining = json_object_get(event, DSUD_KEY_REMAINING);

	json_decref(progress->latest);
	progress->latest = json_incref(event);
	progress->deadline_ns = 0;
	/* Beyond a day means without a deadline; the limit also keeps the sum from overflowing. */
	if (remaining && ctl_json_get_number(event, DSUD_KEY_REMAINING) <= DSUD_MAX_TIMEOUT_USEC)
		progress->deadline_ns =
			inj_now_ns() + 1000 * ctl_json_get_number(event, DSUD_KEY_REMAINING);
	ctl_progress_draw(progress);
}

void ctl_progress_clear(struct ctl_progress *progress)
{
	if (!progress->is_on_screen)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	progress->is_on_screen = false;
}
