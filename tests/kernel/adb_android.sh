# SPDX-License-Identifier: Apache-2.0
# Runs adbd on a root like Android's, in a mount namespace of its own: mksh and toybox in
# /system/bin, no /usr, no /tmp, no /etc, nothing that can be written but /data.
# $1: an empty folder; $2: the unpacked packages adbd, mksh and toybox; $3: adbd's port.
# $4: a su; with one, adbd and its shell are the user 2000's.
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 root "$1"
cd "$1"
mkdir -p system/bin data proc sys dev apex
ln -s system/bin bin
mount --bind "$2" apex
ln -s apex/usr/lib lib
ln -s apex/usr/lib64 lib64

cp "$2/usr/bin/mksh-static" system/bin/sh
cp "$2/usr/bin/toybox" system/bin/toybox
# What Android's toybox has too, of what Debian's has.
for command in \
	[ basename cat chmod chown cmp cp cut date dd df dirname dmesg du echo env expr false \
	find getconf grep gunzip head hostname id kill ln ls md5sum mkdir mknod mktemp mount \
	mountpoint mv nice nohup od pgrep pidof pkill printenv printf ps pwd readlink realpath \
	rm rmdir sed seq setsid sha256sum sleep sort stat sync sysctl tail tar tee test time \
	timeout touch true umount uname uniq unlink uptime wc which whoami xargs xxd yes zcat
do
	ln -s toybox "system/bin/$command"
done
# Debian's toybox knows gunzip only.
cat >system/bin/gzip <<'END'
#!/system/bin/sh
[ "$1" = -dc ] || exit 2
exec gunzip -c
END
chmod 755 system/bin/gzip
user=0
if [ -n "$4" ]; then
	cp -p "$4" system/bin/su
	user=2000
fi
cat >system/build.prop <<'END'
ro.build.version.release=14
ro.product.system.manufacturer=Debian
ro.product.system.model=Lookalike
END

mount -t tmpfs -o mode=771 data data
mkdir -p data/local/tmp
chown $user:$user data/local/tmp
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t bpf bpf sys/fs/bpf
mount -o remount,ro,mode=755 "$1"
libraries=$(cd apex/usr/lib && echo *-linux-gnu*)
exec chroot --userspec=$user:$user . /system/bin/env -i PATH=/system/bin HOME=/ ADBD_PORT="$3" /system/bin/sh -c \
	'exec /lib64/ld-linux-*.so.* --library-path "/lib/$1:/lib/$1/android" "$2"' \
	sh "$libraries" /apex/usr/lib/android-sdk/platform-tools/adbd
