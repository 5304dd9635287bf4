/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_SETTLED_H
#define UPD_SETTLED_H

#include "protocols/run.h"

/*
 * Look at every target of a change that did not go well, and say in the report where something of
 * it may be left that only a recovery puts right.
 * run: over, but for its report; maps and ledgers of its subjects are read anew.
 * State: not held. Return: nothing; who cannot be looked at counts as unsettled, who is gone does
 * not.
 */
void upd_tell_unsettled(struct upd_run *run);

#endif
