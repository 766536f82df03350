#!/bin/sh
# Writes a first corpus to start the targets from: sh seeds.sh DIR [VMLINUZ]
set -eu
dir=${1:?usage: seeds.sh DIR [VMLINUZ]}
here=$(dirname "$0")
for target in ovmf tdvf bzimage elf hash_table; do mkdir -p "$dir/$target"; done
for suffix in AmdSev OvmfX64; do
    hex=$here/../vectors/measure/ovmf_${suffix}_suffix.hex
    # The last 1.5 KiB: table, SEV and TDVF metadata.
    tr -d '\n' <"$hex" | tail -c 3072 | xxd -r -p >"$dir/ovmf/$suffix"
    # Behind its signature, the TDVF descriptor: it lies 0x9d0 and 0x9c0 before the end.
    case $suffix in AmdSev) at=5024 ;; *) at=4992 ;; esac
    tr -d '\n' <"$hex" | tail -c $at | head -c 480 | xxd -r -p | tail -c +5 >"$dir/tdvf/$suffix"
done
# Behind its signature, a descriptor for an image of one page: code, variables, hand-off blocks, memory.
{
    printf '\220\000\000\000\001\000\000\000\004\000\000\000'
    printf '\000\000\000\000\000\020\000\000\000\360\377\377\000\000\000\000\000\020\000\000\000\000\000\000\000\000\000\000\001\000\000\000'
    printf '\000\000\000\000\000\010\000\000\000\000\020\000\000\000\000\000\000\020\000\000\000\000\000\000\001\000\000\000\000\000\000\000'
    printf '\000\000\000\000\000\000\000\000\000\220\200\000\000\000\000\000\000\040\000\000\000\000\000\000\002\000\000\000\000\000\000\000'
    printf '\000\000\000\000\000\000\000\000\000\000\200\000\000\000\000\000\000\140\000\000\000\000\000\000\003\000\000\000\000\000\000\000'
} >"$dir/tdvf/whole"
# A table in the target's own notation: 0xf0 to 0xf3 for the GUIDs, 16-bit lengths, hashes of spaces.
{
    printf '\360\250\000'
    for guid in 361 362 363; do printf "\\$guid"'2\000%32s' ''; done
} >"$dir/hash_table/table"
# The start of a kernel with one setup sector, so that a file of this length is whole (the first byte tells the target
# to put the length right).
if [ $# -gt 1 ]; then
    head -c 4096 "$2" >"$dir/bzimage/head"
    printf 'N' | dd of="$dir/bzimage/head" bs=1 conv=notrunc status=none
    printf '\001' | dd of="$dir/bzimage/head" bs=1 seek=497 conv=notrunc status=none
fi
# A header, one program header, one page.
{
    printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\002\000\076\000\001\000\000\000'
    printf '\000\000\020\000\000\000\000\000\100\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000'
    printf '\000\000\000\000\100\000\070\000\001\000\000\000\000\000\000\000'
    printf '\001\000\000\000\005\000\000\000\000\000\000\000\000\000\000\000\000\000\020\000\000\000\000\000'
    printf '\000\000\020\000\000\000\000\000\200\000\000\000\000\000\000\000\000\020\000\000\000\000\000\000'
    printf '\000\020\000\000\000\000\000\000'
    head -c 64 /dev/zero
} >"$dir/elf/payload"
