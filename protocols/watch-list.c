/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists of code that must not be live during a switch. */
#include "protocols/quiesce.h"

#include <stdlib.h>

int upd_watch_add(struct upd_watch_list *list, struct inj_range code, unsigned tag,
		  bool entry_is_free)
{
	struct inj_watch *grown;

	if (code.start >= code.end)
		return 0;
	grown = reallocarray(list->watches, list->n_watches + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	list->watches = grown;
	grown[list->n_watches++] = (struct inj_watch){
		.code = code, .tag = tag, .entry_is_free = entry_is_free,
	};
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct inj_watch *x = a, *y = b;

	return x->code.start < y->code.start ? -1 : x->code.start > y->code.start;
}

void upd_watch_seal(struct upd_watch_list *list)
{
	size_t kept = 0;

	if (!list->n_watches)
		return;
	qsort(list->watches, list->n_watches, sizeof(*list->watches), by_start);
	for (size_t i = 1; i < list->n_watches; i++) {
		struct inj_watch *last = &list->watches[kept];
		struct inj_watch next = list->watches[i];

		if (next.code.start < last->code.end) {
			next.code.start = last->code.end;
			next.entry_is_free = false;
		}
		if (next.code.start < next.code.end)
			list->watches[++kept] = next;
	}
	list->n_watches = kept + 1;
}

int upd_watch_add_rest(struct upd_watch_list *list, struct inj_range code, unsigned tag)
{
	const size_t n = list->n_watches;
	inj_addr at = code.start;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n && at < code.end; i++) {
		const struct inj_range known = list->watches[i].code;

		if (known.end <= at || known.start >= code.end)
			continue;
		r = upd_watch_add(list, (struct inj_range){ at, known.start }, tag, false);
		at = known.end;
	}
	if (r == 0)
		r = upd_watch_add(list, (struct inj_range){ at, code.end }, tag, false);
	upd_watch_seal(list);
	return r;
}

void upd_watch_deinit(struct upd_watch_list *list)
{
	free(list->watches);
	free(list->names);
	*list = (struct upd_watch_list){};
}
