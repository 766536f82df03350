//! Bytes that an operator gives: in hex, in base64, or in a file.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64ct::{Base64, Encoding};

use crate::refusal::Refusal;

/// `N` bytes: as hex or base64 (as QEMU and libvirt take them), or `@FILE` with either, or with the bytes
/// themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BlobSpec<const N: usize> {
    /// Given on the spot; `N` of them.
    Bytes(Vec<u8>),
    /// In a file, which is read when the guest is planned.
    File(PathBuf),
}

impl<const N: usize> FromStr for BlobSpec<N> {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.strip_prefix('@') {
            Some("") => Err("a file name is missing after the @".to_owned()),
            Some(path) => Ok(BlobSpec::File(path.into())),
            None => decode(s, N).map(BlobSpec::Bytes),
        }
    }
}

impl<const N: usize> BlobSpec<N> {
    /// The bytes. `key` is what the operator calls them.
    pub(crate) fn load(&self, key: &str) -> Result<[u8; N], Refusal> {
        let bytes = match self {
            BlobSpec::Bytes(bytes) => bytes.clone(),
            BlobSpec::File(path) => read(path, key, N)?,
        };
        bytes.try_into().map_err(|bytes: Vec<u8>| wrong(key, wrong_length(bytes.len(), N), N))
    }
}

/// A file with the bytes themselves, or with their text.
fn read(path: &Path, key: &str, wanted: usize) -> Result<Vec<u8>, Refusal> {
    use std::io::Read;
    let refuse = |why: &dyn std::fmt::Display| wrong(key, format!("{}: {why}", path.display()), wanted);
    // Text in hex is the longest form; whoever wraps its lines adds a little.
    let most = wanted.saturating_mul(2).saturating_add(4096) as u64;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| refuse(&e))?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| refuse(&e))?;
    if bytes.len() == wanted {
        return Ok(bytes);
    }
    if bytes.len() as u64 > most {
        return Err(refuse(&format_args!("it has more than {most} bytes")));
    }
    let text = str::from_utf8(&bytes).map_err(|_| refuse(&wrong_length(bytes.len(), wanted)))?;
    let text: String = text.split_whitespace().collect();
    decode(&text, wanted).map_err(|why| refuse(&why))
}

/// Hex or base64: for these lengths no text is both.
fn decode(text: &str, wanted: usize) -> Result<Vec<u8>, String> {
    if text.len() == wanted * 2
        && let Ok(bytes) = hex::decode(text)
    {
        return Ok(bytes);
    }
    let bytes = Base64::decode_vec(text)
        .or_else(|_| hex::decode(text))
        .map_err(|_| format!("it is neither hex nor base64, and {wanted} bytes in one of them are wanted"))?;
    if bytes.len() == wanted { Ok(bytes) } else { Err(wrong_length(bytes.len(), wanted)) }
}

fn wrong_length(found: usize, wanted: usize) -> String {
    format!("it has {found} bytes, and {wanted} are wanted")
}

fn wrong(key: &str, why: String, wanted: usize) -> Refusal {
    Refusal::new(
        format_args!("cannot use what is given for {key}"),
        why,
        format_args!("give {wanted} bytes in hex or base64, or {key}=@FILE"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<[u8; 32], String> {
        text.parse::<BlobSpec<32>>()?.load("host-data").map_err(|r| r.to_string())
    }

    #[test]
    fn hex_base64_and_files_say_the_same() {
        let bytes = [0xabu8; 32];
        let (hex, base64) = (hex::encode(bytes), Base64::encode_string(&bytes));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        assert_eq!(load(&hex), Ok(bytes));
        assert_eq!(load(&hex.to_uppercase()), Ok(bytes));
        assert_eq!(load(&base64), Ok(bytes));
        let wrapped = format!("{}\n{}\n", &base64[..20], &base64[20..]);
        for content in [&bytes[..], hex.as_bytes(), base64.as_bytes(), wrapped.as_bytes()] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(load(&format!("@{}", path.display())), Ok(bytes));
        }
    }

    #[test]
    fn other_lengths_and_other_text_are_refused() {
        let short = Base64::encode_string(&[0; 31]);
        assert!(load(&short).unwrap_err().contains("it has 31 bytes, and 32 are wanted"));
        assert!(load(&"0".repeat(66)).unwrap_err().contains("and 32 are wanted"));
        assert!(load("").unwrap_err().contains("it has 0 bytes"));
        assert!(load("hello!").unwrap_err().contains("neither hex nor base64"));
        assert!(load("@").unwrap_err().contains("file name"));
    }

    #[test]
    fn a_file_that_will_not_do_is_told_in_three_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let refused = || {
            let text = load(&format!("@{}", path.display())).unwrap_err();
            assert_eq!(text.lines().count(), 3, "{text}");
            assert!(text.contains("host-data") && text.contains("blob"), "{text}");
            text
        };
        assert!(refused().contains("No such file"));
        std::fs::write(&path, [0xff; 33]).unwrap();
        assert!(refused().contains("it has 33 bytes, and 32 are wanted"));
        std::fs::write(&path, vec![0; 1 << 20]).unwrap();
        assert!(refused().contains("it has more than"));
    }
}
