/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The report's flat form: whatever decodes is lawful, and encodes to something that decodes again.
 */
#include <stdlib.h>
#include <string.h>

#include "injector/base/cleanup.h"
#include "protocols/report.h"
#include "tests/fuzz/fuzz.h"

static void check_target(const struct upd_target *target)
{
	if (target->pid < 0 || (unsigned)target->result > UPD_GONE || !target->message)
		abort();
	for (size_t i = 0; i < target->n_notes; i++)
		if (strlen(target->notes[i]) > UPD_REPORT_MAX_STRING)
			abort();
	for (size_t i = 0; i < target->n_threads_listed; i++)
		if (target->threads[i].n_frames > UPD_REPORT_MAX_FRAMES)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};
	UPD_REPORT_CLEAN struct upd_report again = {0};
	INJ_FREE void *encoded = NULL;
	size_t encoded_length;

	if (upd_report_decode(bytes, length, &report) < 0)
		return 0;
	for (size_t i = 0; i < report.n_targets; i++)
		check_target(&report.targets[i]);
	/* Making text printable never makes it longer, so this always fits. */
	if (upd_report_encode(&report, &encoded, &encoded_length) < 0 ||
	    upd_report_decode(encoded, encoded_length, &again) < 0 ||
	    again.n_targets != report.n_targets)
		abort();
	return 0;
}
