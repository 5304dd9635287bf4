# SPDX-License-Identifier: LGPL-2.1-or-later
# What zsh offers for command lines: complete.zsh FUNCTION-DIRECTORY LINE...
# Types each line into an interactive zsh of its own, presses the key that lists completions, and
# prints what that shell shows before its next prompt.
zmodload zsh/zpty || exit 77
zpty shell 'TERM=dumb COLUMNS=200 zsh -f -i' || exit 77

# A command is answered by a line of our own, so nothing has to be waited for by the clock.
say() {
	local seen
	zpty -w shell "$1; print -r done-\$((40 + 2))"
	zpty -r -m shell seen '*done-42*'
}

say 'PS1="> "'
say "fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -D -u"
say "zstyle ':completion:*' menu no; setopt no_list_beep"
shift
for line; do
	# ^D on a line that is not empty lists; ^U then empties the line.
	zpty -w -n shell "$line"$'\x04\x15'
	zpty -w shell "print -r done-\$((40 + 3))"
	zpty -r -m shell seen '*done-43*'
	print -r -- "$seen"
done
zpty -d shell
