//! Which platform a guest is launched on, and why.

use kvm_ioctls::Kvm;

/// A platform that a guest can be launched on, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformKind {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
    /// KVM's software-protected VM: real private memory, no protection from the host.
    Protected,
    /// The simulator over plain memory.
    Sim,
    /// Nothing: a plain VM.
    Off,
}

impl PlatformKind {
    /// The argument of KVM_CREATE_VM (include/uapi: KVM_X86_DEFAULT_VM, …).
    pub fn vm_type(self) -> u64 {
        match self {
            PlatformKind::Off | PlatformKind::Sim => 0,
            PlatformKind::Protected => 1,
            PlatformKind::Snp => 4,
            PlatformKind::Tdx => 5,
        }
    }

    /// Whether evidence under this platform comes from hardware. Where it does not, it proves nothing.
    pub fn is_hardware(self) -> bool {
        matches!(self, PlatformKind::Snp | PlatformKind::Tdx)
    }

    /// Whether the guest gets evidence at all.
    pub fn has_evidence(self) -> bool {
        self != PlatformKind::Off
    }
}

impl std::fmt::Display for PlatformKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PlatformKind::Snp => "snp",
            PlatformKind::Tdx => "tdx",
            PlatformKind::Protected => "protected",
            PlatformKind::Sim => "sim",
            PlatformKind::Off => "off",
        })
    }
}

/// What the operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The best that host and guest allow.
    Auto,
    /// This one or nothing.
    Exactly(PlatformKind),
}

/// What this host's KVM offers, as far as the choice goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostAbilities {
    /// KVM_CAP_VM_TYPES: bit n set if VMs of type n can be made.
    pub vm_types: u32,
    /// Whether memory attributes can say private.
    pub private_memory: bool,
}

/// KVM_CAP_VM_TYPES and KVM_CAP_MEMORY_ATTRIBUTES (include/uapi/linux/kvm.h).
const KVM_CAP_VM_TYPES: u64 = 235;
const KVM_CAP_MEMORY_ATTRIBUTES: u64 = 233;

impl HostAbilities {
    /// A host that can do everything: for planning without one.
    pub const ALL: HostAbilities = HostAbilities { vm_types: u32::MAX, private_memory: true };

    /// Asks KVM.
    pub fn read(kvm: &Kvm) -> Self {
        let ask = |cap| u32::try_from(kvm.check_extension_raw(cap)).unwrap_or(0);
        HostAbilities {
            vm_types: ask(KVM_CAP_VM_TYPES),
            private_memory: ask(KVM_CAP_MEMORY_ATTRIBUTES) & 1 << 3 != 0,
        }
    }

    fn has(&self, kind: PlatformKind) -> bool {
        let private = kind.vm_type() == 0 || self.private_memory;
        private && (kind.vm_type() == 0 || self.vm_types & 1 << kind.vm_type() != 0)
    }
}

/// A platform that was looked at and not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// Which.
    pub kind: PlatformKind,
    /// Why not.
    pub why_not: String,
}

/// A platform, and the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The platform to launch on.
    pub kind: PlatformKind,
    /// What was passed over before it.
    pub passed_over: Vec<Considered>,
}

/// Chooses the best platform that is asked for, that the host has and that `unable` knows nothing against:
/// it says why this guest cannot be launched on one. The error is why what was asked for cannot be had.
pub fn choose(
    request: Request,
    host: HostAbilities,
    unable: impl Fn(PlatformKind) -> Option<String>,
) -> Result<Choice, Vec<Considered>> {
    let order =
        [PlatformKind::Snp, PlatformKind::Tdx, PlatformKind::Protected, PlatformKind::Sim, PlatformKind::Off];
    let mut passed_over = Vec::new();
    for kind in order {
        if request != Request::Auto && request != Request::Exactly(kind) {
            continue;
        }
        let why_not = match host.has(kind) {
            true => unable(kind),
            false => Some(lacking(kind).to_owned()),
        };
        let Some(why_not) = why_not else { return Ok(Choice { kind, passed_over }) };
        passed_over.push(Considered { kind, why_not });
    }
    Err(passed_over)
}

fn lacking(kind: PlatformKind) -> &'static str {
    match kind {
        PlatformKind::Snp => "this host's KVM offers no SEV-SNP VMs (KVM_CAP_VM_TYPES bit 4)",
        PlatformKind::Tdx => "this host's KVM offers no TDX VMs (KVM_CAP_VM_TYPES bit 5)",
        PlatformKind::Protected => {
            "this host's KVM offers no software-protected VMs (needs CONFIG_KVM_SW_PROTECTED_VM)"
        }
        PlatformKind::Sim | PlatformKind::Off => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PlatformKind::*;

    const BARE: HostAbilities = HostAbilities { vm_types: 1, private_memory: false };
    const RICH: HostAbilities = HostAbilities { vm_types: 0b11_0011, private_memory: true };

    /// Able on these, and on no others.
    fn only(able: &[PlatformKind]) -> impl Fn(PlatformKind) -> Option<String> {
        move |kind| (!able.contains(&kind)).then(|| format!("not {kind}"))
    }

    #[test]
    fn auto_takes_the_best_and_says_what_it_passed_over() {
        let choice = choose(Request::Auto, BARE, only(&[Protected, Sim])).unwrap();
        assert_eq!(choice.kind, Sim);
        assert_eq!(choice.passed_over.iter().map(|c| c.kind).collect::<Vec<_>>(), [Snp, Tdx, Protected]);
        assert_eq!(choose(Request::Auto, RICH, only(&[Protected, Sim])).unwrap().kind, Protected);
        let choice = choose(Request::Auto, RICH, only(&[Tdx, Off])).unwrap();
        assert_eq!(choice.kind, Tdx);
        assert_eq!(choice.passed_over, [Considered { kind: Snp, why_not: "not snp".to_owned() }]);
        assert_eq!(choose(Request::Auto, RICH, only(&[Off])).unwrap().kind, Off);
    }

    #[test]
    fn a_platform_asked_for_by_name_is_never_replaced() {
        let refused = choose(Request::Exactly(Snp), BARE, only(&[Snp, Sim, Off])).unwrap_err();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].why_not.contains("SEV-SNP"));
        assert!(choose(Request::Exactly(Sim), BARE, only(&[Off])).is_err());
        assert_eq!(choose(Request::Exactly(Snp), HostAbilities::ALL, only(&[Snp])).unwrap().kind, Snp);
    }

    #[test]
    fn a_vm_type_without_private_memory_is_not_enough() {
        let host = HostAbilities { vm_types: 2, private_memory: false };
        assert!(choose(Request::Exactly(Protected), host, only(&[Protected])).is_err());
    }
}
