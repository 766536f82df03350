//! Values with a form of their own: sizes, the vsock device, disks, the console.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::Error as _;

/// A number of bytes: `512M`, `2G`, `1048576`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let digits = s.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &s[digits.len()..] {
            "" | "B" => 0,
            "K" | "k" | "KiB" => 10,
            "M" | "m" | "MiB" => 20,
            "G" | "g" | "GiB" => 30,
            "T" | "t" | "TiB" => 40,
            unit => return Err(format!("unknown unit `{unit}` in `{s}`; K, M, G and T are known")),
        };
        let number: u64 =
            digits.parse().map_err(|_| format!("`{s}` is not a size; write it like 512M or 2G"))?;
        number.checked_mul(1 << shift).map(Size).ok_or_else(|| format!("`{s}` is more than 2^64 bytes"))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// The vsock device: `cid=3,path=vm.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct VsockSpec {
    /// The guest's context id: 3 or more.
    pub(crate) cid: u32,
    /// The Unix socket for connections from the host; `PATH_P` serves the guest's connections to port P.
    pub(crate) path: PathBuf,
}

impl FromStr for VsockSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (mut cid, mut path) = (None, None);
        for part in s.split(',') {
            let (key, value) =
                part.split_once('=').ok_or_else(|| format!("`{part}` is not of the form key=value"))?;
            let twice = match key {
                "cid" => cid
                    .replace(value.parse().map_err(|_| format!("cid `{value}` is not a number"))?)
                    .is_some(),
                "path" => path.replace(PathBuf::from(value)).is_some(),
                _ => return Err(format!("unknown key `{key}`; cid and path are known")),
            };
            if twice {
                return Err(format!("`{key}` is given twice"));
            }
        }
        Ok(VsockSpec { cid: cid.ok_or("cid is missing")?, path: path.ok_or("path is missing")? })
    }
}

/// A disk: `path=image.raw,readonly=on`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct DiskSpec {
    /// A raw image.
    pub(crate) path: PathBuf,
    /// Whether the guest may only read it.
    #[serde(default)]
    pub(crate) readonly: bool,
}

impl FromStr for DiskSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (mut path, mut readonly) = (None, None);
        for part in s.split(',') {
            let (key, value) =
                part.split_once('=').ok_or_else(|| format!("`{part}` is not of the form key=value"))?;
            let twice = match (key, value) {
                ("path", _) => path.replace(PathBuf::from(value)).is_some(),
                ("readonly", "on") => readonly.replace(true).is_some(),
                ("readonly", "off") => readonly.replace(false).is_some(),
                ("readonly", _) => return Err(format!("readonly is on or off, not `{value}`")),
                _ => return Err(format!("unknown key `{key}`; path and readonly are known")),
            };
            if twice {
                return Err(format!("`{key}` is given twice"));
            }
        }
        let path = path.filter(|p| !p.as_os_str().is_empty()).ok_or("path is missing")?;
        Ok(DiskSpec { path, readonly: readonly.unwrap_or(false) })
    }
}

/// A file that output goes to: `file=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileSpec(pub(crate) PathBuf);

impl FromStr for FileSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.strip_prefix("file=") {
            Some(path) if !path.is_empty() => Ok(FileSpec(path.into())),
            _ => Err(format!("`{s}` is not of the form file=PATH")),
        }
    }
}

impl<'de> Deserialize<'de> for FileSpec {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// Where the guest's serial console goes: `off`, `stdio`, `file=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConsoleSpec {
    /// No serial port.
    Off,
    /// Standard input and output.
    Stdio,
    /// Output into a file, no input.
    File(PathBuf),
}

impl FromStr for ConsoleSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match (s, s.strip_prefix("file=")) {
            ("off", _) => Ok(ConsoleSpec::Off),
            ("stdio", _) => Ok(ConsoleSpec::Stdio),
            (_, Some(path)) if !path.is_empty() => Ok(ConsoleSpec::File(path.into())),
            _ => Err(format!("unknown console `{s}`; off, stdio and file=PATH are known")),
        }
    }
}

impl<'de> Deserialize<'de> for ConsoleSpec {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!("512M".parse(), Ok(Size(512 << 20)));
        assert_eq!("4096".parse(), Ok(Size(4096)));
        assert_eq!("2GiB".parse(), Ok(Size(2 << 30)));
        for bad in ["", "M", "-1", "1.5G", "12X", "99999999999T", "0x10"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn vsock() {
        let spec: VsockSpec = "cid=3,path=vm.sock".parse().unwrap();
        assert_eq!((spec.cid, spec.path), (3, "vm.sock".into()));
        for bad in ["", "cid=3", "path=x", "cid=3,path=x,cid=4", "cid=3,path=x,uid=1", "cid=x,path=x"] {
            assert!(bad.parse::<VsockSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn disks_and_files() {
        let disk: DiskSpec = "readonly=on,path=d".parse().unwrap();
        assert_eq!(disk, DiskSpec { path: "d".into(), readonly: true });
        assert!(!"path=d".parse::<DiskSpec>().unwrap().readonly);
        for bad in ["", "d", "path=", "readonly=on", "path=d,readonly=yes", "path=d,path=e", "path=d,x=1"] {
            assert!(bad.parse::<DiskSpec>().is_err(), "{bad}");
        }
        assert_eq!("file=a".parse(), Ok(FileSpec("a".into())));
        assert!("a".parse::<FileSpec>().is_err() && "file=".parse::<FileSpec>().is_err());
    }

    #[test]
    fn console() {
        assert_eq!("file=a".parse(), Ok(ConsoleSpec::File("a".into())));
        assert!("file=".parse::<ConsoleSpec>().is_err());
        assert!("tty".parse::<ConsoleSpec>().is_err());
    }
}
