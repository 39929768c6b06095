# SPDX-License-Identifier: Apache-2.0
# Unpacks the bundle $2 of the home $1 from its upload $3, or from standard input when
# $4 is "stream"; the upload goes. All or nothing.
home=$1
sha=$2
upload=$home/upload/$3
fresh=$home/bundles/.$3

unpack() {
	cd "$fresh" || return
	# tar ends at the archive's end; who still writes the zeros behind it must not fail.
	{ gzip -dc || : >damaged; } | { tar xf - && cat >/dev/null; } || return
	[ ! -e damaged ] && [ -x bpfd/bpfd ] && echo "$sha" >sha
}

trap 'rm -rf "$fresh"' EXIT
mkdir "$fresh" || exit
if [ "$4" = stream ]; then
	(unpack) || exit
else
	(unpack) <"$upload" || exit
fi
if [ ! -d "$home/bundles/$sha" ]; then
	mv "$fresh" "$home/bundles/$sha" || exit
	# Someone else was faster: ours has landed inside theirs.
	rm -rf "$home/bundles/$sha/.$3"
fi
rm -f "$upload"
