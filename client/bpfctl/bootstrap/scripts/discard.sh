# SPDX-License-Identifier: Apache-2.0
# Takes back what an upload $2 to the home $1 has begun. A home without a bundle goes too,
# unless $3 is "stay".
home=$1
rm -rf "$home/upload/$2" "$home/bundles/.$2"
[ "$3" = stay ] && exit 0
for bundle in "$home"/bundles/*/sha; do [ -f "$bundle" ] && exit 0; done
for part in "$home"/upload/* "$home"/bundles/.[!.]*; do [ -e "$part" ] && exit 0; done
[ -e "$home/run" ] || remove_home "$home"
exit 0
