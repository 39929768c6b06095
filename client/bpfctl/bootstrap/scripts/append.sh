# SPDX-License-Identifier: Apache-2.0
# Appends standard input to the upload $2 of the home $1; prints its size and SHA-256.
cd "$1/upload" || exit
cat >>"$2" || exit
echo "$(size_of "$2") $(sha256sum <"$2" 2>/dev/null)"
