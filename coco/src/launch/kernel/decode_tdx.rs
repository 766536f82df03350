//! TDX commands as JSON.
#![allow(unsafe_code, reason = "commands carry addresses of our own memory, as they do for the kernel")]

use std::mem::size_of;

use serde_json::{Value, json};

use super::decode::{cpuid_entry, hex};
use super::decode_sev::{copied, sha256, text};
use crate::tdx::SeamcallStatus;
use crate::tdx::abi::{
    CpuidEntry, CpuidHeader, MAX_CPUID_ENTRIES, TdxCapabilities, TdxCmd, TdxCommandId, TdxInitMemRegion,
    TdxInitVm,
};

pub(super) fn name(cmd: &TdxCmd) -> String {
    match TdxCommandId(cmd.id).name() {
        known if known.starts_with("TDX") => format!("KVM_{known}"),
        unknown => unknown.to_owned(),
    }
}

pub(super) fn module_error(cmd: &TdxCmd) -> Option<Value> {
    let status = || SeamcallStatus(cmd.hw_error).to_string();
    (cmd.hw_error != 0).then(|| json!({ "code": hex(cmd.hw_error), "name": status() }))
}

pub(super) fn arguments(cmd: &TdxCmd, hashing: bool) -> Value {
    let data = match TdxCommandId(cmd.id) {
        TdxCommandId::CAPABILITIES => copied(cmd.data).map(|x: TdxCapabilities| {
            json!({
                "supported_attrs": hex(x.supported_attrs),
                "supported_xfam": hex(x.supported_xfam),
                "kernel_tdvmcallinfo_1_r11": hex(x.kernel_tdvmcallinfo_1_r11),
                "user_tdvmcallinfo_1_r11": hex(x.user_tdvmcallinfo_1_r11),
                "kernel_tdvmcallinfo_1_r12": hex(x.kernel_tdvmcallinfo_1_r12),
                "user_tdvmcallinfo_1_r12": hex(x.user_tdvmcallinfo_1_r12),
                "cpuid": table(cmd.data + size_of::<TdxCapabilities>() as u64, x.cpuid),
            })
        }),
        TdxCommandId::INIT_VM => copied(cmd.data).map(|x: TdxInitVm| {
            json!({
                "attributes": hex(x.attributes),
                "xfam": hex(x.xfam),
                "mrconfigid": text(&x.mrconfigid),
                "mrowner": text(&x.mrowner),
                "mrownerconfig": text(&x.mrownerconfig),
                "cpuid": table(cmd.data + size_of::<TdxInitVm>() as u64, x.cpuid),
            })
        }),
        // A value, and no address.
        TdxCommandId::INIT_VCPU => Some(hex(cmd.data)),
        TdxCommandId::INIT_MEM_REGION => copied(cmd.data).map(|x: TdxInitMemRegion| {
            let mut value = json!({
                "source_addr": hex(x.source_addr),
                "gpa": hex(x.gpa),
                "nr_pages": x.nr_pages,
            });
            if hashing {
                value["sha256"] = sha256(x.source_addr, x.nr_pages.saturating_mul(4096));
            }
            value
        }),
        TdxCommandId::GET_CPUID => copied(cmd.data)
            .map(|header: CpuidHeader| table(cmd.data + size_of::<CpuidHeader>() as u64, header)),
        _ => None,
    };
    json!({ "id": cmd.id, "flags": cmd.flags, "data": data, "hw_error": hex(cmd.hw_error) })
}

/// A CPUID table whose entries begin at `first`.
fn table(first: u64, header: CpuidHeader) -> Value {
    // After E2BIG the count is what would be needed and not what is there: only a count that KVM takes is
    // followed, and a table that waits to be filled is not shown.
    let count = u64::from(header.nent);
    let mut entries = Vec::new();
    if header.nent <= MAX_CPUID_ENTRIES {
        for i in 0..count {
            let at = first + i * size_of::<CpuidEntry>() as u64;
            entries.extend(copied::<CpuidEntry>(at));
        }
    }
    if entries.iter().all(|e| *e == CpuidEntry::default()) {
        entries.clear();
    }
    let shown: Vec<_> = entries.iter().map(|e| cpuid_entry(&e.into())).collect();
    json!({ "nent": header.nent, "entries": shown })
}
