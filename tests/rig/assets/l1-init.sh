#!/bin/busybox sh
# /init of the rig's host kernel: this machine's files under an overlay, one command, its status back.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev

give_up() {
    echo "rig-init: cannot $*"
    $B dmesg | $B tail -n 20
    $B reboot -f
}

if [ "$($B cat /proc/sys/kernel/osrelease)" = "$($B cat /m/release)" ]; then
    while read -r module; do
        $B insmod "/m/$module" || echo "rig-init: $module was not loaded"
    done </m/list
fi

# virtio-serial ports by name
for port in /sys/class/virtio-ports/*; do
    $B ln -s "/dev/${port##*/}" "/dev/rig-$($B cat "$port/name")"
done
[ -c /dev/rig-out ] && [ -c /dev/rig-status ] || give_up 'find its virtio-serial ports'

. /rig/config
N=/new
$B mount -t virtiofs -o ro root /lower || give_up 'mount the files of this machine'
$B mount -t tmpfs -o size=75% tmpfs /upper
$B mkdir /upper/files /upper/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay $N || give_up 'mount the overlay'
$B mkdir -p $N/proc $N/sys $N/dev $N/run
$B mount -t proc proc $N/proc
$B mount -t sysfs sysfs $N/sys
$B mount -t devtmpfs dev $N/dev
$B mount -t tmpfs tmpfs $N/run
$B mkdir -p $N/dev/shm $N/dev/pts
$B mount -t tmpfs tmpfs $N/dev/shm
$B mount -t devpts -o ptmxmode=666 devpts $N/dev/pts
for fd in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
    [ -e "$N/dev/${fd%%:*}" ] || $B ln -s "${fd#*:}" "$N/dev/${fd%%:*}"
done
$B mount -t cgroup2 cgroup2 $N/sys/fs/cgroup 2>/dev/null
$B mount -t debugfs debugfs $N/sys/kernel/debug 2>/dev/null
$B mount -t configfs configfs $N/sys/kernel/config 2>/dev/null
$B mount -t securityfs securityfs $N/sys/kernel/security 2>/dev/null
if [ -n "$RIG_DIR" ]; then
    $B mkdir -p "$N$RIG_DIR"
    $B mount -t virtiofs dir "$N$RIG_DIR" || give_up "mount $RIG_DIR read-write"
fi
$B ip link set lo up
$B hostname rig
$B chmod 666 $N/dev/kvm $N/dev/vhost-vsock $N/dev/vhost-net $N/dev/net/tun 2>/dev/null
$B cp /rig/command $N/run/rig-command
echo "rig-init: up after $($B cut -d' ' -f1 /proc/uptime) s"

shell=/bin/sh
[ -x $N/bin/bash ] && shell=/bin/bash
$B chroot $N $shell -c 'command -v setsid >/dev/null && exec setsid -w "$@"; exec "$@"' rig $shell /run/rig-command \
    </dev/null >/dev/rig-out 2>&1
status=$?
echo "rig-init: the command ended with $status after $($B cut -d' ' -f1 /proc/uptime) s"
$B sync
echo $status >/dev/rig-status
$B sleep 0.05
$B reboot -f
