//! Which platform the guest is launched on, as the operator asked and the host allows.

use cloister_coco::launch::{Choice, HostAbilities, PlatformKind, Request, choose};

use super::check::Checked;
use crate::config::CocoSpec;
use crate::kvm::Host;
use crate::refusal::Refusal;

/// Chooses; without a host, platforms that need none can still be planned for.
pub(super) fn choose_platform(checked: &Checked, host: Option<&Host>) -> Result<Choice, Refusal> {
    let able = [PlatformKind::Sim, PlatformKind::Off];
    // A platform by name that needs nothing of the host is planned without looking at it.
    let abilities = match (host, checked.coco.into()) {
        (Some(host), _) => HostAbilities::read(&host.kvm),
        (None, Request::Auto) => {
            let host = Host::open().map_err(|e| Refusal::from_lines(&e.to_string()))?;
            HostAbilities::read(&host.kvm)
        }
        (None, _) => HostAbilities::default(),
    };
    // The simulator is never chosen for an operator who did not ask for it.
    let able: &[PlatformKind] = if checked.coco == CocoSpec::Auto { &able[1..] } else { &able };
    let choice = choose(checked.coco.into(), abilities, able).map_err(|why| {
        let why: Vec<_> = why.iter().map(|c| format!("{}: {}", c.kind, c.why_not)).collect();
        Refusal::new(
            "cannot launch the guest on the platform asked for",
            why.join("; "),
            "use --coco sim to try it out, --coco off for a plain VM, or another host",
        )
    })?;
    if checked.require_coco && !choice.kind.is_hardware() {
        return Err(Refusal::new(
            format_args!("--require-coco: the guest would run on `{}`", choice.kind),
            "that is no confidential hardware",
            "run on a host with SEV-SNP or TDX, or leave --require-coco away",
        ));
    }
    Ok(choice)
}
