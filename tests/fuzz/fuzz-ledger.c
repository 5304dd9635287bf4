/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a process claims was done to it: 64 bytes of control page, then the record, whose magic and
 * checksum are made right as a forger would. Whatever is accepted can be walked and told without
 * further checks.
 */
#include <stdlib.h>
#include <string.h>

#include "injector/descriptor/history.h"
#include "protocols/fill.h"
#include "tests/fuzz/fuzz.h"

enum { HOME = 0x10000 };

static void make_right(uint8_t *bytes, size_t length, struct dsu_control *control)
{
	struct dsu_ledger *record = (struct dsu_ledger *)bytes;

	record->magic = DSU_LEDGER_MAGIC;
	record->version = DSU_LEDGER_VERSION;
	control->magic = DSU_CONTROL_MAGIC;
	control->ledger = HOME;
	if (record->total_bytes >= sizeof(*record) && record->total_bytes <= length)
		record->checksum = inj_ledger_checksum(record, record->total_bytes);
}

/* The report has every string of the record once, so it cannot be much larger. */
static void tell(const struct inj_history *history, size_t length)
{
	struct upd_report report = {0};
	struct upd_report back = {0};
	struct upd_target *target = upd_report_add(&report, 1);
	void *bytes = NULL;
	size_t n;

	if (!target)
		abort();
	upd_fill_patches(target, history);
	upd_fill_ledger(target, history->ledgers[0]);
	if (upd_report_encode(&report, &bytes, &n) == 0) {
		if (n > 4096 + 8 * length || upd_report_decode(bytes, n, &back) != 0)
			abort();
		upd_report_deinit(&back);
	}
	free(bytes);
	upd_report_deinit(&report);
}

static void ask(struct inj_ledger *ledger, size_t length)
{
	struct inj_ledger *list[] = {ledger};
	const struct inj_history history = {.ledgers = list, .n_ledgers = 1};
	const struct dsu_ledger_site *site;
	const char *id = inj_ledger_string(ledger, ledger->record->patch_id);

	ledger->complete = true;
	if (inj_history_active(&history, id) != (inj_ledger_active(ledger) ? ledger : NULL))
		abort();
	for (size_t i = 0; i < ledger->record->n_sites; i++) {
		const struct inj_ledger *found =
			inj_history_replacing(&history, ledger->sites[i].address, &site);

		if ((found != NULL) != inj_ledger_active(ledger))
			abort();
	}
	if (inj_history_above(&history, ledger))
		abort();
	tell(&history, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct dsu_control control;
	struct inj_ledger *ledger = NULL;
	uint8_t *copy;

	if (length < sizeof(control) + sizeof(struct dsu_ledger))
		return 0;
	memcpy(&control, bytes, sizeof(control));
	bytes += sizeof(control);
	length -= sizeof(control);
	copy = malloc(length);
	memcpy(copy, bytes, length);
	make_right(copy, length, &control);
	if (inj_ledger_check(copy, length, HOME, &control, &ledger) != 0)
		return 0;
	ask(ledger, length);
	inj_ledger_free(ledger);
	return 0;
}
