# SPDX-License-Identifier: Apache-2.0
# Makes $2 the current bundle of the home $1; removes all others, and uploads of others.
cd "$1" || exit
rm -f current.new && ln -s "bundles/$2" current.new || exit
rm -f current && mv current.new current || exit
for old in bundles/* upload/*; do
	case $old in
	"bundles/$2" | "upload/$2".*) ;;
	*) rm -rf "$old" ;;
	esac
done
