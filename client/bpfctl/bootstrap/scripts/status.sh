# SPDX-License-Identifier: Apache-2.0
# Says what became of the daemon of the home $1, in one line: "gone", "none" (no bundle),
# "running PID", "rebooted", or "ended WORDS" with the last line of its log.
home=$1
[ -f "$home/made" ] || { echo gone; exit 0; }
[ -x "$home/current/bpfd/bpfd" ] || { echo none; exit 0; }
pid=$(daemon_of "$home") && { echo "running $pid"; exit 0; }
boot=$(cat /proc/sys/kernel/random/boot_id)
[ "$(cat "$home/run/boot" 2>/dev/null)" = "$boot" ] || { echo rebooted; exit 0; }
last=
[ -r "$home/run/log" ] && while IFS= read -r line; do last=$line; done <"$home/run/log"
echo "ended $last"
