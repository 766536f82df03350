use proptest::prelude::*;

use super::*;
use crate::config::coco_keys::{KEYS, Key};

fn error(text: &str) -> String {
    text.parse::<CocoSpec>().unwrap_err()
}

/// A value that the key takes, the `n`th of several.
fn value(key: &Key, n: u64) -> String {
    match key.takes {
        "on|off" => if n.is_multiple_of(2) { "on" } else { "off" }.to_owned(),
        "NUMBER" => format!("{n:#x}"),
        bytes => {
            let len: usize = bytes.split(' ').next().unwrap().parse().unwrap();
            hex::encode(vec![n as u8; len])
        }
    }
}

#[test]
fn platforms_by_name() {
    for platform in CocoPlatform::value_variants() {
        assert_eq!(platform.to_string().parse(), Ok(CocoSpec::from(*platform)));
        // clap's name for `demo`, and ours.
        assert_eq!(platform.to_possible_value().unwrap().get_name(), platform.to_string());
    }
    assert!(error("sev").contains("auto, snp, tdx, protected, sim, off"));
    assert!(error("").contains("unknown platform"));
}

#[test]
fn every_key_is_taken_by_its_platforms_and_by_no_other() {
    for key in KEYS {
        for platform in CocoPlatform::value_variants() {
            let text = format!("{platform},{}={}", key.name, value(key, 2));
            match key.of.contains(platform) {
                true => assert_ne!(text.parse::<CocoSpec>().unwrap(), (*platform).into(), "{text}"),
                false => {
                    let error = error(&text);
                    assert!(error.contains(key.name) && error.contains(&platform.to_string()), "{error}");
                    assert_eq!(error.lines().count(), 1, "{error}");
                }
            }
        }
    }
}

#[test]
fn no_two_keys_say_the_same() {
    for (n, key) in KEYS.iter().enumerate() {
        let spec = |key: &Key| format!("{},{}={}", key.of[0], key.name, value(key, 2)).parse::<CocoSpec>();
        for other in &KEYS[n + 1..] {
            assert_ne!(spec(key), spec(other), "{} and {}", key.name, other.name);
        }
    }
}

#[test]
fn mistakes_name_the_key_and_what_it_takes() {
    for key in KEYS {
        let platform = key.of[0];
        let (name, good) = (key.name, value(key, 2));
        let twice = error(&format!("{platform},{name}={good},{name}={good}"));
        assert!(twice.contains(name) && twice.contains("given twice"), "{twice}");
        for bad in ["", "maybe", "0xzz", "@"] {
            let bad = error(&format!("{platform},{name}={bad}"));
            assert!(bad.contains(name) && bad.contains(key.takes), "{bad}");
        }
        assert!(error(&format!("{platform},{name}")).contains("key=value"));
    }
    let unknown = error("snp,polcy=0x30000");
    assert!(unknown.contains("`polcy`") && unknown.contains("policy, host-data"), "{unknown}");
    assert!(error("tdx,policy=1").contains("`policy` is a key of snp, protected, sim, not of tdx"));
    assert!(error("auto,policy=1").contains("name the platform"));
    assert!(error("snp,host-data=0000").contains("3 bytes, and 32 are wanted"), "it is base64 too");
    assert!(error("tdx,mrowner=000").contains("neither hex nor base64"));
}

#[test]
fn in_a_file_it_is_a_text_or_a_table() {
    #[derive(Deserialize)]
    struct File {
        coco: CocoSpec,
    }
    let toml = |text: &str| toml::from_str::<File>(text).map(|f| f.coco).map_err(|e| e.to_string());
    let json = |text: &str| serde_json::from_str::<File>(text).map(|f| f.coco).map_err(|e| e.to_string());
    let want: CocoSpec = "snp,policy=0xb0000,vcek-disabled=on".parse().unwrap();
    assert_eq!(toml("coco = 'snp,policy=0xb0000,vcek-disabled=on'").unwrap(), want);
    for policy in ["'0xb0000'", "0xb0000", "720896"] {
        let text = format!("coco = {{ vcek-disabled = true, policy = {policy}, platform = 'snp' }}");
        assert_eq!(toml(&text).unwrap(), want);
    }
    let text = r#"{ "coco": { "platform": "snp", "policy": 720896, "vcek-disabled": true } }"#;
    assert_eq!(json(text).unwrap(), want);
    assert!(toml("coco = { policy = 1 }").unwrap_err().contains("`platform` is missing"));
    assert!(toml("coco = { platform = 'tdx', policy = 1 }").unwrap_err().contains("not of tdx"));
    assert!(toml("coco = { platform = 'snp', policy = -1 }").is_err());
    assert!(toml("coco = { platform = 'snp', policy = ['1'] }").is_err());
    let twice = r#"{ "coco": { "platform": "snp", "policy": 1, "policy": 2 } }"#;
    assert!(json(twice).unwrap_err().contains("given twice"));
    let twice = r#"{ "coco": { "platform": "snp", "platform": "tdx" } }"#;
    assert!(json(twice).unwrap_err().contains("given twice"));
}

proptest! {
    /// Whatever is said says the same as flags, as TOML and as JSON, in any order.
    #[test]
    fn one_meaning_in_three_forms(
        platform in prop::sample::select(CocoPlatform::value_variants()),
        values in prop::collection::vec(prop::option::of(0u64..1 << 40), KEYS.len()),
        order in any::<prop::sample::Index>(),
    ) {
        let mut pairs: Vec<_> = KEYS
            .iter()
            .zip(values)
            .filter(|(key, _)| key.of.contains(&platform))
            .filter_map(|(key, n)| Some((key.name, value(key, n?))))
            .collect();
        let text: String = pairs.iter().map(|(key, value)| format!(",{key}={value}")).collect();
        let flags: CocoSpec = format!("{platform}{text}").parse().unwrap();
        let set = [flags == CocoSpec::from(platform), pairs.is_empty()];
        prop_assert_eq!(set[0], set[1], "nothing is lost");

        if !pairs.is_empty() {
            let middle = order.index(pairs.len());
            pairs.rotate_left(middle);
        }
        let name = platform.to_string();
        let map: serde_json::Map<_, _> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_str().into()))
            .chain([("platform".to_owned(), name.into())])
            .collect();
        let json: CocoSpec = serde_json::from_value(map.clone().into()).unwrap();
        prop_assert_eq!(&json, &flags);
        let toml: CocoSpec = toml::from_str(&toml::to_string(&map).unwrap()).unwrap();
        prop_assert_eq!(&toml, &flags);
    }

    /// No text makes the parser fail in another way than by saying so.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        let _ = text.parse::<CocoSpec>();
        let _ = format!("snp,{text}").parse::<CocoSpec>();
    }
}
