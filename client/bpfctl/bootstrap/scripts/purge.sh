# SPDX-License-Identifier: Apache-2.0
# Removes everything of the home $1, whose daemon has been stopped, and what it has pinned.
# Prints what could not be removed as lines "left WHAT", and the last words of the bundle as
# "said WORDS", or "failed WORDS" when it could not remove what is pinned: that is done here
# then, without filters that are no kernel links.
home=$1
bpffs=/sys/fs/bpf
another_bpfd=75

remove_pins() {
	[ -e "$bpffs/bpfd" ] || [ -e "$home/state/journal" ] || [ -e "$home/state/pins" ] || return 0
	for launcher in "$home"/current/bpfd/bpfd "$home"/bundles/*/bpfd/bpfd; do
		[ -x "$launcher" ] && break
	done
	said=$(TMPDIR=$home/run "$launcher" purge --state-dir "$home/state" 2>&1)
	status=$?
	said=${said##*"$newline"}
	case $status in
	0) echo "said $said"; return ;;
	"$another_bpfd") echo "left $bpffs/bpfd, which another daemon uses ($said)"; return ;;
	esac
	echo "failed $said"
	for entry in "$home"/state/journal/*; do
		[ -e "$entry" ] && echo "left the filter of $(cat "$entry")"
	done
	rm -rf "$bpffs/bpfd" || echo "left $bpffs/bpfd"
}

was_mounted() {
	while read -r _ old _; do [ "$old" = "$1" ] && return; done <"$home/run/mounts"
	return 1
}

# Unmounts what the daemon has mounted, unless others have begun to use it.
remove_mounts() {
	cat /proc/mounts | while read -r _ point type _; do
		case "$type $point" in
		"bpf $bpffs" | "tracefs /sys/kernel/tracing") was_mounted "$point" && continue ;;
		*) continue ;;
		esac
		if [ "$type" = bpf ] && [ -n "$(ls -A "$point")" ]; then
			echo "left the mount of $point, in which others have $(ls -A "$point")"
		else
			umount "$point" || echo "left the mount of $point"
		fi
	done
}

if [ -e "$home/run" ]; then
	remove_pins
	[ -e "$home/run/mounts" ] && remove_mounts
fi
remove_home "$home" || echo "left $home"
exit 0
