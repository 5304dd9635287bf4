/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A walker that cannot walk: it copies and scans stacks as every walker does, and knows of unwind
 * tables only what it was
 * told. Always holds: a thread is let through only when it stands at home in a function known to be
 * ordinary, and no register and no word of its stack could be a pc in watched code. What was told
 * wrongly lets a thread through that a
 * walker would have looked at more closely: who tells must be somebody who has no advantage from
 *   that.
 */
#include <string.h>

#include "injector/base/bisect.h"
#include "injector/unwind/known.h"
#include "injector/unwind/walker-priv.h"

#define MAX_KNOWN 4096

struct inj_sieve {
	struct inj_walker walker;
};

static int copy_ranges(struct inj_range **to, size_t *ret_n, const struct inj_range *from, size_t n)
{
	*to = calloc(n ? n : 1, sizeof(**to));
	if (!*to)
		return -ENOMEM;
	if (n)
		memcpy(*to, from, n * sizeof(**to));
	*ret_n = n;
	return 0;
}

static int make(struct inj_walker *walker, const struct inj_maps *maps)
{
	int r;

	walker->piece = malloc(INJ_STACK_PIECE);
	walker->window = malloc(INJ_STACK_WINDOW);
	walker->known = calloc(MAX_KNOWN, sizeof(*walker->known));
	if (!walker->piece || !walker->window || !walker->known)
		return -ENOMEM;
	r = inj_stack_map_init(&walker->map, walker->process, maps);
	return r < 0 ? r : inj_snapshot_prepare(walker, walker->map.n_threads);
}

INJ_DEFINE_GUARD(struct inj_sieve *, inj_sieve_free, sieve_guard)

int inj_sieve_new(const struct inj_process *process, const struct inj_maps *maps,
		  const struct inj_range *own, size_t n_own, const struct inj_range *trampolines,
		  size_t n_trampolines, inj_translate_fn translate, void *context,
		  struct inj_sieve **ret, struct inj_why *why)
{
	INJ_CLEANUP(sieve_guard) struct inj_sieve *sieve = calloc(1, sizeof(*sieve));
	int r = -ENOMEM;

	if (sieve) {
		sieve->walker.process = process;
		sieve->walker.translate = translate;
		sieve->walker.translate_context = context;
		r = copy_ranges(&sieve->walker.own, &sieve->walker.n_own, own, n_own);
	}
	if (r == 0)
		r = copy_ranges(&sieve->walker.tables.trampolines,
				&sieve->walker.tables.n_trampolines, trampolines, n_trampolines);
	if (r == 0)
		r = make(&sieve->walker, maps);
	if (r < 0)
		return inj_broke(why, r, "cannot prepare looking at the stacks of process %d",
				 process->pid);
	*ret = INJ_TAKE(sieve);
	return 0;
}

void inj_sieve_free(struct inj_sieve *sieve)
{
	if (!sieve)
		return;
	inj_walker_deinit(&sieve->walker);
	free(sieve);
}

/* Index of the first known function that does not end before an address. */
static size_t place_of(const struct inj_walker *walker, inj_addr address)
{
	return INJ_COUNT_WHILE(walker->n_known, i, walker->known[i].code.end <= address);
}

void inj_sieve_learn(struct inj_sieve *sieve, const struct inj_known *known)
{
	struct inj_walker *walker = &sieve->walker;
	size_t at = place_of(walker, known->code.start);

	if (walker->n_known == MAX_KNOWN || known->code.start >= known->code.end ||
	    (at < walker->n_known && walker->known[at].code.start < known->code.end))
		return;
	memmove(&walker->known[at + 1], &walker->known[at],
		(walker->n_known - at) * sizeof(*walker->known));
	walker->known[at] = *known;
	walker->n_known++;
}

bool inj_known_is_odd(const struct inj_walker *walker, inj_addr pc)
{
	size_t at = place_of(walker, pc);

	return at == walker->n_known || !inj_range_has(walker->known[at].code, pc) ||
	       walker->known[at].is_odd;
}

int inj_sieve_suspect(struct inj_sieve *sieve, const struct inj_hold *hold,
		      const struct inj_watch *watches, size_t n_watches, uint64_t budget_ns,
		      struct inj_thread *suspects, size_t *ret_n, struct inj_why *why)
{
	return inj_walker_suspect(&sieve->walker, hold, watches, n_watches, budget_ns, suspects,
				  ret_n, why);
}
