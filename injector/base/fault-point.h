/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_BASE_FAULT_POINT_H
#define INJ_BASE_FAULT_POINT_H

/*
 * Named points at which a test makes us die or fail. A point stands after every step that
 * changes a target, the journal or the state directory: in the one function through which all
 * steps of a kind go, and once more, under a name that says what for, where a procedure has done
 * one of its steps. A lint test finds steps without. Built without the option `fault-points`
 * they vanish. errno is kept.
 *
 * DSUD_FAULT=name[:count][:action] in the worker's environment arms one: at the count-th pass
 * (default 1) the process kills itself with SIGKILL (action `kill`, the default), kills its
 * parent and itself (`kill-both`), kills its parent (`kill-parent`), hangs (`hang`), or stops
 * until a SIGCONT comes (`stop`). Up to four may be armed, separated by commas.
 *
 * DSUD_FAULT_TRACE=PATH adds the name of every point that is passed to that file, a line each.
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
