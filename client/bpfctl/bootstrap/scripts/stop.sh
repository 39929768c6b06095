# SPDX-License-Identifier: Apache-2.0
# Stops the daemon of the home $1: asks it for up to $2 fifths of a second, then kills it.
home=$1
pid=$(daemon_of "$home") || { echo none; exit 0; }
kill -TERM "$pid" || exit
waited=0
while serves "$pid" "$home/run/bpfd.sock"; do
	if [ "$waited" -ge "$2" ]; then
		kill -KILL "$pid"
		echo killed
		exit 0
	fi
	# Some sleep(1) know whole seconds only.
	sleep 0.2 2>/dev/null || { sleep 1; waited=$((waited + 4)); }
	waited=$((waited + 1))
done
echo stopped
