/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_BASE_FAULT_POINT_H
#define INJ_BASE_FAULT_POINT_H

/*
 * Named points at which a test makes us die or fail. A point stands after every step that
 * changes a target. Built without the option `fault-points` they vanish.
 *
 * DSUD_FAULT=name[:count][:action] in the worker's environment arms one: at the count-th pass
 * (default 1) the process kills itself with SIGKILL (action `kill`, the default), kills its
 * parent and itself (`kill-both`), kills its parent (`kill-parent`), or hangs (`hang`).
 */
#ifdef DSU_FAULT_POINTS
void inj_fault_point(const char *name);
#else
static inline void inj_fault_point(const char *name)
{
	(void)name;
}
#endif

#endif
