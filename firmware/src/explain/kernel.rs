//! What else a direct boot's hashes could have been made from.

use sha2::{Digest, Sha256};

use crate::linux::{Blob, KernelHashes};

/// What a direct boot was to consist of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelInputs {
    /// The kernel.
    pub kernel: Blob,
    /// The initrd, if one was given.
    pub initrd: Option<Blob>,
    /// The command line, without its NUL.
    pub cmdline: String,
}

/// One way in which the hashes could have been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelVariant {
    /// The hashes; `None` if there are none in the launch.
    pub hashes: Option<KernelHashes>,
    /// How this differs from what was given; empty for what was given.
    pub differences: Vec<String>,
}

impl KernelInputs {
    /// The hashes of what was given.
    pub fn hashes(&self) -> KernelHashes {
        KernelHashes::new(&self.kernel, self.initrd.as_ref(), &self.cmdline)
    }
}

/// All variants of `given`, what was given first, each with other hashes than those before it.
pub(super) fn variants(given: Option<&KernelInputs>) -> Vec<KernelVariant> {
    let none = |differences| KernelVariant { hashes: None, differences };
    let Some(given) = given else { return vec![none(Vec::new())] };
    let mut all: Vec<KernelVariant> = Vec::new();
    let initrds = [(given.initrd, None), (None, Some("no initrd"))];
    for (initrd, without) in initrds {
        for (bytes, how) in cmdlines(&given.cmdline) {
            let hashes = KernelHashes {
                cmdline: Sha256::digest(bytes).into(),
                ..KernelHashes::new(&given.kernel, initrd.as_ref(), "")
            };
            if all.iter().all(|v| v.hashes != Some(hashes)) {
                let differences = without.into_iter().chain(how).map(str::to_owned).collect();
                all.push(KernelVariant { hashes: Some(hashes), differences });
            }
        }
    }
    all.push(none(vec!["no kernel hashes in the launch".to_owned()]));
    all
}

/// The bytes that could have been hashed for a command line, and how they differ from what is right.
fn cmdlines(cmdline: &str) -> Vec<(Vec<u8>, Option<&'static str>)> {
    let text = |text: &str, how| ([text.as_bytes(), &[0]].concat(), Some(how));
    vec![
        ([cmdline.as_bytes(), &[0]].concat(), None),
        text(&format!("{cmdline}\n"), "a newline at the end of the command line"),
        text(cmdline.trim_end_matches(['\n', '\r']), "no newline at the end of the command line"),
        text(cmdline.trim(), "no white space around the command line"),
        text(&format!("{cmdline} "), "a space at the end of the command line"),
        text(&format!("{cmdline}\0"), "a second NUL behind the command line"),
        (cmdline.as_bytes().to_vec(), Some("no NUL behind the command line")),
        (format!("{cmdline}\n").into_bytes(), Some("a newline instead of the NUL behind the command line")),
        text("", "an empty command line"),
        (Vec::new(), Some("no command line, not even a NUL")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_comes_first_and_nothing_twice() {
        let blob = |n| Blob { len: 1, sha256: [n; 32] };
        let given = KernelInputs { kernel: blob(1), initrd: Some(blob(2)), cmdline: "quiet\n".into() };
        let all = variants(Some(&given));
        assert_eq!(all[0], KernelVariant { hashes: Some(given.hashes()), differences: vec![] });
        assert_eq!(all.last().unwrap().hashes, None);
        for (n, v) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| other.hashes != v.hashes), "{v:?}");
        }
        let wanted = KernelHashes::new(&blob(1), None, "quiet");
        let found = all.iter().find(|v| v.hashes == Some(wanted)).unwrap();
        assert_eq!(found.differences, ["no initrd", "no newline at the end of the command line"]);
    }

    #[test]
    fn without_a_kernel_there_is_one_way() {
        assert_eq!(variants(None), [KernelVariant { hashes: None, differences: vec![] }]);
    }
}
