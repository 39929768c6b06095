# SPDX-License-Identifier: Apache-2.0
# Takes over what an earlier upload of the bundle $2 to the home $1 left, as the file $3.
# Prints "growing" when someone else is at it, "present" when the bundle is there by now,
# else "SIZE SHA256" (without the latter where nothing can tell it), "0" when nothing is left.
home=$1
[ -f "$home/bundles/$2/sha" ] && { echo present; exit 0; }
cd "$home/upload" || exit

largest=
size=0
for part in "$2".*; do
	[ -f "$part" ] || continue
	before=$(size_of "$part")
	sleep 1
	[ "$(size_of "$part")" = "$before" ] || { echo growing; exit 0; }
	[ "$before" -ge "$size" ] && largest=$part size=$before
done
[ -n "$largest" ] && mv "$largest" "$3" 2>/dev/null || { echo 0; exit 0; }
for part in "$2".*; do
	[ "$part" = "$3" ] || rm -f "$part"
done
echo "$(size_of "$3") $(sha256sum <"$3" 2>/dev/null)"
