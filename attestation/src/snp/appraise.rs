//! Steps 7 to 10: a genuine report, judged by the policy. Every check is made, whatever the others say.

use super::chain::Chain;
use super::{Component, Product, Rejection, Report, Tcb, Verdict};
use crate::certs::{CertificateRole as Role, printable};
use crate::policy::{Hex, Policy, SnpPolicy, TcbFloor};

/// Judges `report` by `policy`.
pub(super) fn appraise(report: &Report, chain: &Chain, policy: &Policy, verdict: &mut Verdict) {
    let policy = &policy.snp;
    provenance(report, chain, policy, verdict);
    tcb(report, chain.product, policy, verdict);
    guest(report, policy, verdict);
    platform(report, policy, verdict);
    let (found, wanted) = (report.vmpl(), policy.vmpl);
    let rejection = (found != wanted).then_some(Rejection::VmplMismatch { found, wanted });
    verdict.judge("vmpl", found.to_string(), wanted.to_string(), rejection);
    identity(report, policy, verdict);
}

fn list<const N: usize>(values: &[Hex<N>]) -> String {
    values.iter().map(|value| hex::encode(value.0)).collect::<Vec<_>>().join(" or ")
}

/// Step 7: which product, chip or provider.
fn provenance(report: &Report, chain: &Chain, policy: &SnpPolicy, verdict: &mut Verdict) {
    let found = chain.product;
    if found != Product::Simulated {
        let wanted = policy.products.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let rejection = (!policy.products.contains(&found))
            .then(|| Rejection::PolicyProduct { found, wanted: wanted.clone() });
        verdict.judge("product", found.to_string(), wanted, rejection);
    }
    if chain.role == Role::Vcek && !policy.chip_ids.is_empty() {
        let id = report.chip_id();
        let found = hex::encode(id.get(..chain.product.chip_id_len()).unwrap_or_default());
        let listed = policy.chip_ids.iter().any(|listed| listed.0 == id);
        let rejection = (!listed).then(|| Rejection::PolicyChipId { found: found.clone() });
        verdict.judge("chip id", found, "one of the policy's chip-ids".into(), rejection);
    }
    if chain.role == Role::Vlek {
        let found = chain.vek().csp_id().unwrap_or_default();
        let listed = policy.csp_ids.is_empty() || policy.csp_ids.contains(&found);
        // A list of chips means that only those may answer, and a VLEK does not say which chip did.
        let rejection = (!listed || !policy.chip_ids.is_empty())
            .then(|| Rejection::PolicyCspId { found: printable(&found) });
        verdict.judge("provider", printable(&found), policy.csp_ids.join(" or "), rejection);
    }
}

/// Step 7: how old the firmware may be.
fn tcb(report: &Report, product: Product, policy: &SnpPolicy, verdict: &mut Verdict) {
    let fields = [
        ("REPORTED_TCB", "reported TCB", report.reported_tcb(), &policy.min_tcb),
        ("COMMITTED_TCB", "committed TCB", report.committed_tcb(), &policy.min_committed_tcb),
        ("LAUNCH_TCB", "launch TCB", report.launch_tcb(), &policy.min_launch_tcb),
    ];
    for (field, name, tcb, floor) in fields {
        if !floor.is_empty() {
            let rejection = below(field, tcb, product, floor);
            verdict.judge(name, tcb.describe(product), format!("at least {floor}"), rejection);
        }
    }
    if policy.require_committed_firmware {
        let (found, wanted) =
            (report.current_tcb().describe(product), report.committed_tcb().describe(product));
        let same = report.current_tcb() == report.committed_tcb()
            && report.current_version() == report.committed_version();
        let rejection =
            (!same).then(|| Rejection::ProvisionalFirmware { found: found.clone(), wanted: wanted.clone() });
        verdict.judge("committed firmware", found, wanted, rejection);
    }
    let (launch, current) = report.mitigations().unwrap_or((0, 0));
    let vectors = [
        ("LAUNCH_MIT_VECTOR", "mitigations at launch", launch, policy.required_launch_mitigations),
        ("CURRENT_MIT_VECTOR", "mitigations now", current, policy.required_current_mitigations),
    ];
    for (field, name, found, wanted) in vectors {
        if wanted != 0 {
            let rejection =
                (found & wanted != wanted).then_some(Rejection::MitigationMissing { field, found, wanted });
            verdict.judge(name, format!("{found:#x}"), format!("bits {wanted:#x}"), rejection);
        }
    }
}

/// The first component below the floor. A component that the product does not have counts as 0.
fn below(field: &'static str, tcb: Tcb, product: Product, floor: &TcbFloor) -> Option<Rejection> {
    let wanted = [
        (Component::Fmc, floor.fmc),
        (Component::Bootloader, floor.bootloader),
        (Component::Tee, floor.tee),
        (Component::Snp, floor.snp),
        (Component::Microcode, floor.microcode),
    ];
    wanted.into_iter().find_map(|(component, wanted)| {
        let (wanted, found) = (wanted?, tcb.get(product, component).unwrap_or(0));
        (found < wanted).then_some(Rejection::TcbTooLow { field, component, found, wanted })
    })
}

fn on_off(on: bool) -> String {
    if on { "on".into() } else { "off".into() }
}

/// Step 8: what the guest allowed at launch.
fn guest(report: &Report, policy: &SnpPolicy, verdict: &mut Verdict) {
    let found = report.policy();
    if !found.reserved_one() {
        verdict.reject("guest policy", Rejection::PolicyReserved);
    }
    let debug = (found.debug() && !policy.allow_debug).then_some(Rejection::PolicyDebug);
    verdict.judge("debug", on_off(found.debug()), allowed(policy.allow_debug), debug);

    let agent =
        (found.migration_agent() && !policy.allow_migration_agent).then_some(Rejection::PolicyMigrationAgent);
    let id = report.report_id_ma();
    let associated = id != [0xff; 32];
    let agent = agent.or_else(|| {
        let unwanted = associated && !policy.allow_migration_agent;
        unwanted.then(|| Rejection::MigrationAgent { found: hex::encode(id) })
    });
    let found_agent = found.migration_agent() || associated;
    verdict.judge("migration agent", on_off(found_agent), allowed(policy.allow_migration_agent), agent);

    if let Some(min) = policy.min_abi {
        let wanted = (min.major, min.minor);
        let rejection = (found.abi() < wanted).then(|| Rejection::PolicyAbi { found: found.abi(), wanted });
        let (major, minor) = found.abi();
        verdict.judge("guest ABI", format!("{major}.{minor}"), format!("at least {min}"), rejection);
    }

    let bits = [
        ("SMT", found.smt(), (!policy.allow_smt).then_some(false)),
        ("CXL", found.cxl(), (!policy.allow_cxl).then_some(false)),
        ("SINGLE_SOCKET", found.single_socket(), policy.require_single_socket.then_some(true)),
        ("MEM_AES_256_XTS", found.aes_256_xts(), policy.require_aes_256_xts.then_some(true)),
        ("RAPL_DIS", found.rapl_disabled(), policy.require_rapl_disabled.then_some(true)),
        ("CIPHERTEXT_HIDING", found.ciphertext_hiding(), policy.require_ciphertext_hiding.then_some(true)),
        (
            "PAGE_SWAP_DISABLE",
            report.version() >= 5 && found.page_swap_disabled(),
            policy.require_page_swap_disabled.then_some(true),
        ),
    ];
    for (bit, found, wanted) in bits {
        if let Some(wanted) = wanted {
            let rejection = (found != wanted).then_some(Rejection::PolicyBit { bit, found, wanted });
            verdict.judge(bit, on_off(found), on_off(wanted), rejection);
        }
    }
}

fn allowed(allowed: bool) -> String {
    if allowed { "on or off".into() } else { "off".into() }
}

/// Step 8: what the machine is set to. Bits that this crate does not know are left alone.
fn platform(report: &Report, policy: &SnpPolicy, verdict: &mut Verdict) {
    let found = report.platform_info();
    let bits = [
        ("SMT_EN", found.smt(), (!policy.allow_platform_smt).then_some(false)),
        ("TSME_EN", found.tsme(), policy.require_tsme.then_some(true)),
        ("ECC_EN", found.ecc(), policy.require_ecc.then_some(true)),
        (
            "CIPHERTEXT_HIDING_DRAM_EN",
            found.ciphertext_hiding(),
            policy.require_platform_ciphertext_hiding.then_some(true),
        ),
        ("ALIAS_CHECK_COMPLETE", found.alias_check_complete(), policy.require_alias_check.then_some(true)),
    ];
    for (bit, found, wanted) in bits {
        if let Some(wanted) = wanted {
            let rejection = (found != wanted).then_some(Rejection::PlatformBit { bit, found, wanted });
            verdict.judge(bit, on_off(found), on_off(wanted), rejection);
        }
    }
}

/// Step 10: which guest this is. A policy without launch digests has signer digests instead; the
/// policy's parser sees to it that it has one of them.
fn identity(report: &Report, policy: &SnpPolicy, verdict: &mut Verdict) {
    let measured = report.measurement();
    if !policy.measurements.is_empty() || policy.names_no_identity() {
        let (found, wanted) = (hex::encode(measured), list(&policy.measurements));
        let listed = policy.measurements.iter().any(|m| m.0 == measured);
        let rejection = (!listed)
            .then(|| Rejection::MeasurementMismatch { found: found.clone(), wanted: wanted.clone() });
        verdict.judge("measurement", found, wanted, rejection);
    }
    if !policy.id_key_digests.is_empty() {
        let digest = report.id_key_digest();
        let (found, wanted) = (hex::encode(digest), list(&policy.id_key_digests));
        let listed = policy.id_key_digests.iter().any(|d| d.0 == digest);
        let rejection =
            (!listed).then(|| Rejection::IdKeyMismatch { found: found.clone(), wanted: wanted.clone() });
        verdict.judge("id key", found, wanted, rejection);
    }
    if !policy.author_key_digests.is_empty() {
        let digest = report.author_key_digest();
        let found = digest.map_or_else(|| "none (AUTHOR_KEY_EN is 0)".into(), hex::encode);
        let wanted = list(&policy.author_key_digests);
        let listed = digest.is_some_and(|digest| policy.author_key_digests.iter().any(|d| d.0 == digest));
        let rejection =
            (!listed).then(|| Rejection::AuthorKeyMismatch { found: found.clone(), wanted: wanted.clone() });
        verdict.judge("author key", found, wanted, rejection);
    }
    let ids = [
        ("FAMILY_ID", report.family_id(), policy.family_id),
        ("IMAGE_ID", report.image_id(), policy.image_id),
    ];
    for (field, value, wanted) in ids {
        if let Some(Hex(wanted)) = wanted {
            let (found, wanted_text) = (hex::encode(value), hex::encode(wanted));
            let rejection = (value != wanted).then(|| Rejection::IdMismatch {
                field,
                found: found.clone(),
                wanted: wanted_text.clone(),
            });
            verdict.judge(field, found, wanted_text, rejection);
        }
    }
    if policy.min_guest_svn > 0 {
        let (found, wanted) = (report.guest_svn(), policy.min_guest_svn);
        let rejection = (found < wanted).then_some(Rejection::GuestSvnTooLow { found, wanted });
        verdict.judge("guest SVN", found.to_string(), format!("at least {wanted}"), rejection);
    }
}
