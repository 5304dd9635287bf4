# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for dsuctl(1). Needs nothing but bash.

# Complete the last item of a list with commas, keeping what stands before it.
_dsuctl_list() {
	local before=""

	[[ $1 == *,* ]] && before="${1%,*},"
	mapfile -t COMPREPLY < <(compgen -P "$before" -W "$2" -- "${1##*,}")
}

_dsuctl_pids() {
	local directory pids=""

	for directory in /proc/[0-9]*; do
		pids+=" ${directory#/proc/}"
	done
	echo "$pids"
}

_dsuctl_comms() {
	local file comm

	for file in /proc/[0-9]*/comm; do
		{ read -r comm < "$file"; } 2>/dev/null || continue
		[[ $comm == *[[:space:]]* ]] || echo "$comm"
	done | sort -u
}

# Patches that are active, as the daemon that this command line means says.
_dsuctl_patches() {
	local i socket=()

	for ((i = 1; i < COMP_CWORD - 1; i++)); do
		[[ ${COMP_WORDS[i]} == --socket && ${COMP_WORDS[i + 1]} == "=" ]] &&
			socket=("--socket=${COMP_WORDS[i + 2]}")
	done
	"${COMP_WORDS[0]}" "${socket[@]}" --json=short status 2>/dev/null |
		grep -o '"id":"[^"]*"' | cut -d '"' -f 4 | sort -u
}

_dsuctl_files() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_dsuctl_value() {
	case $1 in
	--pid) _dsuctl_list "$2" "$(_dsuctl_pids)" ;;
	--comm) mapfile -t COMPREPLY < <(compgen -W "$(_dsuctl_comms)" -- "$2") ;;
	--json) mapfile -t COMPREPLY < <(compgen -W "pretty short" -- "$2") ;;
	--protocol) mapfile -t COMPREPLY < <(compgen -W "safe-redefine" -- "$2") ;;
	--exe | --patch | --socket | --state-dir) _dsuctl_files "$2" ;;
	--host) mapfile -t COMPREPLY < <(compgen -A hostname -- "$2") ;;
	esac
}

# The first word that is no option and no value of one.
_dsuctl_verb() {
	local i word

	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		=) ((i++)) ;;
		--pid | --comm | --json | --protocol | --exe | --patch | --socket | --state-dir | \
			--host | --timeout | --unit)
			# A value in a word of its own; "=" is skipped above.
			[[ ${COMP_WORDS[i + 1]} != "=" ]] && ((i++))
			;;
		-*) ;;
		*)
			echo "$word"
			return
			;;
		esac
	done
}

_dsuctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb
	local everywhere="--json= --no-pager --no-legend --quiet --socket= --state-dir= --help"
	local targets="--pid= --unit= --exe= --comm="
	local update="--timeout= --protocol="
	local verbs="apply revert status check inspect stacks build monitor doctor"
	local options="$everywhere --version"

	COMPREPLY=()
	# bash cuts words at "=".
	if [[ $cur == "=" ]]; then
		cur=""
	elif [[ $prev == "=" ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	case $prev in
	--pid | --comm | --json | --protocol | --exe | --patch | --socket | --state-dir | --host)
		_dsuctl_value "$prev" "$cur"
		return
		;;
	--timeout | --unit) return ;;
	esac

	verb=$(_dsuctl_verb)
	if [[ $cur != -* ]]; then
		case $verb in
		"") mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur") ;;
		apply | check | inspect | build) _dsuctl_files "$cur" ;;
		revert) mapfile -t COMPREPLY < <(compgen -W "$(_dsuctl_patches)" -- "$cur") ;;
		esac
		return
	fi
	case $verb in
	apply | revert | check) options+=" $targets $update --host=" ;;
	status) options+=" $targets --host=" ;;
	stacks) options+=" $targets --patch= --host=" ;;
	"" | monitor) options+=" --host=" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
}

complete -F _dsuctl dsuctl
