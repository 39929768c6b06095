# SPDX-License-Identifier: Apache-2.0
# Makes the folders of the home $1, and notes those that were not there before.
home=$1

make_folder() {
	[ -d "$1" ] && return
	above=${1%/*}
	[ -z "$above" ] || make_folder "$above" || return
	if mkdir "$1" 2>/dev/null; then
		made="$made$1
"
	else
		[ -d "$1" ]
	fi
}

made=
make_folder "$home" || { mkdir "$home"; exit 1; }
printf '%s' "$made" >>"$home/made" && mkdir -p "$home/bundles" "$home/upload"
