# SPDX-License-Identifier: Apache-2.0
# What the other scripts share. They run in any POSIX sh and use no command that a target
# with tar and gzip could lack; here-documents are left out because some shells write them
# to files.
umask 077
newline='
'

# Whether process $1 is the daemon whose socket is $2.
serves() {
	[ -n "$1" ] && [ -r "/proc/$1/cmdline" ] || return 1
	case $({ tr '\0' ' ' <"/proc/$1/cmdline" || cat "/proc/$1/cmdline"; } 2>/dev/null) in
	*"$2"*) return 0 ;;
	esac
	return 1
}

# Prints the pid of the daemon of the home $1; fails when none runs.
daemon_of() {
	pid=
	[ -r "$1/run/bpfd.sock.lock" ] && read -r pid <"$1/run/bpfd.sock.lock"
	serves "$pid" "$1/run/bpfd.sock" && echo "$pid"
}

# Prints the size of a file in bytes.
size_of() {
	set -- $(ls -ln "$1" 2>/dev/null)
	echo "${5:-0}"
}

# Removes what stands in the home $1, and the folders that were made for it.
remove_home() {
	made=$(cat "$1/made" 2>/dev/null)
	rm -rf "$1/bundles" "$1/upload" "$1/run" "$1/state" "$1/current" "$1/current.new" \
		"$1/lock" || return
	rm -f "$1/made"
	inner_first=
	IFS=$newline
	for folder in $made; do inner_first=$folder$newline$inner_first; done
	for folder in $inner_first; do rmdir "$folder" 2>/dev/null; done
	unset IFS
	return 0
}
