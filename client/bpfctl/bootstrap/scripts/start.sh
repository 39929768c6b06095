# SPDX-License-Identifier: Apache-2.0
# Starts the daemon of the bundle $2 in the home $1; ends when it is ready.
home=$1
boot=$(cat /proc/sys/kernel/random/boot_id)

# Two that start at once: one looks after the other. A lock that was left is broken.
tries=0
until mkdir "$home/lock" 2>/dev/null || [ "$tries" -ge 25 ]; do
	sleep 0.2 2>/dev/null || { sleep 1; tries=$((tries + 4)); }
	tries=$((tries + 1))
done
trap 'rmdir "$home/lock" 2>/dev/null' EXIT
if [ -e "$home/run/boot" ] && [ "$(cat "$home/run/boot")" != "$boot" ]; then
	# What was pinned has gone with the last boot, and notes of it mean nothing any more.
	rm -rf "$home/run" "$home/state" "$home"/bundles/.[!.]*
fi
mkdir -p "$home/run" "$home/state" || exit
[ -e "$home/run/mounts" ] || cat /proc/mounts >"$home/run/mounts" || exit
echo "$boot" >"$home/run/boot" || exit
rmdir "$home/lock" 2>/dev/null
if [ -d /run/systemd/system ]; then
	# Out of the group of this login: systemd may end all that is in it with the connection.
	for top in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
		{ echo "$$" >"$top/cgroup.procs"; } 2>/dev/null
	done
fi
TMPDIR=$home/run exec "$home/bundles/$2/bpfd/bpfd" serve --detach \
	--socket "$home/run/bpfd.sock" --state-dir "$home/state" --log "$home/run/log"
