/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text of /proc/PID/stat and of a status file: what parses holds printable names only. */
#include <string.h>

#include "injector/process/status-priv.h"
#include "tests/fuzz/fuzz.h"

static void check_printable(const char *text)
{
	char copy[256];

	strcpy(copy, text);
	inj_printable(copy);
	if (strcmp(copy, text) != 0)
		__builtin_trap();
}

static void check_refusal(const char *text)
{
	struct inj_why why;

	inj_refuse(&why, INJ_BUSY, "%s", text);
	if (strlen(why.text) >= sizeof(why.text))
		__builtin_trap();
	for (const char *at = why.text; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	INJ_FREE char *text = malloc(length + 1);
	struct inj_status status;
	struct inj_stat stat;
	pid_t ns_pid = 0;

	if (!text)
		return 0;
	memcpy(text, bytes, length);
	text[length] = '\0';
	check_refusal(text);
	if (inj_stat_parse(text, &stat) == 0 && stat.state == '\0')
		__builtin_trap();
	if (inj_status_parse(text, &status, &ns_pid) != 0)
		return 0;
	if (strlen(status.comm) >= sizeof(status.comm) || status.tgid < 0 ||
	    status.tracer_pid < 0 || ns_pid < 0)
		__builtin_trap();
	check_printable(status.comm);
	return 0;
}
