# SPDX-License-Identifier: Apache-2.0
# Prints facts of this machine, each a line "KEY VALUE".
# $1: folder where a daemon may be; $2: "made" when folders above a home may be made, too;
# then folders where one could be put.

tell_process() {
	while read -r key first second _; do
		case $key in
		Uid:) echo "uid $second" ;;
		CapEff:) echo "capabilities $first" ;;
		esac
	done </proc/self/status
}

tell_home() {
	# What another user has put there is not started.
	[ -O "$1" ] && [ -f "$1/made" ] || return
	echo "home $1"
	for bundle in "$1"/bundles/*/sha; do
		[ -f "$bundle" ] && echo "bundle $(cat "$bundle")"
	done
	[ -f "$1/current/sha" ] && echo "current $(cat "$1/current/sha")"
	for part in "$1"/upload/*; do
		[ -f "$part" ] && echo "part ${part##*/} $(size_of "$part")"
	done
	pid=$(daemon_of "$1") && echo "daemon $pid"
	[ -f "$1/run/boot" ] && echo "started $(cat "$1/run/boot")"
}

# Whether files can be made and run in the nearest folder above $2, and its free space.
tell_place() {
	at=$2
	if [ "$above" != made ] && [ ! -d "${at%/*}" ]; then
		echo "place $1 absent"
		return
	fi
	until [ -d "${at:-/}" ]; do at=${at%/*}; done
	at=${at:-/}
	if [ "$at" = "$2" ]; then
		[ -O "$at" ] || { echo "place $1 foreign"; return; }
		if [ ! -f "$at/made" ] && [ -n "$(ls -A "$at")" ]; then
			echo "place $1 occupied"
			return
		fi
	fi
	try=${at%/}/.bpfctl-$$
	verdict=read-only
	if mkdir "$try" 2>/dev/null; then
		verdict=full
		if { echo '#!/bin/sh' && echo 'exit 0'; } 2>/dev/null >"$try/run"; then
			verdict=noexec
			chmod 700 "$try/run" && "$try/run" 2>/dev/null && verdict=good
		fi
		rm -rf "$try"
	fi
	echo "place $1 $verdict"
	df -kP "$at" 2>/dev/null | {
		last=
		while read -r line; do last=$line; done
		echo "space $1 $last"
	}
}

home=$1
above=$2
shift 2
echo "machine $(uname -m)"
echo "boot $(cat /proc/sys/kernel/random/boot_id)"
tell_process
while read -r key value _; do
	[ "$key" = MemAvailable: ] && echo "memory $value"
done </proc/meminfo
while IFS= read -r line; do
	case $line in Features*) echo "cpu $line" && break ;; esac
done </proc/cpuinfo
while read -r _ point type _; do echo "mount $type $point"; done </proc/mounts
echo "login ${HOME:-/}"
command -v sudo >/dev/null 2>&1 && sudo -n true >/dev/null 2>&1 && echo "sudo yes"
echo "installed $(command -v bpfd)"
[ -n "$home" ] && tell_home "$home"
number=0
for place; do
	case $place in '~'/*) place=${HOME:-/}${place#'~'} ;; esac
	[ "$place" != "$home" ] && tell_home "$place"
	tell_place "$number" "$place"
	number=$((number + 1))
done
exit 0
