#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# make-variant.sh KIND PROGRAM OUTPUT [DEBUG-OUTPUT]: strip PROGRAM the way distributions do.
#   stripped   no symbols at all
#   build-id   stripped, the debug file beside it (to be found by build-id)
#   link       stripped, the debug file beside it and named by .gnu_debuglink
#   mini       stripped, its private functions in .gnu_debugdata
set -eu
kind=$1 program=$2 output=$3 debug=${4:-}

case $kind in
stripped)
	strip -o "$output" "$program"
	;;
build-id)
	objcopy --only-keep-debug "$program" "$debug"
	strip -o "$output" "$program"
	;;
link)
	objcopy --only-keep-debug "$program" "$debug"
	strip -o "$output" "$program"
	objcopy --add-gnu-debuglink="$debug" "$output"
	;;
mini)
	objcopy --only-keep-debug "$program" "$output.full"
	objcopy -S --remove-section=.comment --keep-symbol=only_in_one --keep-symbol=helper \
		"$output.full" "$output.mini"
	xz -f "$output.mini"
	strip -o "$output" "$program"
	objcopy --add-section .gnu_debugdata="$output.mini.xz" "$output"
	rm -f "$output.full" "$output.mini.xz"
	;;
esac
