/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `dsuctl build`: the name is taken by the contract; the patch builder itself is not part of this
 * version. Says so, and how a patch is compiled without it.
 */
#include "dsuctl/outcome.h"
#include "dsuctl/print.h"
#include "dsuctl/verbs.h"

int ctl_verb_build(const struct ctl_options *options)
{
	const char *source = options->n_arguments > 0 ? options->arguments[0] : "patch.c";

	return ctl_fail(options, NULL, CTL_ERROR_UNSUPPORTED,
			"This version cannot build patches. Compile one with: "
			"cc -shared -fPIC -O2 %s -o patch.so $(pkg-config --cflags dsu-patch)",
			source);
}
