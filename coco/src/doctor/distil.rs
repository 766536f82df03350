//! What the checks use of a file, and nothing else: so that a recording for a bug report gives away no more
//! than that, and a stranger's file costs no more.

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

use std::io::Read;

use flate2::read::GzDecoder;

/// No kernel's configuration is larger.
const MAX_CONFIG: u64 = 4 << 20;

/// The options of a kernel's configuration that say something here.
pub(super) const CONFIG: [&str; 15] = [
    "CONFIG_KVM",
    "CONFIG_KVM_AMD",
    "CONFIG_KVM_AMD_SEV",
    "CONFIG_CRYPTO_DEV_SP_PSP",
    "CONFIG_AMD_MEM_ENCRYPT",
    "CONFIG_KVM_INTEL",
    "CONFIG_KVM_INTEL_TDX",
    "CONFIG_INTEL_TDX_HOST",
    "CONFIG_KVM_SW_PROTECTED_VM",
    "CONFIG_KVM_GUEST_MEMFD",
    "CONFIG_KVM_PRIVATE_MEM",
    "CONFIG_KVM_GENERIC_MEMORY_ATTRIBUTES",
    "CONFIG_KVM_IOAPIC",
    "CONFIG_VHOST_VSOCK",
    "CONFIG_AMD_IOMMU",
];

/// The words of a kernel's command line that say something here. Others may be secrets.
const CMDLINE: [&str; 12] = [
    "iommu",
    "amd_iommu",
    "intel_iommu",
    "kvm",
    "kvm_amd",
    "kvm_intel",
    "ccp",
    "mem_encrypt",
    "nohibernate",
    "nosmt",
    "clearcpuid",
    "tdx_host",
];

/// The part of the file at `path` that the checks use, as text. Doing it twice changes nothing.
pub(super) fn distil(path: &str, bytes: &[u8]) -> String {
    if path == "/proc/config.gz" || path.contains("/config") {
        return config(bytes);
    }
    let text = plain(bytes);
    let lines = |keep: &dyn Fn(&str) -> bool| {
        text.lines().filter(|line| keep(line)).flat_map(|line| [line, "\n"]).collect()
    };
    match path {
        // All processors of a host are of one kind.
        "/proc/cpuinfo" => {
            text.split("\n\n").next().unwrap_or_default().lines().flat_map(|l| [l, "\n"]).collect()
        }
        "/proc/cmdline" => {
            let words: Vec<_> = text.split_whitespace().filter(|word| wanted(word)).collect();
            words.join(" ") + "\n"
        }
        "/proc/self/limits" => lines(&|l| l.starts_with("Max open files") || l.starts_with("Max locked")),
        "/proc/self/status" => lines(&|l| l.starts_with("Uid:")),
        "/proc/meminfo" => lines(&|l| l.starts_with("MemTotal:") || l.starts_with("MemAvailable:")),
        _ => text,
    }
}

/// Text whose lines end as the kernel ends them.
fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "")
}

/// Whether a word of the command line is one of those.
fn wanted(word: &str) -> bool {
    let name = word.split(['=', '.']).next().unwrap_or_default();
    CMDLINE.contains(&name)
}

/// The lines of a configuration, packed or not, about the options in [`CONFIG`].
fn config(bytes: &[u8]) -> String {
    let mut unpacked = Vec::new();
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        // What cannot be unpacked to its end is used as far as it goes.
        let _ = GzDecoder::new(bytes).take(MAX_CONFIG).read_to_end(&mut unpacked);
        &unpacked
    } else {
        bytes
    };
    let text = plain(bytes);
    let line = |line: &&str| {
        let option = line.trim_start_matches("# ").split(['=', ' ']).next().unwrap_or_default();
        CONFIG.contains(&option)
    };
    text.lines().filter(line).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn words_of_the_command_line_that_are_nobodys_business_are_dropped() {
        let line = b"root=/dev/sda1 token=s3cret iommu=pt kvm_intel.tdx=1 kvmtool=x -- nohibernate\n";
        assert_eq!(distil("/proc/cmdline", line), "iommu=pt kvm_intel.tdx=1 nohibernate\n");
    }

    #[test]
    fn a_packed_configuration_is_unpacked_and_a_broken_one_as_far_as_it_goes() {
        let text = "CONFIG_KVM=m\nCONFIG_CMDLINE=\"token=s3cret\"\n# CONFIG_KVM_INTEL_TDX is not set\n";
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(text.as_bytes()).unwrap();
        let packed = packer.finish().unwrap();
        let wanted = "CONFIG_KVM=m\n# CONFIG_KVM_INTEL_TDX is not set\n";
        assert_eq!(distil("/proc/config.gz", &packed), wanted);
        assert_eq!(distil("/boot/config-6.12", text.as_bytes()), wanted);
        assert_eq!(distil("/proc/config.gz", &packed[..12]), "");
    }
}
