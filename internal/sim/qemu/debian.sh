#!/bin/sh
# Makes a fresh Debian into the root file system of a machine of the simulated Azure. mmdebstrap runs it as its last hook, as
# root or as root of a user namespace, outside of the new system: $1 is its folder. ROOT_IMAGE, ROOT_UUID and
# ROOT_MIB come from the environment.
set -eu
root=$1

# Nothing that must be each machine's own: the first boot makes it.
rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/hostname "$root"/var/lib/dbus/machine-id
: >"$root"/etc/machine-id
echo "PARTUUID=$ROOT_UUID / ext4 errors=remount-ro,discard 0 1" >"$root"/etc/fstab
echo "127.0.0.1 localhost" >"$root"/etc/hosts

cat >"$root"/etc/systemd/network/10-azure.network <<'END'
[Match]
Type=ether
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
END
printf 'virtio_net\n' >"$root"/etc/modules-load.d/ingot.conf
# The processor is emulated: modules for virtualisation in it only cost time.
printf 'blacklist kvm_amd\nblacklist kvm_intel\nblacklist kvm\nblacklist psmouse\nblacklist pcspkr\n' >"$root"/etc/modprobe.d/ingot.conf
printf 'Storage=persistent\n' | sed 's/^/[Journal]\n/' >"$root"/etc/systemd/journald.conf

cp "$FILES"/ingot-provision "$root"/usr/sbin/ingot-provision
chmod 755 "$root"/usr/sbin/ingot-provision
cp "$FILES"/ingot-provision.service "$root"/etc/systemd/system/ingot-provision.service
on() { mkdir -p "$root/etc/systemd/system/$2"; ln -sf "$1" "$root/etc/systemd/system/$2/"; }
on /etc/systemd/system/ingot-provision.service multi-user.target.wants
on /lib/systemd/system/systemd-networkd.service multi-user.target.wants
# Timers and services that would run in the middle of a short build, and consoles nobody sits at.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-timesyncd.service \
	getty@tty1.service getty.target systemd-pstore.service systemd-networkd-wait-online.service systemd-rfkill.service systemd-rfkill.socket \
	sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
	systemd-firstboot.service systemd-machine-id-commit.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
	serial-getty@ttyS0.service modprobe@drm.service modprobe@efi_pstore.service modprobe@configfs.service modprobe@fuse.service sys-fs-fuse-connections.mount sys-kernel-config.mount systemd-vconsole-setup.service keyboard-setup.service console-setup.service \
	ldconfig.service systemd-hwdb-update.service systemd-journal-catalog-update.service systemd-update-done.service; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -f "$root"/etc/systemd/system/multi-user.target.wants/walinuxagent.service # it waits for Azure's own host; deprovisioning needs its command only
mkdir -p "$root"/boot/grub
cat >"$root"/boot/grub/grub.cfg <<END
linux /boot/$(basename "$root"/boot/vmlinuz-*) root=PARTUUID=$ROOT_UUID rw console=tty0 console=ttyS0,115200 mitigations=off tsc=reliable no_timer_check audit=0 net.ifnames=0
boot
END
rm -f "$root"/initrd.img* "$root"/boot/initrd.img*
# mmdebstrap has the kernel's own file systems mounted below the folder: a bind that is not recursive leaves them out.
view=$(mktemp -d)
mount --bind "$root" "$view"
mke2fs -q -t ext4 -F -L ingot-root -m 1 -E lazy_itable_init=1,root_owner=0:0 -O ^has_journal -d "$view" "$ROOT_IMAGE" "${ROOT_MIB}M"
umount "$view"
rmdir "$view"
