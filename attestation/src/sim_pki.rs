//! The certificates of Cloister's simulated secure processor, and what its reports say.
//!
//! The private key of the VCEK is public (`sim-pki/README.md`). Evidence that chains to this root
//! proves nothing, and is refused unless a policy says `allow-sim = true`.

/// The simulated root, DER.
pub const ARK_DER: &[u8] = include_bytes!("../sim-pki/ark.der");
/// The simulated intermediate, DER.
pub const ASK_DER: &[u8] = include_bytes!("../sim-pki/ask.der");
/// The simulated chip key's certificate, DER.
pub const VCEK_DER: &[u8] = include_bytes!("../sim-pki/vcek.der");
/// The simulated chip key, PKCS#8 PEM. Public by design.
pub const VCEK_KEY_PEM: &str = include_str!("../sim-pki/vcek.key.pem");

/// productName1 in the VCEK.
pub const PRODUCT_NAME: &str = "Cloister-Sim";
/// VERSION of the reports.
pub const REPORT_VERSION: u32 = 3;
/// CPUID family, model and stepping in the reports.
pub const CPUID: [u8; 3] = [0, 0, 0];
/// CHIP_ID in the reports, hwID in the VCEK.
pub const CHIP_ID: [u8; 64] = *b"CLOISTER SIMULATED CHIP / NOT HARDWARE / PROVES NOTHING.........";
/// Every TCB field of the reports: boot loader 3, TEE 1, SNP 20, microcode 200.
pub const TCB: [u8; 8] = [3, 1, 0, 0, 0, 0, 20, 200];
