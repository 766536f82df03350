//! Numbers and switches as operators write them.

use serde::Deserialize;

/// A number of 64 bits, decimal or with `0x`.
pub(crate) fn number(s: &str) -> Result<u64, String> {
    match s.strip_prefix("0x").or_else(|| s.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => s.parse(),
    }
    .map_err(|_| format!("`{s}` is not a number of 64 bits; write it like 0x30000"))
}

/// `on` or `off`.
pub(crate) fn switch(s: &str) -> Result<bool, String> {
    match s {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(format!("it is on or off, not `{s}`")),
    }
}

/// A value in a file: as it would be written on the command line, or of the file's own kinds.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Switch(bool),
    Number(u64),
    Text(String),
}

impl Scalar {
    /// As it is written on the command line.
    pub(super) fn into_text(self) -> String {
        match self {
            Scalar::Switch(on) => if on { "on" } else { "off" }.to_owned(),
            Scalar::Number(n) => n.to_string(),
            Scalar::Text(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_and_hex() {
        assert_eq!(number("0x30000"), Ok(0x30000));
        assert_eq!(number("196608"), Ok(0x30000));
        assert_eq!(number("0xffffffffffffffff"), Ok(u64::MAX));
        for bad in ["", "0x", "-1", "30000h", "0x1_0", "18446744073709551616"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn switches() {
        assert_eq!((switch("on"), switch("off")), (Ok(true), Ok(false)));
        assert!(switch("yes").is_err() && switch("").is_err());
    }
}
