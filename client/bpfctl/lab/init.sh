#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The first process of a virtual board. `export PATH` and the like stand in /etc/board, which
# also has this board's name and address; every board has its own.
. /etc/board

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
[ -d /tmp ] && mount -t tmpfs -o mode=1777 tmpfs /tmp
[ -d /run ] && mount -t tmpfs -o mode=755 tmpfs /run
# The first file system may fill half of what memory was free early on; /data may fill more.
mount -t tmpfs -o size=90%,mode=755 tmpfs /data
mkdir -p /data/local/tmp
chmod 1777 /data/local/tmp
mount -t bpf -o mode=700 bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 cgroup2 /sys/fs/cgroup

echo "$MODPROBE" >/proc/sys/kernel/modprobe
while read -r module; do insmod "$module" 2>/dev/null; done </etc/modules.load

hostname "$BOARD"
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
if [ -e /sys/class/net/eth1 ]; then
    ip addr add "$ETH1" dev eth1
    ip link set eth1 up
fi

# PID 1 gets these signals from `poweroff`, `halt` and `reboot`.
trap 'poweroff -f' USR1 USR2
trap 'reboot -f' TERM

[ -n "$READ_ONLY" ] && mount -o remount,ro /
/ssh/loader --library-path /ssh/lib --argv0 dropbear /ssh/dropbear \
    -E -p 22 $DROPBEAR -r /ssh/host_ed25519 -D /ssh/keys -P /dev/.dropbear.pid
if [ -x /adb/adbd ]; then
    ADBD_INSECURE=1 /adb/loader --library-path /adb/lib --argv0 adbd /adb/adbd \
        </dev/null >/dev/.adbd.log 2>&1 &
    # 5555 in hexadecimal, listening
    until grep -q ':15B3 .* 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done
fi

echo "BOARD-READY $(uname -r) $(cut -d ' ' -f 1 /proc/uptime)"
while :; do
    sleep 3600 &
    wait
done
