use cloister_firmware::identity::IdKey;

use super::*;
use crate::cli::run::test_files::ID_KEY;

fn of(text: &str) -> Result<Identity, String> {
    identity(&text.parse().unwrap()).map_err(|refusal| {
        let text = refusal.to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
        text
    })
}

#[test]
fn nothing_said_is_the_default() {
    for platform in ["auto", "snp", "tdx", "sim", "protected", "off", "off,guest-memfd=on"] {
        assert_eq!(of(platform), Ok(Identity::default()), "{platform}");
    }
}

#[test]
fn what_is_said_of_snp_arrives() {
    let host_data = "ab".repeat(32);
    let text = format!("policy=0x130000,host-data={host_data},vcek-disabled=on,vmsa-features=0x21");
    let want = Identity {
        policy: 0x130000,
        host_data: [0xab; 32],
        vcek_disabled: true,
        vmsa_features: 0x20,
        ..Identity::default()
    };
    for platform in ["snp", "sim", "protected"] {
        assert_eq!(of(&format!("{platform},{text}")), Ok(want.clone()));
    }
}

#[test]
fn what_is_said_of_a_td_arrives() {
    let [a, b, c] = ["01", "02", "03"].map(|byte| byte.repeat(48));
    let text = format!("tdx,attributes=0x40000000,xfam=0x7,mrconfigid={a},mrowner={b},mrownerconfig={c}");
    let tdx = TdIdentity {
        attributes: 1 << 30,
        xfam: Some(7),
        mrconfigid: [1; 48],
        mrowner: [2; 48],
        mrownerconfig: [3; 48],
    };
    assert_eq!(of(&text), Ok(Identity { tdx, ..Identity::default() }));
}

#[test]
fn switches_change_their_bit_of_the_number() {
    let policy = |text: &str| of(text).unwrap().policy;
    assert_eq!(policy("snp,debug=on"), 0xb0000);
    assert_eq!(policy("snp,policy=0xb0000,debug=off"), 0x30000);
    assert_eq!(policy("snp,policy=0xb0000"), 0xb0000);
    let features = |text: &str| of(text).unwrap().vmsa_features;
    assert_eq!(features("snp,debug-swap=on,secure-tsc=on"), 0x220);
    assert_eq!(features("snp,vmsa-features=0x21,debug-swap=off"), 0);
    let attributes = |text: &str| of(text).unwrap().tdx.attributes;
    assert_eq!(attributes("tdx,sept-ve-disable=off"), 0);
    assert_eq!(attributes("tdx,attributes=0,sept-ve-disable=on"), 1 << 28);
}

#[test]
fn what_no_platform_takes_is_refused() {
    for (text, why) in [
        ("snp,policy=0x10000", "bit 17 is clear"),
        ("snp,policy=0", "policy=0x20000"),
        ("snp,policy=0x4030000", "bits 26 to 63"),
        ("sim,policy=0x30000,debug=on,vmsa-features=2", "bit 5 (debug swap)"),
        ("tdx,debug=on", "may be debugged"),
        ("tdx,attributes=1", "may be debugged"),
    ] {
        let refused = of(text).unwrap_err();
        assert!(refused.contains(why), "{text}: {refused}");
    }
    // Bit 18, the migration agent.
    let refused = of("snp,policy=0x60000").unwrap_err();
    assert!(refused.contains("bit 18") && refused.contains("policy=0x20000"), "{refused}");
    assert!(of("tdx,attributes=1,debug=off").is_ok());
}

/// Files with an ID block for `digest` and `policy`, and a page with an author key or without.
struct Signed(tempfile::TempDir);

impl Signed {
    fn new(digest: u8, policy: u64, author: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let block = IdBlock {
            digest: Digest384([digest; 48]),
            family_id: [1; 16],
            image_id: [2; 16],
            guest_svn: 3,
            policy,
        };
        let key = IdKey::from_pem(ID_KEY).unwrap();
        let signed = block.sign(&key, author.then_some(&key));
        std::fs::write(dir.path().join("block"), signed.block).unwrap();
        std::fs::write(dir.path().join("auth"), &signed.auth[..]).unwrap();
        Signed(dir)
    }

    fn key(&self, key: &str, file: &str) -> String {
        format!(",{key}=@{}", self.0.path().join(file).display())
    }

    fn both(&self) -> String {
        self.key("id-block", "block") + &self.key("id-auth", "auth")
    }
}

#[test]
fn an_id_block_and_its_authentication_come_together() {
    let files = Signed::new(7, 0x30000, false);
    let id = of(&format!("snp{}", files.both())).unwrap().id.unwrap();
    assert_eq!((id.block[0], id.auth[0], id.author_key), (7, 1, false));
    let block = of(&format!("snp{}", files.key("id-block", "block"))).unwrap_err();
    assert!(block.contains("id-block without id-auth"), "{block}");
    let auth = of(&format!("snp{}", files.key("id-auth", "auth"))).unwrap_err();
    assert!(auth.contains("id-auth without id-block"), "{auth}");
    assert!(of("snp,author-key-enabled=off").unwrap_err().contains("without id-block"));
    let swapped = files.key("id-block", "auth") + &files.key("id-auth", "block");
    assert!(of(&format!("snp{swapped}")).unwrap_err().contains("cannot use what is given for id-block"));
    let zeros = format!("snp,id-block={}{}", "0".repeat(192), files.key("id-auth", "auth"));
    assert!(of(&zeros).unwrap_err().contains("version 0"));
}

#[test]
fn an_id_block_for_another_policy_says_which() {
    let files = Signed::new(7, 0xb0000, false);
    let refused = of(&format!("snp{}", files.both())).unwrap_err();
    assert!(refused.contains("0xb0000") && refused.contains("0x30000"), "{refused}");
    assert!(of(&format!("snp,policy=0xb0000{}", files.both())).is_ok());
}

#[test]
fn an_author_is_not_forgotten() {
    let with = Signed::new(7, 0x30000, true);
    let without = Signed::new(7, 0x30000, false);
    let author = |files: &Signed, more: &str| of(&format!("snp{}{more}", files.both()));
    assert!(author(&with, "").unwrap_err().contains("author-key-enabled is not given"));
    assert!(author(&with, ",author-key-enabled=on").unwrap().id.unwrap().author_key);
    assert!(!author(&with, ",author-key-enabled=off").unwrap().id.unwrap().author_key);
    assert!(author(&without, ",author-key-enabled=on").unwrap_err().contains("has no author key"));
}

#[test]
fn an_id_block_for_another_guest_names_both_digests() {
    let files = Signed::new(7, 0x30000, false);
    let identity = of(&format!("snp{}", files.both())).unwrap();
    assert_eq!(check_digest(&identity, Digest384([7; 48])), Ok(()));
    let refused = check_digest(&identity, Digest384([8; 48])).unwrap_err().to_string();
    assert!(refused.contains(&"07".repeat(48)) && refused.contains(&"08".repeat(48)), "{refused}");
    assert_eq!(check_digest(&Identity::default(), Digest384([8; 48])), Ok(()));
}

#[test]
fn a_block_that_its_key_did_not_sign_is_refused() {
    let (one, other) = (Signed::new(7, 0x30000, false), Signed::new(8, 0x30000, false));
    let mixed = one.key("id-block", "block") + &other.key("id-auth", "auth");
    let refused = of(&format!("snp{mixed}")).unwrap_err();
    assert!(refused.contains("belongs to another block"), "{refused}");
}
