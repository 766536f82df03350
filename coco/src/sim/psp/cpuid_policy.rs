//! Which bits a CPUID leaf may have, on an EPYC 9004: numbers from AMD's published firmware for it
//! (cpuid_lookup.h, the reserved bits of each register). What of the allowed bits a certain processor has is not
//! in it.

/// Any bits.
const ANY: u32 = u32::MAX;
const NONE: u32 = 0;

/// Leaf, subleaves, bits of EAX, EBX, ECX, EDX.
type Row = (u32, &'static [u32], [u32; 4]);

const ROWS: &[Row] = &[
    (0x0, &[0], [ANY; 4]),
    (0x1, &[0], [0x0fff_0fff, 0xffff_ff00, 0xfefa_320b, 0x178b_fbff]),
    (0x2, &[0], [ANY; 4]),
    (0x4, &[0], [ANY; 4]),
    (0x5, &[0], [0xffff, 0xffff, 0x3, 0xff]),
    (0x6, &[0], [0x4, NONE, 0x1, NONE]),
    (0x7, &[0], [ANY, 0xf1ff_97b9, 0x0041_5fde, ANY]),
    (0x7, &[1], [0x20, NONE, NONE, NONE]),
    (0xb, &[0, 1, 2], [0x1f, 0xffff, 0xffff, ANY]),
    (0xd, &[0], [0x2e7, ANY, ANY, NONE]),
    (0xd, &[1], [0xf, ANY, 0x1800, NONE]),
    (0xd, &[2, 5, 6, 7, 9, 11, 12], [ANY, ANY, 0x3, NONE]),
    (0xf, &[0], [NONE, ANY, NONE, 0x2]),
    (0xf, &[1], [0x1ff, ANY, ANY, 0x7]),
    (0x10, &[0], [NONE, 0x6, NONE, NONE]),
    (0x10, &[1], [0x1f, ANY, 0x4, 0xffff]),
    (0x8000_0000, &[0], [ANY; 4]),
    (0x8000_0001, &[0], [0x0fff_0fff, 0xf000_0000, 0x7fc3_bfff, 0xefd3_fbff]),
    (0x8000_0002, &[0], [ANY; 4]),
    (0x8000_0003, &[0], [ANY; 4]),
    (0x8000_0004, &[0], [ANY; 4]),
    (0x8000_0005, &[0], [ANY; 4]),
    (0x8000_0006, &[0], [ANY, ANY, ANY, 0xfffc_ffff]),
    (0x8000_0007, &[0], [NONE, 0x3b, ANY, 0x6799]),
    (0x8000_0008, &[0], [0x00ff_ffff, 0xf9ff_f75f, 0x0003_f0ff, 0x00ff_ffff]),
    (0x8000_000a, &[0], [0xff, ANY, NONE, 0x1fbf_bcff]),
    (0x8000_0019, &[0], [ANY, ANY, NONE, NONE]),
    (0x8000_001a, &[0], [0x7, NONE, NONE, NONE]),
    (0x8000_001b, &[0], [0xbff, NONE, NONE, NONE]),
    (0x8000_001d, &[0, 1, 2, 3], [0x03ff_c3ff, ANY, ANY, 0x3]),
    (0x8000_001d, &[4], [0xf, NONE, ANY, NONE]),
    (0x8000_001e, &[0], [ANY, 0xffff, 0x7ff, NONE]),
    (0x8000_001f, &[0], [0x030f_ffff, 0xffff, ANY, ANY]),
    (0x8000_0020, &[0], [NONE, 0x1e, NONE, NONE]),
    (0x8000_0020, &[1, 2], [ANY, NONE, NONE, ANY]),
    (0x8000_0020, &[3], [NONE, ANY, 0x7f, NONE]),
    (0x8000_0021, &[0], [0x1806_2fdf, 0xfff, NONE, NONE]),
    (0x8000_0022, &[0], [ANY, ANY, ANY, NONE]),
    (0x8000_0023, &[0], [0x1, ANY, NONE, NONE]),
    (0x8000_0026, &[0, 1, 2, 3], [ANY; 4]),
];

/// The bits of EAX, EBX, ECX and EDX that the firmware allows in this subleaf. It looks at nothing outside the
/// standard and the extended leaves, and wants those in there that it does not know to be zero.
pub(super) fn allowed(leaf: u32, subleaf: u32) -> [u32; 4] {
    if !matches!(leaf, 0..=0xffff | 0x8000_0000..=0x8000_ffff) {
        return [ANY; 4];
    }
    let row = ROWS.iter().find(|(function, subleaves, _)| *function == leaf && subleaves.contains(&subleaf));
    row.map_or([NONE; 4], |(.., bits)| *bits)
}
