/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The question what a process carries: its ledgers, read and told, nothing else. */
#include <stdio.h>
#include <string.h>

#include "injector/txn/ours.h"
#include "protocols/fill.h"
#include "protocols/run.h"

void upd_status(struct upd_run *run)
{
	for (size_t i = 0; i < run->n_subjects; i++)
		if (run->subjects[i].code == 0)
			upd_fill_patches(&run->report->targets[i], &run->subjects[i].history);
}

bool upd_is_patched(pid_t pid)
{
	INJ_CLEANUP(inj_file_guard) FILE *maps = NULL;
	INJ_FREE char *line = NULL;
	char path[64];
	size_t size = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (maps && getline(&line, &size, maps) > 0) {
		const char *name = strchr(line, '/');

		if (name && strncmp(name, INJ_AREA_NAME_PREFIX, strlen(INJ_AREA_NAME_PREFIX)) == 0)
			return true;
	}
	return false;
}
