//! CPU signatures that a guest's vCPUs commonly have.

use crate::plan::CPU_MODELS;

/// A signature and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// CPUID leaf 1, EAX.
    pub value: u32,
    /// Who has it.
    pub name: String,
}

/// Processors whose signature is none of QEMU's models': what "host" models pass through (families, models
/// and steppings in `arch/x86/kernel/cpu/microcode/amd.c` of Linux).
const HOSTS: &[(u32, &str)] = &[
    (0x00a0_0f10, "Milan stepping 0"),
    (0x00a0_0f12, "Milan-X"),
    (0x00a1_0f11, "Genoa stepping 1"),
    (0x00a1_0f12, "Genoa-X"),
    (0x00aa_0f01, "Bergamo stepping 1"),
    (0x00aa_0f02, "Bergamo or Siena"),
    (0x00b0_0f10, "Turin stepping 0"),
    (0x00b0_0f21, "Turin"),
    (0x00b1_0f10, "Turin Dense"),
];

/// Every signature to try, `given` and then `more` first, none twice.
pub fn signatures(given: u32, more: Option<u32>) -> Vec<Signature> {
    let models = CPU_MODELS.iter().map(|&(name, value)| (value, name));
    let hosts = HOSTS.iter().copied();
    // What KVM has in RDX while nobody sets it, and what a launcher has that clears all registers.
    let unset = [(0x600, "RDX as KVM resets it"), (0, "RDX cleared")];
    let known: Vec<(u32, &str)> = models.chain(hosts).chain(unset).collect();
    let name = |value: u32| {
        let all: Vec<_> = known.iter().filter(|(v, _)| *v == value).map(|(_, name)| *name).collect();
        match all.as_slice() {
            [] => "unknown model".to_owned(),
            [one] => (*one).to_owned(),
            [first, ..] => format!("{first} and its versions"),
        }
    };
    let mut values: Vec<u32> = Vec::new();
    for value in [given].into_iter().chain(more).chain(known.iter().map(|&(value, _)| value)) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values.into_iter().map(|value| Signature { value, name: name(value) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_given_one_first_and_none_twice() {
        let all = signatures(0x00a0_0f11, Some(0x1234));
        assert_eq!((all[0].value, all[1].value), (0x00a0_0f11, 0x1234));
        assert_eq!(all[0].name, "EPYC-Milan and its versions");
        assert_eq!(all[1].name, "unknown model");
        for (n, s) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| other.value != s.value));
        }
        assert!(all.iter().any(|s| s.value == 0x00b0_0f00) && all.iter().any(|s| s.value == 0x600));
    }
}
