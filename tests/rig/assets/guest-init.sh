#!/bin/busybox sh
# /init of a test guest: mounts, modules, /script, power off.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts pts /dev/pts
# Drivers of hardware that this guest does not have refuse to load.
while read -r module; do insmod "/m/$module" 2>/dev/null; done </m/list
mount -t configfs configfs /sys/kernel/config 2>/dev/null
ip link set lo up 2>/dev/null
echo "init: up, Linux $(uname -r), $(cut -d' ' -f1 /proc/uptime) s"
sh /script
echo "init: the script ended with $?"
sync
poweroff -f
