/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_CONTRACT_H
#define DSUD_CONTRACT_H

/*
 * Everything a client of dsud sees: names, paths, interfaces, keys, limits. Nothing here changes
 * its meaning; new names may be added. The interfaces are described in dsud/data/ and in
 * org.dsud1(5).
 */

/* Where dsud is found. */
#define DSUD_BUS_NAME "org.dsud1"
#define DSUD_SOCKET_PATH "/run/dsud/private"
#define DSUD_STATE_DIR "/run/dsud/state"
/* The socket of a daemon that was started with --state-dir and without --socket, in that
 * directory. */
#define DSUD_SOCKET_IN_STATE_DIR "private"

/* Objects. Targets and updates stand below their prefix: /org/dsud1/target/PID, .../update/N. */
#define DSUD_PATH_ROOT "/org/dsud1"
#define DSUD_PATH_TARGETS "/org/dsud1/target"
#define DSUD_PATH_UPDATES "/org/dsud1/update"

/* Interfaces. */
#define DSUD_IFACE_MANAGER "org.dsud1.Manager"
#define DSUD_IFACE_TARGET "org.dsud1.Target"
#define DSUD_IFACE_UPDATE "org.dsud1.Update"

/*
 * Methods of the manager, on DSUD_PATH_ROOT.
 *   Apply(h patch, s patch_name, a(ss) targets, a{sv} options) -> o update
 *   Revert(s patch_id, a(ss) targets, a{sv} options) -> o update
 *   Check(h patch, s patch_name, a(ss) targets, a{sv} options) -> aa{sv} report
 *   Stacks(a(ss) targets, a{sv} options) -> aa{sv} report
 *   Status(a(ss) targets) -> aa{sv} processes; no targets: every patched process
 *   ListTargets() -> a(usso): pid, comm, exe, object
 *   ListUpdates() -> a(tsssso): number, kind, patch, state, result, object
 * Properties: Version s, Protocols as, NUpdates u (queued and running), NTargets u.
 * Signals: UpdateNew(o), UpdateRemoved(o), UpdateProgress(o, a{sv}), UpdateCompleted(o, a{sv}),
 *   TargetNew(o), TargetRemoved(o).
 */
#define DSUD_METHOD_APPLY "Apply"
#define DSUD_METHOD_REVERT "Revert"
#define DSUD_METHOD_CHECK "Check"
#define DSUD_METHOD_STACKS "Stacks"
#define DSUD_METHOD_STATUS "Status"
#define DSUD_METHOD_LIST_TARGETS "ListTargets"
#define DSUD_METHOD_LIST_UPDATES "ListUpdates"

#define DSUD_SIGNAL_UPDATE_NEW "UpdateNew"
#define DSUD_SIGNAL_UPDATE_REMOVED "UpdateRemoved"
#define DSUD_SIGNAL_UPDATE_PROGRESS "UpdateProgress"
#define DSUD_SIGNAL_UPDATE_COMPLETED "UpdateCompleted"
#define DSUD_SIGNAL_TARGET_NEW "TargetNew"
#define DSUD_SIGNAL_TARGET_REMOVED "TargetRemoved"

/*
 * One update: properties Id s, Number t, Kind s, Patch s, State s, Phase s, Attempt u,
 * Targets au, Started t (CLOCK_REALTIME, microseconds; 0 while queued), Result s,
 * Report aa{sv}; method Cancel(); signals Progress(a{sv}), Completed(aa{sv}).
 */
#define DSUD_METHOD_CANCEL "Cancel"
#define DSUD_SIGNAL_PROGRESS "Progress"
#define DSUD_SIGNAL_COMPLETED "Completed"

#define DSUD_KIND_APPLY "apply"
#define DSUD_KIND_REVERT "revert"
#define DSUD_KIND_CHECK "check"
#define DSUD_KIND_STACKS "stacks"
#define DSUD_KIND_STATUS "status"
#define DSUD_KIND_RECOVER "recover"

#define DSUD_STATE_QUEUED "queued"
#define DSUD_STATE_RUNNING "running"
#define DSUD_STATE_DONE "done"
#define DSUD_STATE_CANCELLED "cancelled"

/*
 * One patched process: properties Pid u, Comm s, Exe s, Patches aa{sv}.
 */

/* Selectors: the first string of a target; the second is the value. */
#define DSUD_SELECT_PID "pid"   /* decimal */
#define DSUD_SELECT_EXE "exe"   /* absolute path of the executable */
#define DSUD_SELECT_COMM "comm" /* name as in /proc/PID/comm */
#define DSUD_SELECT_UNIT "unit" /* systemd unit */

/* Options. */
#define DSUD_OPTION_TIMEOUT "timeout_usec"         /* t, default 10 s */
#define DSUD_OPTION_PROTOCOL "protocol"            /* s, default: the patch's own choice */
#define DSUD_OPTION_HOLD_BUDGET "hold_budget_usec" /* t */
#define DSUD_OPTION_PATCH "patch"                  /* h, Stacks only: marks its functions */

/* Keys of progress, a{sv}. */
#define DSUD_KEY_PHASE "phase"                   /* s: read plan stage link install wait ... */
#define DSUD_KEY_REMAINING "remaining_usec"      /* t: until the deadline */
#define DSUD_KEY_TEXT "text"                     /* s: one line for people */
#define DSUD_KEY_ATTEMPT "attempt"               /* u */

/* Keys of UpdateCompleted's summary, a{sv}: kind, patch, state, result, targets. */
#define DSUD_KEY_KIND "kind"       /* s */
#define DSUD_KEY_TARGETS "targets" /* au */

/*
 * Keys of a report, aa{sv} with one entry per target. The first group is the JSON object of
 * apply, revert and check, in this order; error, message and blockers only when there are some.
 */
#define DSUD_KEY_PID "pid"               /* u; also in progress, 0: all targets */
#define DSUD_KEY_PATCH "patch"           /* s */
#define DSUD_KEY_RESULT "result"         /* s */
#define DSUD_KEY_PROTOCOL "protocol"     /* s */
#define DSUD_KEY_ATTEMPTS "attempts"     /* u */
#define DSUD_KEY_HELD "held_ns"          /* t */
#define DSUD_KEY_TOTAL "total_ns"        /* t */
#define DSUD_KEY_FUNCTIONS "functions"   /* aa{sv} */
#define DSUD_KEY_ERROR "error"           /* s: DSUD_ERROR_PREFIX + name */
#define DSUD_KEY_MESSAGE "message"       /* s */
#define DSUD_KEY_BLOCKERS "blockers"     /* aa{sv} */
#define DSUD_KEY_COMM "comm"             /* s */
#define DSUD_KEY_EXE "exe"               /* s */
#define DSUD_KEY_PATCH_VERSION "version" /* s */
#define DSUD_KEY_N_THREADS "n_threads"   /* u */
#define DSUD_KEY_PHASES "phases"         /* a{st}: nanoseconds by phase */
#define DSUD_KEY_NOTES "notes"           /* as */
#define DSUD_KEY_PATCHES "patches"       /* aa{sv}: Status */
#define DSUD_KEY_THREADS "threads"       /* aa{sv}: Stacks */

/* Keys of a function, in this order. */
#define DSUD_KEY_MODULE "module"           /* s */
#define DSUD_KEY_BUILD_ID "build_id"       /* s */
#define DSUD_KEY_NAME "name"               /* s */
#define DSUD_KEY_ADDRESS "address"         /* s: "0x..." */
#define DSUD_KEY_REPLACEMENT "replacement" /* s: "0x...", "" when not placed */
#define DSUD_KEY_VIA "via"                 /* s: stub, jump */
#define DSUD_KEY_NEW_NAME "new_name"       /* s */

/* Keys of a blocker: tid, comm, function, frame, address, and reliable. */
#define DSUD_KEY_TID "tid"           /* u */
#define DSUD_KEY_FUNCTION "function" /* s */
#define DSUD_KEY_FRAME "frame"       /* u */
#define DSUD_KEY_RELIABLE "reliable" /* b */

/* Keys of a patch in Status: id, version, state, applied_at, protocol, functions, digest. */
#define DSUD_KEY_ID "id"
#define DSUD_KEY_VERSION "version"
#define DSUD_KEY_STATE "state"
#define DSUD_KEY_APPLIED_AT "applied_at" /* s: RFC 3339, "" unknown */
#define DSUD_KEY_DIGEST "digest"

/* Keys of a thread in Stacks: tid, comm, reliable, frames; of a frame: frame, address, ... */
#define DSUD_KEY_FRAMES "frames" /* aa{sv}: frame, address, function, offset, module, mark */
#define DSUD_KEY_OFFSET "offset" /* t */
#define DSUD_KEY_MARK "mark"     /* s: "", patched, replacement, stub */

/*
 * Errors. Those of a target's outcome stand in its report, those of a call come as D-Bus errors;
 * both with a sentence that says what, where, and what to do next. Wrong usage (unknown
 * selector or option, value out of range) is org.freedesktop.DBus.Error.InvalidArgs.
 */
#define DSUD_ERROR_PREFIX "org.dsud1.Error."
#define DSUD_ERROR_BAD_PATCH DSUD_ERROR_PREFIX "BadPatch"
#define DSUD_ERROR_NO_SUCH_PROCESS DSUD_ERROR_PREFIX "NoSuchProcess"
#define DSUD_ERROR_UNSUPPORTED_PROCESS DSUD_ERROR_PREFIX "UnsupportedProcess"
#define DSUD_ERROR_BLOCKED DSUD_ERROR_PREFIX "Blocked"
#define DSUD_ERROR_BUSY DSUD_ERROR_PREFIX "Busy"
#define DSUD_ERROR_CANCELLED DSUD_ERROR_PREFIX "Cancelled"
#define DSUD_ERROR_INTERNAL DSUD_ERROR_PREFIX "Internal"
#define DSUD_ERROR_ACCESS_DENIED DSUD_ERROR_PREFIX "AccessDenied"

/* Actions of polkit, for users other than root on the system bus. */
#define DSUD_ACTION_APPLY "org.dsud1.apply"     /* Apply, and Cancel of it */
#define DSUD_ACTION_REVERT "org.dsud1.revert"   /* Revert, and Cancel of it */
#define DSUD_ACTION_INSPECT "org.dsud1.inspect" /* Check, Stacks, Status */

/* Limits on what callers can create. */
#define DSUD_MAX_PATCH_BYTES (256u << 20)
#define DSUD_MAX_TARGETS_PER_UPDATE 256
#define DSUD_MAX_SEARCHES 16       /* targets of one call that are not named by pid */
#define DSUD_MAX_RUNNING 16
#define DSUD_MAX_QUEUED 64
#define DSUD_MAX_PER_CONNECTION 32 /* unfinished updates and questions of one connection */
#define DSUD_MAX_CONNECTIONS 64    /* on the private socket */
#define DSUD_MAX_FINISHED 64       /* finished updates kept */
#define DSUD_DEFAULT_TIMEOUT_USEC 10000000ull
#define DSUD_MAX_TIMEOUT_USEC 86400000000ull

#endif
