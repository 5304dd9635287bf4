/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the shells offer for half a command line. The shells are real and not interactive. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "injector/base/types.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

#define MAX_OUTPUT 65536

/* Run a command; its output, in a buffer of the test process. */
static const char *output_of(const char *command)
{
	static char text[MAX_OUTPUT];
	FILE *pipe = popen(command, "re");
	size_t length;
	int status;

	cr_assert_not_null(pipe);
	length = fread(text, 1, sizeof(text) - 1, pipe);
	text[length] = '\0';
	status = pclose(pipe);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status %#x: %s", command,
		  status, text);
	return text;
}

/* Words of the line as bash cuts them ("=" is a word); one candidate a line. */
static const char *bash_offers(const char *words)
{
	char command[2048];

	snprintf(command, sizeof(command),
		 "bash --norc -c 'source \"%s\"; COMP_WORDS=(%s); "
		 "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _dsuctl; "
		 "printf \"<%%s>\\n\" \"${COMPREPLY[@]}\"'",
		 source_path("dsuctl/completion/dsuctl.bash"), words);
	return output_of(command);
}

Test(completion, bash)
{
	static const struct {
		const char *words, *offers;
	} cases[] = {
		{"dsuctl st", "<status>\n<stacks>\n"},
		{"dsuctl --json = short mon", "<monitor>\n"},
		{"dsuctl --timeout 3 re", "<revert>\n"},
		{"dsuctl --json = \"\"", "<pretty>\n<short>\n"},
		{"dsuctl status --json =", "<pretty>\n<short>\n"},
		{"dsuctl apply --t", "<--timeout=>\n"},
		{"dsuctl doctor --t", "<>\n"},
		{"dsuctl stacks --pa", "<--patch=>\n"},
		{"dsuctl inspect /proc/version", "</proc/version>\n"},
	};

	need_program("bash", "bash");
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++)
		cr_assert_str_eq(bash_offers(cases[i].words), cases[i].offers, "%s",
				 cases[i].words);
}

Test(completion, bash_completes_the_last_of_several_processes)
{
	need_program("bash", "bash");
	cr_assert(strstr(bash_offers("dsuctl status --pid = 7,1"), "<7,1>\n"));
}

Test(completion, zsh, .timeout = 240)
{
	char command[2048], directory[1024];
	const char *offered;

	need_program("zsh", "zsh");
	snprintf(directory, sizeof(directory), "%s", source_path("dsuctl/completion"));
	snprintf(command, sizeof(command), "zsh -f '%s' '%s' 'dsuctl s' 'dsuctl apply --p'",
		 source_path("tests/bus/dsuctl/complete.zsh"), directory);
	offered = output_of(command);
	cr_assert(strstr(offered, "show the stacks of all threads"), "%s", offered);
	cr_assert(strstr(offered, "list patched processes"), "%s", offered);
	cr_assert(strstr(offered, "--pid"), "%s", offered);
	cr_assert(strstr(offered, "--protocol"), "%s", offered);
}
