//! SEV commands as JSON.
#![allow(unsafe_code, reason = "commands carry addresses of our own memory, as they do for the kernel")]

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zerocopy::FromBytes;

use super::decode::hex;
use crate::snp::abi::{
    CommandId, FirmwareCode, Init, LaunchFinish, LaunchStart, LaunchUpdate, PageType, SevCmd,
};

pub(super) fn name(cmd: &SevCmd) -> String {
    match CommandId(cmd.id).name() {
        known if known.starts_with("SEV_") => format!("KVM_{known}"),
        known if known.starts_with("SNP_") => format!("KVM_SEV_{known}"),
        unknown => unknown.to_owned(),
    }
}

pub(super) fn firmware_error(cmd: &SevCmd) -> Value {
    json!({ "code": hex(cmd.error), "name": FirmwareCode(cmd.error).name() })
}

pub(super) fn arguments(cmd: &SevCmd, hashing: bool) -> Value {
    let data = match CommandId(cmd.id) {
        CommandId::INIT2 => copied(cmd.data).map(|x: Init| {
            json!({
                "vmsa_features": hex(x.vmsa_features),
                "flags": hex(x.flags),
                "ghcb_version": x.ghcb_version,
            })
        }),
        CommandId::LAUNCH_START => copied(cmd.data).map(|x: LaunchStart| {
            json!({ "policy": hex(x.policy), "gosvw": text(&x.gosvw), "flags": hex(x.flags) })
        }),
        CommandId::LAUNCH_UPDATE => copied(cmd.data).map(|x| update(&x, hashing)),
        CommandId::LAUNCH_FINISH => copied(cmd.data).map(|x| finish(&x)),
        _ => None,
    };
    json!({ "id": cmd.id, "sev_fd": cmd.sev_fd, "data": data })
}

fn update(x: &LaunchUpdate, hashing: bool) -> Value {
    let mut value = json!({
        "gfn_start": hex(x.gfn_start),
        "uaddr": hex(x.uaddr),
        "len": hex(x.len),
        "type": x.page_type,
        "type_name": PageType(x.page_type).name(),
        "flags": hex(x.flags),
    });
    // The bytes of a page of zeros are not looked at by anyone.
    if hashing && PageType(x.page_type) != PageType::ZERO {
        value["sha256"] = sha256(x.uaddr, x.len);
    }
    value
}

fn finish(x: &LaunchFinish) -> Value {
    let at = |address, len| if address == 0 { Value::Null } else { sha256(address, len) };
    json!({
        "id_block_en": x.id_block_en,
        "id_block_sha256": at(x.id_block_uaddr, 96),
        "auth_key_en": x.auth_key_en,
        "id_auth_sha256": at(x.id_auth_uaddr, 4096),
        "vcek_disabled": x.vcek_disabled,
        "host_data": text(&x.host_data),
        "flags": hex(x.flags),
    })
}

/// The struct that a command's `data` points to.
pub(super) fn copied<T: FromBytes>(address: u64) -> Option<T> {
    // SAFETY: LaunchKernel's contract: a `data` that is not 0 is the address of a live struct of the
    // command's own layout; nothing is said about its alignment.
    (address != 0).then(|| unsafe { (address as *const T).read_unaligned() })
}

/// SHA-256 of `len` bytes of our own memory.
pub(super) fn sha256(address: u64, len: u64) -> Value {
    if address == 0 {
        return Value::Null;
    }
    let mut hash = Sha256::new();
    let mut page = [0u8; 4096];
    let (mut at, mut left) = (address, len);
    while left > 0 {
        let n = left.min(4096);
        // SAFETY: LaunchKernel's contract: as many live bytes are at `address` as the struct says; `n` of
        // those that are left are copied into `page`, which has room for them.
        unsafe { std::ptr::copy_nonoverlapping(at as *const u8, page.as_mut_ptr(), n as usize) };
        hash.update(&page[..n as usize]);
        at = at.wrapping_add(n);
        left -= n;
    }
    Value::String(text(&hash.finalize()))
}

/// Bytes as hexadecimal digits.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
