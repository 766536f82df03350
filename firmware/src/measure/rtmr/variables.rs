//! Secure Boot variables as a configuration firmware volume has them
//! (`MdeModulePkg/Include/Guid/VariableFormat.h` of edk2).

use crate::bytes::{bytes_at, u16_at, u32_at};
use crate::ovmf::Guid;

/// EFI_GLOBAL_VARIABLE.
const GLOBAL: Guid = Guid::new(0x8be4df61_93ca_11d2_aa0d_00e098032b8c);
/// `SecureBootEnable` (`SecurityPkg/Include/Guid/AuthenticatedVariableFormat.h`).
const ENABLE: Guid = Guid::new(0xf0a30bc7_af08_4556_99c4_001009c93a44);
/// EFI_IMAGE_SECURITY_DATABASE.
const SECURITY: Guid = Guid::new(0xd719b2cb_3d3a_4596_a3bc_dad00e67656f);
/// Header of a store whose variables have time stamps.
const STORE: Guid = Guid::new(0xaaf32c78_947b_439a_a180_2e144ec37792);
/// Bytes in the store's header.
const STORE_HEADER: usize = 28;
/// Bytes in a variable's header.
const HEADER: usize = 60;
/// How a variable's header begins.
const START: u16 = 0x55aa;
/// State of a variable that is there.
const ADDED: u8 = 0x3f;
/// State of a variable of which there may be a newer copy.
const IN_DELETION: u8 = 0x3e;
/// Offset of the header's length in a firmware volume, and the volume's signature before it.
const VOLUME_SIGNATURE: (usize, [u8; 4]) = (0x28, *b"_FVH");
const VOLUME_HEADER_LENGTH: usize = 0x30;
/// The most variables that are looked at.
const MAX_VARIABLES: usize = 4096;

/// A variable that the firmware measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecureBootVariable {
    /// Its name.
    pub name: &'static str,
    /// Whose it is.
    pub guid: Guid,
    /// What it holds; empty if it is not there.
    pub data: Vec<u8>,
}

impl SecureBootVariable {
    /// UEFI_VARIABLE_DATA (TCG PC Client Platform Firmware Profile, 10.4.1): what is measured.
    pub fn measured_bytes(&self) -> Vec<u8> {
        let name: Vec<u8> = self.name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let chars = self.name.encode_utf16().count() as u64;
        let lengths = [chars, self.data.len() as u64].map(u64::to_le_bytes).concat();
        [&self.guid.0[..], &lengths, &name, &self.data].concat()
    }
}

/// The variables that are measured, in order, as the firmware will have them. One that has Secure Boot makes
/// `SecureBoot`, which is on if there is a platform key and the user has not switched it off; one that has not
/// knows no such variable. `None` if `volume` holds no variable store.
pub fn secure_boot_variables(volume: &[u8], has_secure_boot: bool) -> Option<Vec<SecureBootVariable>> {
    let stored = variables(volume)?;
    let find = |name: &'static str, guid: Guid| {
        let found = stored.iter().rev().find(|v| v.guid == guid && v.is_named(name));
        SecureBootVariable { name, guid, data: found.map_or(Vec::new(), |v| v.data.to_vec()) }
    };
    let pk = find("PK", GLOBAL);
    let on = !pk.data.is_empty() && find("SecureBootEnable", ENABLE).data != [0];
    let data = if has_secure_boot { vec![u8::from(on)] } else { Vec::new() };
    let on = SecureBootVariable { name: "SecureBoot", guid: GLOBAL, data };
    let mut all = vec![on, pk, find("KEK", GLOBAL), find("db", SECURITY), find("dbx", SECURITY)];
    // Time stamps' certificates are measured only where they are.
    all.extend(Some(find("dbt", SECURITY)).filter(|dbt| !dbt.data.is_empty()));
    Some(all)
}

/// Whether these say that Secure Boot is on.
pub(super) fn is_secure(variables: &[SecureBootVariable]) -> bool {
    variables.iter().any(|v| v.name == "SecureBoot" && v.data == [1])
}

struct Stored<'a> {
    guid: Guid,
    name: &'a [u8],
    data: &'a [u8],
}

impl Stored<'_> {
    fn is_named(&self, name: &str) -> bool {
        let mut wanted: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        wanted.extend([0, 0]);
        self.name == wanted
    }
}

/// The variables that count, oldest first.
fn variables(volume: &[u8]) -> Option<Vec<Stored<'_>>> {
    let (at, signature) = VOLUME_SIGNATURE;
    if bytes_at(volume, at) != Some(signature) {
        return None;
    }
    let store = volume.get(usize::from(u16_at(volume, VOLUME_HEADER_LENGTH)?)..)?;
    if Guid::at(store, 0) != Some(STORE) {
        return None;
    }
    let size = u32_at(store, 16)? as usize;
    let store = store.get(..size)?;
    let mut all = Vec::new();
    let mut at = STORE_HEADER;
    while all.len() < MAX_VARIABLES && u16_at(store, at) == Some(START) {
        let field = |n: usize| u32_at(store, at.saturating_add(n)).map(|n| n as usize);
        let [state] = bytes_at(store, at.saturating_add(2))?;
        let (name_len, data_len) = field(36).zip(field(40))?;
        let guid = Guid::at(store, at.saturating_add(44))?;
        let name_at = at.saturating_add(HEADER);
        let data_at = name_at.saturating_add(name_len);
        let end = data_at.saturating_add(data_len);
        let (name, data) = (store.get(name_at..data_at)?, store.get(data_at..end)?);
        if matches!(state, ADDED | IN_DELETION) {
            all.push(Stored { guid, name, data });
        }
        // Each header is aligned, and longer than nothing: this ends.
        at = end.checked_next_multiple_of(4)?;
    }
    Some(all)
}
