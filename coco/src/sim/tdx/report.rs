//! TDREPORT: what the module says of a TD, with a MAC that a quoting enclave on the same platform checks
//! (Intel TDX module base specification, TDREPORT_STRUCT; its fields go into a quote's body as they are).

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha384};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Size of a TDREPORT in bytes.
pub const TDREPORT_SIZE: usize = 1024;

/// TEE_TCB_SVN of the simulated module: ISVSVN 5 of module version 1, then the SEAM loader's.
pub const TEE_TCB_SVN: [u8; 16] = [5, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// CPUSVN of the simulated processor; the PCK certificate names the same numbers.
pub(in crate::sim) const CPU_SVN: [u8; 16] = [3; 16];
/// Measurement of the simulated module: no hash, but a warning.
const MRSEAM: [u8; 48] = *b"CLOISTER SIMULATED TDX MODULE / PROVES NOTHING..";

/// The key of the MACs. Public by design: whoever reads this can make the same report.
const MODULE_KEY: &[u8] = b"CLOISTER SIMULATED TDX MODULE / PROVES NOTHING";

/// TEE type of a TD in REPORTTYPE.
const TYPE_TDX: u8 = 0x81;
/// Which fields of TEE_TCB_INFO hold something, as modules of version 1.5 say it.
const TCB_INFO_VALID: u64 = 0x301ff;

/// REPORTMACSTRUCT.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct MacStruct {
    report_type: [u8; 4],
    reserved1: [u8; 12],
    cpu_svn: [u8; 16],
    tee_tcb_info_hash: [u8; 48],
    tee_info_hash: [u8; 48],
    report_data: [u8; 64],
    reserved2: [u8; 32],
    mac: [u8; 32],
}

/// TEE_TCB_INFO, with the padding up to TDINFO.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(in crate::sim) struct TcbInfo {
    valid: [u8; 8],
    pub(in crate::sim) tee_tcb_svn: [u8; 16],
    pub(in crate::sim) mrseam: [u8; 48],
    pub(in crate::sim) mrsignerseam: [u8; 48],
    pub(in crate::sim) attributes: [u8; 8],
    pub(in crate::sim) tee_tcb_svn2: [u8; 16],
    reserved: [u8; 95],
    /// Not a part of TEE_TCB_INFO any more.
    gap: [u8; 17],
}

/// TDINFO.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(in crate::sim) struct TdInfo {
    pub(in crate::sim) attributes: [u8; 8],
    pub(in crate::sim) xfam: [u8; 8],
    pub(in crate::sim) mrtd: [u8; 48],
    pub(in crate::sim) mrconfigid: [u8; 48],
    pub(in crate::sim) mrowner: [u8; 48],
    pub(in crate::sim) mrownerconfig: [u8; 48],
    pub(in crate::sim) rtmrs: [[u8; 48]; 4],
    pub(in crate::sim) servtd_hash: [u8; 48],
    reserved: [u8; 64],
}

/// TDREPORT_STRUCT.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Layout {
    mac_struct: MacStruct,
    tcb: TcbInfo,
    td: TdInfo,
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<Layout>() == TDREPORT_SIZE);
    assert!(offset_of!(Layout, tcb) == 256 && offset_of!(Layout, td) == 512);
    assert!(offset_of!(MacStruct, report_data) == 128 && offset_of!(MacStruct, mac) == 224);
    assert!(offset_of!(TcbInfo, tee_tcb_svn2) == 128 && offset_of!(TcbInfo, gap) == 239);
    assert!(offset_of!(TdInfo, rtmrs) == 208 && offset_of!(TdInfo, servtd_hash) == 400);
};

/// What goes into a report.
#[derive(Debug, Clone)]
pub(in crate::sim) struct TdReport {
    pub(in crate::sim) report_data: [u8; 64],
    pub(in crate::sim) attributes: u64,
    pub(in crate::sim) xfam: u64,
    pub(in crate::sim) mrtd: [u8; 48],
    pub(in crate::sim) mrconfigid: [u8; 48],
    pub(in crate::sim) mrowner: [u8; 48],
    pub(in crate::sim) mrownerconfig: [u8; 48],
    pub(in crate::sim) rtmrs: [[u8; 48]; 4],
}

impl TdReport {
    /// The report with its hashes and its MAC.
    pub(in crate::sim) fn bytes(&self) -> [u8; TDREPORT_SIZE] {
        let tcb = TcbInfo {
            valid: TCB_INFO_VALID.to_le_bytes(),
            tee_tcb_svn: TEE_TCB_SVN,
            mrseam: MRSEAM,
            mrsignerseam: [0; 48],
            attributes: [0; 8],
            tee_tcb_svn2: TEE_TCB_SVN,
            reserved: [0; 95],
            gap: [0; 17],
        };
        let td = TdInfo {
            attributes: self.attributes.to_le_bytes(),
            xfam: self.xfam.to_le_bytes(),
            mrtd: self.mrtd,
            mrconfigid: self.mrconfigid,
            mrowner: self.mrowner,
            mrownerconfig: self.mrownerconfig,
            rtmrs: self.rtmrs,
            servtd_hash: [0; 48],
            reserved: [0; 64],
        };
        let mut mac_struct = MacStruct {
            report_type: [TYPE_TDX, 0, 0, 0],
            reserved1: [0; 12],
            cpu_svn: CPU_SVN,
            tee_tcb_info_hash: tcb_hash(&tcb),
            tee_info_hash: Sha384::digest(td.as_bytes()).into(),
            report_data: self.report_data,
            reserved2: [0; 32],
            mac: [0; 32],
        };
        mac_struct.mac = hmac(&mac_struct).finalize().into_bytes().into();
        zerocopy::transmute!(Layout { mac_struct, tcb, td })
    }
}

/// What a quote says of a TD, out of a report of this platform.
pub(in crate::sim) struct Checked {
    pub(in crate::sim) report_data: [u8; 64],
    pub(in crate::sim) tcb: TcbInfo,
    pub(in crate::sim) td: TdInfo,
}

/// Reads a report that anyone may have sent; none if this platform's module did not make it.
pub(in crate::sim) fn checked(bytes: &[u8]) -> Option<Checked> {
    let Layout { mac_struct, tcb, td } = Layout::read_from_bytes(bytes).ok()?;
    hmac(&mac_struct).verify_slice(&mac_struct.mac).ok()?;
    let hashes = mac_struct.tee_tcb_info_hash == tcb_hash(&tcb)
        && mac_struct.tee_info_hash == <[u8; 48]>::from(Sha384::digest(td.as_bytes()));
    (hashes && mac_struct.report_type == [TYPE_TDX, 0, 0, 0]).then_some(Checked {
        report_data: mac_struct.report_data,
        tcb,
        td,
    })
}

/// Over TEE_TCB_INFO without the gap behind it.
fn tcb_hash(tcb: &TcbInfo) -> [u8; 48] {
    let info = tcb.as_bytes().strip_suffix(&tcb.gap).unwrap_or_default();
    Sha384::digest(info).into()
}

/// HMAC-SHA-256 over all of the structure but the MAC.
fn hmac(mac_struct: &MacStruct) -> Hmac<Sha256> {
    let covered = mac_struct.as_bytes().strip_suffix(&mac_struct.mac).unwrap_or_default();
    // HMAC takes keys of every length, so this never falls back.
    let keyed = Hmac::<Sha256>::new_from_slice(MODULE_KEY);
    keyed.unwrap_or_else(|_| Hmac::new(&Default::default())).chain_update(covered)
}
