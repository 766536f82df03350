//! The keys of each platform. Names and meanings are those of QEMU's objects `sev-snp-guest` and
//! `tdx-guest` (its qapi/qom.json), where those have them.

use super::number::{number, switch};
use super::{BlobSpec, CocoPlatform, CocoSpec};

/// Keys of an SNP guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SnpKeys {
    /// Guest policy (SEV-SNP firmware ABI, table 9).
    pub(crate) policy: Option<u64>,
    /// HOST_DATA.
    pub(crate) host_data: Option<BlobSpec<32>>,
    /// ID block.
    pub(crate) id_block: Option<BlobSpec<96>>,
    /// The page with its signatures and keys.
    pub(crate) id_auth: Option<BlobSpec<4096>>,
    /// That page has an author key.
    pub(crate) author_key_enabled: Option<bool>,
    /// No reports signed by the chip's key.
    pub(crate) vcek_disabled: Option<bool>,
    /// SEV features of the VMSA.
    pub(crate) vmsa_features: Option<u64>,
    /// Feature bit 5.
    pub(crate) debug_swap: Option<bool>,
    /// Feature bit 9.
    pub(crate) secure_tsc: Option<bool>,
}

/// Keys of a TD.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TdxKeys {
    /// ATTRIBUTES.
    pub(crate) attributes: Option<u64>,
    /// Attribute bit 28.
    pub(crate) sept_ve_disable: Option<bool>,
    /// Extended features that the TD may use.
    pub(crate) xfam: Option<u64>,
    /// MRCONFIGID.
    pub(crate) mrconfigid: Option<BlobSpec<48>>,
    /// MROWNER.
    pub(crate) mrowner: Option<BlobSpec<48>>,
    /// MROWNERCONFIG.
    pub(crate) mrownerconfig: Option<BlobSpec<48>>,
}

/// A key, where it belongs, and what it does.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What it takes, for people.
    pub(super) takes: &'static str,
    pub(super) of: &'static [CocoPlatform],
    /// What it does [and its default].
    about: &'static str,
    set: fn(&mut CocoSpec, &str) -> Result<(), String>,
}

/// The simulator is SNP's: it knows the same keys.
const SNP: &[CocoPlatform] = &[CocoPlatform::Snp, CocoPlatform::Protected, CocoPlatform::Sim];
const TDX: &[CocoPlatform] = &[CocoPlatform::Tdx];
const OFF: &[CocoPlatform] = &[CocoPlatform::Off];
const SNP_AND_TDX: &[CocoPlatform] =
    &[CocoPlatform::Snp, CocoPlatform::Protected, CocoPlatform::Sim, CocoPlatform::Tdx];

const SWITCH: &str = "on|off";
const NUMBER: &str = "NUMBER";
/// Bytes are in hex or base64, or in a file.
const BYTES_32: &str = "32 BYTES|@FILE";
const BYTES_48: &str = "48 BYTES|@FILE";
const BYTES_96: &str = "96 BYTES|@FILE";
const BYTES_4096: &str = "4096 BYTES|@FILE";

/// All keys.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "policy", takes: NUMBER, of: SNP, set: |s, v| put(&mut s.snp.policy, number(v)),
        about: "guest policy [0x30000: SMT allowed, no debugging]",
    },
    Key {
        name: "host-data", takes: BYTES_32, of: SNP, set: |s, v| put(&mut s.snp.host_data, v.parse()),
        about: "HOST_DATA of reports",
    },
    Key {
        name: "id-block", takes: BYTES_96, of: SNP, set: |s, v| put(&mut s.snp.id_block, v.parse()),
        about: "ID block: the digest and the policy that the guest's owner signed",
    },
    Key {
        name: "id-auth", takes: BYTES_4096, of: SNP, set: |s, v| put(&mut s.snp.id_auth, v.parse()),
        about: "signatures and keys of the ID block",
    },
    Key {
        name: "author-key-enabled", takes: SWITCH, of: SNP,
        set: |s, v| put(&mut s.snp.author_key_enabled, switch(v)),
        about: "id-auth has an author key [off]",
    },
    Key {
        name: "vcek-disabled", takes: SWITCH, of: SNP, set: |s, v| put(&mut s.snp.vcek_disabled, switch(v)),
        about: "reports are signed by the VLEK only [off]",
    },
    Key {
        name: "vmsa-features", takes: NUMBER, of: SNP, set: |s, v| put(&mut s.snp.vmsa_features, number(v)),
        about: "SEV features of every vCPU, measured [0x1]",
    },
    Key {
        name: "debug-swap", takes: SWITCH, of: SNP, set: |s, v| put(&mut s.snp.debug_swap, switch(v)),
        about: "feature bit 5 [off]",
    },
    Key {
        name: "secure-tsc", takes: SWITCH, of: SNP, set: |s, v| put(&mut s.snp.secure_tsc, switch(v)),
        about: "feature bit 9 [off]",
    },
    Key {
        name: "attributes", takes: NUMBER, of: TDX, set: |s, v| put(&mut s.tdx.attributes, number(v)),
        about: "ATTRIBUTES [0x10000000]",
    },
    Key {
        name: "sept-ve-disable", takes: SWITCH, of: TDX,
        set: |s, v| put(&mut s.tdx.sept_ve_disable, switch(v)),
        about: "attribute bit 28, which Linux asks for [on]",
    },
    Key {
        name: "xfam", takes: NUMBER, of: TDX, set: |s, v| put(&mut s.tdx.xfam, number(v)),
        about: "extended features [all that this host has]",
    },
    Key {
        name: "mrconfigid", takes: BYTES_48, of: TDX, set: |s, v| put(&mut s.tdx.mrconfigid, v.parse()),
        about: "MRCONFIGID of quotes",
    },
    Key {
        name: "mrowner", takes: BYTES_48, of: TDX, set: |s, v| put(&mut s.tdx.mrowner, v.parse()),
        about: "MROWNER of quotes",
    },
    Key {
        name: "mrownerconfig", takes: BYTES_48, of: TDX, set: |s, v| put(&mut s.tdx.mrownerconfig, v.parse()),
        about: "MROWNERCONFIG of quotes",
    },
    Key {
        name: "debug", takes: SWITCH, of: SNP_AND_TDX, set: |s, v| put(&mut s.debug, switch(v)),
        about: "the host may read the guest's memory, and reports say so; KVM allows no TD that [off]",
    },
    Key {
        name: "guest-memfd", takes: SWITCH, of: OFF, set: |s, v| put(&mut s.guest_memfd, switch(v)),
        about: "memory from guest_memfd [off]",
    },
];

fn put<T>(to: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    match to.replace(value?) {
        None => Ok(()),
        Some(_) => Err("it is given twice".to_owned()),
    }
}

/// Sets one key of the platform that `spec` names.
pub(super) fn set(spec: &mut CocoSpec, name: &str, value: &str) -> Result<(), String> {
    let platform = spec.platform;
    let Some(key) = KEYS.iter().find(|key| key.name == name) else {
        return Err(format!("unknown key `{name}`; {}", known(platform)));
    };
    if !key.of.contains(&platform) {
        let of: Vec<_> = key.of.iter().map(CocoPlatform::to_string).collect();
        return Err(format!(
            "`{name}` is a key of {}, not of {platform}; {}",
            of.join(", "),
            known(platform)
        ));
    }
    (key.set)(spec, value).map_err(|why| format!("{name}: {why} ({name}={})", key.takes))
}

/// The keys of a platform, for people.
fn known(platform: CocoPlatform) -> String {
    let names: Vec<_> = KEYS.iter().filter(|k| k.of.contains(&platform)).map(|k| k.name).collect();
    match (platform, names.as_slice()) {
        (CocoPlatform::Auto, _) => {
            "auto takes none: name the platform that they are for, such as --coco snp,policy=0x30000"
                .to_owned()
        }
        (_, [name]) => format!("{platform} takes {name}"),
        (_, names) => format!("{platform} takes {}", names.join(", ")),
    }
}

/// All keys by platform, for `--help`.
pub(super) fn help() -> String {
    let mut text =
        "What to launch the guest on: auto (the default: the best that host and guest allow), snp, \
                    tdx, protected, sim, off; and keys of that platform, comma-separated. In a file, a table \
                    with `platform` and the keys.\n"
            .to_owned();
    for (title, platform) in
        [("snp, sim, protected", CocoPlatform::Snp), ("tdx", CocoPlatform::Tdx), ("off", CocoPlatform::Off)]
    {
        text.push_str(&format!("\n{title}:"));
        for key in KEYS.iter().filter(|k| k.of.contains(&platform)) {
            text.push_str(&format!("\n  {}=<{}>  {}", key.name, key.takes, key.about));
        }
        text.push('\n');
    }
    text
}
