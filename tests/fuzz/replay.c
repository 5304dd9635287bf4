/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replays the corpus of a fuzz target as an ordinary test: `replay-NAME DIRECTORY|FILE...`. Prints
 * each input before it runs, so that the last line names the one that crashed. An empty corpus is a
 * failure: it would prove nothing.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "injector/base/cleanup.h"
#include "injector/base/io.h"
#include "tests/fuzz/fuzz.h"

#define MAX_INPUT_BYTES (16UL << 20)

static int replay_file(int directory, const char *name)
{
	INJ_CLOSE int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	INJ_FREE char *text = NULL;
	size_t length;

	if (fd < 0 || inj_read_whole(fd, MAX_INPUT_BYTES, &text, &length) < 0) {
		fprintf(stderr, "cannot read %s\n", name);
		return -1;
	}
	printf("%s (%zu bytes)\n", name, length);
	fflush(stdout);
	LLVMFuzzerTestOneInput((const uint8_t *)text, length);
	return 1;
}

/* Return: number of inputs, -1 on failure. */
static int replay_directory(const char *path)
{
	INJ_CLEANUP(inj_dir_guard) DIR *directory = opendir(path);
	struct dirent *entry;
	int n = 0;

	if (!directory) {
		fprintf(stderr, "cannot open %s\n", path);
		return -1;
	}
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		if (replay_file(dirfd(directory), entry->d_name) < 0)
			return -1;
		n++;
	}
	return n;
}

int main(int argc, char **argv)
{
	int total = 0;

	for (int i = 1; i < argc; i++) {
		struct stat status;
		bool is_directory = stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode);
		int n = is_directory ? replay_directory(argv[i]) : replay_file(AT_FDCWD, argv[i]);

		if (n < 0)
			return 1;
		total += n;
	}
	printf("%d inputs\n", total);
	return total > 0 ? 0 : 1;
}
