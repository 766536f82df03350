//! CPU models by name, as QEMU names them, and the signatures that their vCPUs have.

/// CPUID leaf 1, EAX, from family, model and stepping (AMD publication 25481, Fn0000_0001_EAX).
const fn signature(family: u32, model: u32, stepping: u32) -> u32 {
    let (base, extended) = if family > 0xf { (0xf, family - 0xf) } else { (family, 0) };
    extended << 20 | (model >> 4) << 16 | base << 8 | (model & 0xf) << 4 | stepping
}

const NAPLES: u32 = signature(23, 1, 2);
const ROME: u32 = signature(23, 49, 0);
const MILAN: u32 = signature(25, 1, 1);
const GENOA: u32 = signature(25, 17, 0);
const TURIN: u32 = signature(26, 0, 0);

/// QEMU's models of EPYC (`target/i386/cpu.c`), and their signatures.
pub const CPU_MODELS: &[(&str, u32)] = &[
    ("EPYC", NAPLES),
    ("EPYC-v1", NAPLES),
    ("EPYC-v2", NAPLES),
    ("EPYC-IBPB", NAPLES),
    ("EPYC-v3", NAPLES),
    ("EPYC-v4", NAPLES),
    ("EPYC-Rome", ROME),
    ("EPYC-Rome-v1", ROME),
    ("EPYC-Rome-v2", ROME),
    ("EPYC-Rome-v3", ROME),
    ("EPYC-Milan", MILAN),
    ("EPYC-Milan-v1", MILAN),
    ("EPYC-Milan-v2", MILAN),
    ("EPYC-Genoa", GENOA),
    ("EPYC-Genoa-v1", GENOA),
    ("EPYC-Turin", TURIN),
];

/// The signature of a model, by its name.
pub fn cpu_signature(model: &str) -> Option<u32> {
    CPU_MODELS.iter().find(|(name, _)| *name == model).map(|&(_, signature)| signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_qemus_models() {
        for (model, want) in [
            ("EPYC-v4", 0x0080_0f12),
            ("EPYC-Rome", 0x0083_0f10),
            ("EPYC-Milan", 0x00a0_0f11),
            ("EPYC-Genoa", 0x00a1_0f10),
            ("EPYC-Turin", 0x00b0_0f00),
        ] {
            assert_eq!(cpu_signature(model), Some(want), "{model}");
        }
        assert_eq!(cpu_signature("host"), None);
    }
}
