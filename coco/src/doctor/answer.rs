//! What a host answered when it was asked something that is not a file: in words that can be recorded.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

/// The answer to one question: a value, the kernel's refusal, or nothing because nobody asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// What was answered.
    Value(T),
    /// The kernel refused, with this errno.
    Errno(i32),
    /// The question was not asked, or what was said is not in the recording.
    #[default]
    NotAsked,
}

impl<T> Answer<T> {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Answer::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The same answer about something made of the value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Answer::Value(value) => Answer::Value(f(value)),
            Answer::Errno(errno) => Answer::Errno(errno),
            Answer::NotAsked => Answer::NotAsked,
        }
    }

    /// Borrows the value.
    pub fn as_ref(&self) -> Answer<&T> {
        match self {
            Answer::Value(value) => Answer::Value(value),
            Answer::Errno(errno) => Answer::Errno(*errno),
            Answer::NotAsked => Answer::NotAsked,
        }
    }

    /// Whether the kernel said that there is no such thing.
    pub fn is_absent(&self) -> bool {
        matches!(self, Answer::Errno(libc::ENOENT | libc::ENXIO | libc::ENODEV))
    }

    /// Why there is no value, in words.
    pub fn why_not(&self) -> String {
        match self {
            Answer::Value(_) => String::new(),
            Answer::Errno(errno) => {
                let text = io::Error::from_raw_os_error(*errno).to_string();
                // Without the number in parentheses that the standard library puts behind it.
                text.split(" (os error").next().unwrap_or_default().to_owned()
            }
            Answer::NotAsked => "it is not in the recording".to_owned(),
        }
    }
}

impl<T> From<io::Result<T>> for Answer<T> {
    fn from(result: io::Result<T>) -> Self {
        match result {
            Ok(value) => Answer::Value(value),
            Err(error) => Answer::Errno(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

/// Everything that was asked by other means than reading a file. Stored as `answers.json` in a recording.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answers {
    /// Version of this format; [`Answers::FORMAT`].
    pub format: u32,
    /// Where the recording comes from: a machine, or somebody's imagination.
    pub origin: String,
    /// CPUID, by leaf (`0x8000001f`, or `0x7.0` with a subleaf): EAX, EBX, ECX and EDX in hex.
    pub cpuid: BTreeMap<String, [String; 4]>,
    /// Model-specific registers of CPU 0, by number in hex, values in hex.
    pub msrs: Answer<BTreeMap<String, String>>,
    /// Lines of the kernel's log that are about confidential guests.
    pub kernel_log: Answer<Vec<String>>,
    /// Device nodes, by path.
    pub nodes: BTreeMap<String, Answer<Node>>,
    /// `/dev/kvm`.
    pub kvm: Answer<Kvm>,
    /// `struct sev_user_data_snp_status` as the secure processor gave it, in hex.
    pub snp_platform_status: Answer<String>,
    /// The quote service.
    pub quote_service: Option<QuoteService>,
    /// Firmware images in the usual places, by path.
    pub firmware: BTreeMap<String, Image>,
    /// Files that could not be read, and why (errno). A file neither there nor here is absent.
    pub unreadable: BTreeMap<String, i32>,
}

impl Answers {
    /// The version of the format that this code writes, and the only one that it reads.
    pub const FORMAT: u32 = 1;

    /// A leaf of CPUID, if it was recorded and is well formed.
    pub fn leaf(&self, leaf: &str) -> Option<[u32; 4]> {
        let [a, b, c, d] = self.cpuid.get(leaf)?;
        Some([hex32(a)?, hex32(b)?, hex32(c)?, hex32(d)?])
    }

    /// A model-specific register.
    pub fn msr(&self, number: u32) -> Answer<u64> {
        match &self.msrs {
            Answer::Value(msrs) => match msrs.get(&format!("{number:#x}")).and_then(|v| hex64(v)) {
                Some(value) => Answer::Value(value),
                // This CPU has no such register.
                None => Answer::Errno(libc::EIO),
            },
            Answer::Errno(errno) => Answer::Errno(*errno),
            Answer::NotAsked => Answer::NotAsked,
        }
    }
}

fn hex32(text: &str) -> Option<u32> {
    hex64(text).and_then(|v| u32::try_from(v).ok())
}

fn hex64(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Permission bits, in octal (`0660`).
    pub mode: String,
    /// Owner.
    pub owner: String,
    /// Group.
    pub group: String,
    /// Whether this process could open it for reading and writing.
    pub open: Answer<bool>,
}

/// What `/dev/kvm` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kvm {
    /// KVM_GET_API_VERSION.
    pub api: i32,
    /// KVM_CHECK_EXTENSION on `/dev/kvm`, by the names in [`CAPABILITIES`].
    pub system: BTreeMap<String, i32>,
    /// For each type of VM that it offers: the same asked on a VM of that type, or why none could be made.
    pub vms: BTreeMap<String, Answer<BTreeMap<String, i32>>>,
    /// KVM_GET_DEVICE_ATTR on `/dev/kvm`, group 1 (SEV), by attribute number, in hex.
    pub sev_attributes: BTreeMap<String, Answer<String>>,
    /// KVM_TDX_CAPABILITIES on a VM of type `tdx`.
    pub tdx_capabilities: Answer<TdxCapabilities>,
}

/// What KVM and the TDX module offer a TD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxCapabilities {
    /// ATTRIBUTES bits that may be set, in hex.
    pub attributes: String,
    /// XFAM bits that may be set, in hex.
    pub xfam: String,
    /// How many leaves of CPUID can be configured.
    pub cpuid_leaves: usize,
}

impl Kvm {
    /// One of the SEV attributes.
    pub fn sev_attribute(&self, attribute: u64) -> Answer<u64> {
        let answer = self.sev_attributes.get(&attribute.to_string()).cloned().unwrap_or_default();
        match answer {
            Answer::Value(text) => hex64(&text).map_or(Answer::NotAsked, Answer::Value),
            Answer::Errno(errno) => Answer::Errno(errno),
            Answer::NotAsked => Answer::NotAsked,
        }
    }
}

/// The capabilities that are asked about: name and number (include/uapi/linux/kvm.h).
pub(super) const CAPABILITIES: [(&str, u64); 13] = [
    ("max_vcpus", 66),
    ("split_irqchip", 121),
    ("x2apic_api", 129),
    ("exit_hypercall", 201),
    ("vm_gpa_bits", 207),
    ("sys_attributes", 209),
    ("user_memory2", 231),
    ("memory_fault_info", 232),
    ("memory_attributes", 233),
    ("guest_memfd", 234),
    ("vm_types", 235),
    ("pre_fault_memory", 236),
    ("guest_memfd_flags", 244),
];

/// The types of VM: name and argument of KVM_CREATE_VM (arch/x86/include/uapi/asm/kvm.h).
pub(super) const VM_TYPES: [(&str, u32); 4] = [("default", 0), ("protected", 1), ("snp", 4), ("tdx", 5)];

/// Whether a quote service answers the door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuoteService {
    /// `unix:PATH` or `vsock:CID:PORT`.
    pub address: String,
    /// Whether a connection was taken.
    pub connect: Answer<bool>,
}

/// A firmware image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Bytes.
    pub size: u64,
    /// It says where the pages of an SNP guest go.
    pub snp: bool,
    /// It has a place for the hashes of a kernel that it is handed.
    pub kernel_hashes: bool,
    /// It says where the sections of a TD go.
    pub tdx: bool,
}
