#!/bin/sh
# Builds the rig's host kernel: build-host-kernel.sh OUT LOG FRAGMENT APT_CONFIG JOBS [PACKAGES TO INSTALL…]
# Works in OUT.build, going on where an earlier run was stopped, and renames the result: OUT is whole or absent.
# A failure is written to OUT.failed, and the last lines of the log with it.
set -eu
out=$1 log=$2 fragment=$3 apt=$4 jobs=$5
shift 5
[ ! -d "$out" ] || exit 0
exec >"$log" 2>&1
work=$out.build
must='KVM_AMD KVM_SW_PROTECTED_VM OVERLAY_FS VIRTIO_FS VIRTIO_CONSOLE SECURITY_LANDLOCK IO_URING'
trap '[ -d "$out" ] || tail -n 30 "$log" >"$out.failed"' EXIT
trap 'trap - EXIT; exit 1' INT TERM HUP

if [ $# -gt 0 ]; then
    echo "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    # Others may be installing too.
    set -- -qq -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "$@"
    apt-get "$@" || {
        apt-get -qq update
        apt-get "$@"
    }
fi
mkdir -p "$work/src" "$work/result"
if [ ! -e "$work/unpacked" ]; then
    echo 'fetching the source'
    export APT_CONFIG="$apt"
    apt-get -qq update
    (cd "$work" && rm -f ./*.deb && apt-get -qq download linux-source-6.12 && dpkg-deb -x ./*.deb deb && rm ./*.deb)
    echo 'unpacking the source'
    # Without other architectures, GPUs, cards and sound: half of the tree, none of it compiled here.
    set --
    for arch in alpha arc arm arm64 loongarch m68k mips parisc powerpc riscv s390 sh sparc; do
        set -- "$@" "--exclude=*/arch/$arch/*.[chS]" "--exclude=*/arch/$arch/*.dts*"
    done
    for drivers in gpu/drm media net/ethernet net/wireless staging; do
        set -- "$@" "--exclude=*/drivers/$drivers/*.[ch]"
    done
    tar -xJf "$work"/deb/usr/src/linux-source-6.12.tar.xz -C "$work/src" --strip-components=1 --wildcards "$@" \
        --exclude='*/sound/*.[ch]' --exclude='*/tools/testing/*'
    rm -rf "$work/deb"
    touch "$work/unpacked"
fi
cd "$work/src"
export KBUILD_BUILD_TIMESTAMP=1 KBUILD_BUILD_USER=cloister KBUILD_BUILD_HOST=rig ARCH=x86_64
echo 'configuring'
make -s tinyconfig
scripts/kconfig/merge_config.sh -m .config "$fragment" >"$work/merge.log" 2>&1
make -s olddefconfig
for option in $must; do
    grep -q "^CONFIG_$option=y\$" .config || {
        echo "CONFIG_$option is not set after olddefconfig: the fragment does not fit this kernel" >&2
        exit 1
    }
done
echo "compiling with $jobs jobs"
make -s -j"$jobs" bzImage vmlinux
cp arch/x86/boot/bzImage "$work/result/vmlinuz"
strip -o "$work/result/vmlinux" vmlinux
cp .config "$work/result/config"
make -s kernelrelease >"$work/result/version"
mv "$work/result" "$out"
cd /
rm -rf "$work"
echo "built $(cat "$out/version")"
