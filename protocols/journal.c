/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the daemon may ask of a journal, which it keeps without reading it. */
#include "injector/txn/journal.h"
#include "protocols/update.h"

bool upd_journal_is_foreign(int fd)
{
	return inj_journal_is_foreign(fd);
}
