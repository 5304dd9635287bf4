/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_TRACER_PRIV_H
#define INJ_STOP_TRACER_PRIV_H

#include "injector/stop/tracer.h"

struct inj_agent;

struct inj_agent *inj_tracer_agent(struct inj_tracer *tracer);
/* The same hold, to be changed; NULL when it is none of the tracer's. */
struct inj_hold *inj_tracer_own_hold(struct inj_tracer *tracer, const struct inj_hold *hold);

#endif
