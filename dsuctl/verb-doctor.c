/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `dsuctl doctor`: can this host do it, and what is missing. One table lists every check with what
 * it is for and what to do about it. Ends with 0 when everything required is there. The answers
 * hold for the user who asks; dsud runs as root.
 */
#include <errno.h>

#include "dsuctl/doctor.h"
#include "dsuctl/json.h"
#include "dsuctl/outcome.h"
#include "dsuctl/print.h"
#include "dsuctl/table.h"
#include "dsuctl/verbs.h"
#include "injector/base/types.h"

static const struct ctl_check checks[] = {
	{"kernel", true, "the system calls that dsud is made of",
	 "Run a kernel of the 5.10 series or later.", ctl_doctor_kernel},
	{"cpu", true, "machine code is x86-64; shadow stacks guard return addresses",
	 "Programs with shadow stacks are refused; start them without.", ctl_doctor_cpu},
	{"user", false, "changing other users' programs", "Run as root: sudo dsuctl doctor",
	 ctl_doctor_root},
	{"yama", true, "kernel.yama.ptrace_scope decides who may trace whom",
	 "Set kernel.yama.ptrace_scope to 2 or less (3 needs a reboot).", ctl_doctor_yama},
	{"cap-sys-ptrace", true, "holding and reading other programs",
	 "Give CAP_SYS_PTRACE, e.g. `--cap-add=SYS_PTRACE` to a container.", ctl_doctor_cap_ptrace},
	{"cap-sys-admin", false, "programs under a seccomp filter",
	 "Give CAP_SYS_ADMIN if such programs are to be patched.", ctl_doctor_cap_admin},
	{"cap-checkpoint-restore", false, "reading deleted and replaced binaries",
	 "Give CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN.", ctl_doctor_cap_restore},
	{"cap-dac-read-search", false, "reading programs that only their owner may read",
	 "Give CAP_DAC_READ_SEARCH.", ctl_doctor_cap_files},
	{"cap-bpf", false, "hearing of new processes at once",
	 "Give CAP_BPF and CAP_PERFMON; without, dsud looks at /proc from time to time.",
	 ctl_doctor_cap_bpf},
	{"own-seccomp", false, "a tracer under a filter cannot suspend other filters",
	 "Start dsud outside of the sandbox.", ctl_doctor_own_seccomp},
	{"ptrace", true, "holding a program for a moment",
	 "See yama and cap-sys-ptrace; a security module may forbid it, too.", ctl_doctor_ptrace},
	{"suspend-seccomp", false, "borrowing a thread that runs under a seccomp filter",
	 "Needs CAP_SYS_ADMIN and no seccomp filter on dsud itself.", ctl_doctor_suspend_seccomp},
	{"process-vm-readv", true, "reading stacks in bulk while a program is held",
	 "See cap-sys-ptrace; a seccomp filter of the container may forbid it.",
	 ctl_doctor_vm_read},
	{"mem-write", true, "placing the redirect at a function's entry",
	 "Boot without proc_mem.force_override=never.", ctl_doctor_mem_write},
	{"memfd-exec", true, "memory for new code",
	 "Set vm.memfd_noexec to 1 or 0.", ctl_doctor_memfd},
	{"confinement", true, "reading patches and programs by processes without rights",
	 "Run a kernel with seccomp filters, and let a container use them.",
	 ctl_doctor_confinement},
	{"pidfd", true, "never mistaking one process for another",
	 "Run a kernel of the 5.10 series or later.", ctl_doctor_pidfd},
	{"map-files", false, "reading deleted and replaced binaries",
	 "See cap-checkpoint-restore; without, such programs are refused.", ctl_doctor_map_files},
	{"userfaultfd", false, "converting data when it is first touched",
	 "Give CAP_SYS_PTRACE or set vm.unprivileged_userfaultfd to 1.", ctl_doctor_userfaultfd},
	{"btf", false, "hearing of new processes at once",
	 "Run a kernel with CONFIG_DEBUG_INFO_BTF; without, dsud looks at /proc.", ctl_doctor_btf},
	{"libc-debug", false, "patching functions inside libc that it does not export",
	 "Install the debug symbols of libc: apt-get install libc6-dbg", ctl_doctor_libc_debug},
	{"daemon", false, "everything but inspect, build and doctor",
	 "Start it: `systemctl start dsud`, or by hand `sudo dsud &`.", ctl_doctor_daemon},
};

static const char *const health_words[] = {
	[CTL_HEALTH_OK] = "ok",
	[CTL_HEALTH_LIMITED] = "limited",
	[CTL_HEALTH_MISSING] = "missing",
};

static const char *const health_colours[] = {
	[CTL_HEALTH_OK] = CTL_GREEN,
	[CTL_HEALTH_LIMITED] = CTL_YELLOW,
	[CTL_HEALTH_MISSING] = CTL_RED,
};

static bool is_ready(const struct ctl_finding *findings)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(checks); i++)
		if (checks[i].is_required && findings[i].health == CTL_HEALTH_MISSING)
			return false;
	return true;
}

static const char *advice_for(size_t i, const struct ctl_finding *finding)
{
	return finding->health == CTL_HEALTH_OK ? "" : checks[i].advice;
}

static int print_table(const struct ctl_output *output, const struct ctl_finding *findings)
{
	static const struct ctl_column columns[] = {
		{"CHECK", 0}, {"STATE", 0}, {"NEEDED", 0}, {"FOUND", CTL_COLUMN_TRIM},
		{"FOR", CTL_COLUMN_TRIM},
	};
	INJ_CLEANUP(ctl_table_guard) struct ctl_table *table =
		ctl_table_new(output, columns, INJ_ARRAY_LENGTH(columns));

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(checks); i++) {
		enum ctl_health health = findings[i].health;

		ctl_table_add(table, CTL_ROW(checks[i].name, health_words[health],
					     checks[i].is_required ? "yes" : "no",
					     findings[i].value, checks[i].purpose));
		ctl_table_colour(table, 1, ctl_colour(output, health_colours[health]));
	}
	return ctl_table_print(table, output, 0);
}

static void print_advice(const struct ctl_output *output, const struct ctl_finding *findings)
{
	bool is_first = true;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(checks); i++) {
		if (findings[i].health == CTL_HEALTH_OK)
			continue;
		fprintf(output->stream, "%s  %s: %s\n", is_first ? "\nWhat to do:\n" : "",
			checks[i].name, checks[i].advice);
		is_first = false;
	}
	fprintf(output->stream, "\n%s\n",
		is_ready(findings) ? "This host can do it."
				   : "This host cannot do it: something needed is missing.");
}

static int print_people(const struct ctl_options *options, const struct ctl_finding *findings)
{
	INJ_CLEANUP(ctl_output_end) struct ctl_output output;
	int r;

	ctl_output_begin(&output, options);
	r = print_table(&output, findings);
	if (r == 0 && output.has_legend)
		print_advice(&output, findings);
	return r;
}

static int print_document(const struct ctl_options *options, const struct ctl_finding *findings)
{
	CTL_JSON json_t *list = json_array(), *document = NULL;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(checks); i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:o, s:s, s:s}",
			"name", checks[i].name,
			"state", health_words[findings[i].health],
			"required", checks[i].is_required,
			"found", ctl_json_text(findings[i].value),
			"purpose", checks[i].purpose,
			"advice", advice_for(i, &findings[i])));
	document = json_pack("{s:O, s:b}", "checks", list, "ready", is_ready(findings));
	return document ? ctl_json_print(stdout, options->json, document) : -ENOMEM;
}

int ctl_verb_doctor(const struct ctl_options *options)
{
	struct ctl_finding findings[INJ_ARRAY_LENGTH(checks)] = {0};
	int r = 0;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(checks); i++)
		findings[i].health = checks[i].probe(options, findings[i].value);
	if (options->json != CTL_JSON_OFF)
		r = print_document(options, findings);
	else if (!options->quiet)
		r = print_people(options, findings);
	if (r < 0)
		return ctl_fail_errno(options, "checks", r);
	return is_ready(findings) ? CTL_EXIT_DONE : CTL_EXIT_FAILED;
}
