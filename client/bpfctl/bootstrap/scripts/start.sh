# SPDX-License-Identifier: Apache-2.0
# Starts the daemon of the bundle $2 in the home $1; ends when it is ready.
home=$1
boot=$(cat /proc/sys/kernel/random/boot_id)
if [ "$(cat "$home/run/boot" 2>/dev/null)" != "$boot" ]; then
	# What was pinned has gone with the last boot, and notes of it mean nothing any more.
	rm -rf "$home/run" "$home/state" "$home"/bundles/.[!.]*
fi
mkdir -p "$home/run" "$home/state" || exit
[ -e "$home/run/mounts" ] || cat /proc/mounts >"$home/run/mounts" || exit
echo "$boot" >"$home/run/boot" || exit
TMPDIR=$home/run exec "$home/bundles/$2/bpfd/bpfd" serve --detach \
	--socket "$home/run/bpfd.sock" --state-dir "$home/state" --log "$home/run/log"
