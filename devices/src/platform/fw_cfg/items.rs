//! The items that a device offers, put together by the board.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use snafu::{OptionExt, Snafu, ensure};

use super::spec::{FEATURES, Key, MAX_FILES, NAME_SIZE, SIGNATURE};

/// The bytes of an item that are read when a guest asks for them.
pub trait Blob: Send {
    /// Number of bytes; always the same.
    fn size(&self) -> u32;
    /// Fills `buf` from byte `offset` on. Never asked for bytes behind the end.
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> io::Result<()>;
}

/// What an item holds.
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Bytes that are read when they are asked for.
    Blob(Box<dyn Blob>),
}

impl Content {
    /// Number of bytes; `None` for more than a guest could ask for.
    fn size(&self) -> Option<u32> {
        match self {
            Content::Bytes(bytes) => u32::try_from(bytes.len()).ok(),
            Content::Blob(blob) => Some(blob.size()),
        }
    }

    /// Fills `buf` from `offset` on; what is behind the end is zero.
    pub(super) fn read(&mut self, offset: u32, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(0);
        let left = self.size().unwrap_or(0).saturating_sub(offset);
        let there = usize::try_from(left).unwrap_or(0).min(buf.len());
        let Some(buf) = buf.get_mut(..there).filter(|b| !b.is_empty()) else { return Ok(()) };
        match self {
            Content::Bytes(bytes) => {
                let from = usize::try_from(offset).ok().and_then(|o| bytes.get(o..)).unwrap_or_default();
                buf.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                Ok(())
            }
            Content::Blob(blob) => blob.read_at(offset, buf),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} bytes", self.size())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Content::Bytes(bytes)
    }
}

impl From<Box<dyn Blob>> for Content {
    fn from(blob: Box<dyn Blob>) -> Self {
        Content::Blob(blob)
    }
}

/// An item that cannot be offered: a mistake of the board's, never a guest's doing.
#[derive(Debug, PartialEq, Eq, Snafu)]
pub enum ItemError {
    /// The number is another item's.
    #[snafu(display("fw_cfg item {:#x} is there already", key.0))]
    Taken {
        /// The number.
        key: Key,
    },
    /// The name does not fit into the directory, or is there already.
    #[snafu(display("fw_cfg file `{name}`: longer than {} bytes, empty, or there already", NAME_SIZE - 1))]
    Name {
        /// The name.
        name: String,
    },
    /// The directory is full.
    #[snafu(display("fw_cfg file `{name}`: there are {MAX_FILES} already"))]
    Full {
        /// The name.
        name: String,
    },
    /// Sizes have 32 bits.
    #[snafu(display("fw_cfg: {what} has more than 4 GiB"))]
    Large {
        /// The item.
        what: String,
    },
}

/// The items of a device: those with numbers, and those with names.
#[derive(Debug)]
pub struct FwCfgItems {
    numbered: BTreeMap<Key, Content>,
    named: BTreeMap<String, Content>,
}

impl FwCfgItems {
    /// The items that the interface itself consists of.
    pub fn new() -> Self {
        let numbered = [
            (Key::SIGNATURE, Content::Bytes(SIGNATURE.to_vec())),
            (Key::FEATURES, Content::Bytes(FEATURES.to_le_bytes().to_vec())),
        ];
        FwCfgItems { numbered: numbered.into(), named: BTreeMap::new() }
    }

    /// Adds an item with a number below [`Key::FIRST_FILE`].
    pub fn add(&mut self, key: Key, content: impl Into<Content>) -> Result<(), ItemError> {
        let content = content.into();
        let free = key < Key::FIRST_FILE && key != Key::DIRECTORY && !self.numbered.contains_key(&key);
        ensure!(free, TakenSnafu { key });
        content.size().with_context(|| LargeSnafu { what: format!("item {:#x}", key.0) })?;
        self.numbered.insert(key, content);
        Ok(())
    }

    /// Adds an item with a name: `etc/…`, `bootorder`.
    pub fn add_file(&mut self, name: &str, content: impl Into<Content>) -> Result<(), ItemError> {
        let content = content.into();
        let good = !name.is_empty() && name.len() < NAME_SIZE && !name.contains('\0');
        ensure!(good && !self.named.contains_key(name), NameSnafu { name });
        ensure!(self.named.len() < usize::from(MAX_FILES), FullSnafu { name });
        content.size().with_context(|| LargeSnafu { what: format!("file `{name}`") })?;
        self.named.insert(name.to_owned(), content);
        Ok(())
    }

    /// All items by number, with the directory of those that have names, in the order of the names.
    pub(super) fn finish(self) -> BTreeMap<Key, Content> {
        let FwCfgItems { mut numbered, named } = self;
        // At most MAX_FILES.
        let count = u32::try_from(named.len()).unwrap_or(0);
        let mut directory = count.to_be_bytes().to_vec();
        for (key, (name, content)) in (Key::FIRST_FILE.0..).map(Key).zip(named) {
            directory.extend(content.size().unwrap_or(0).to_be_bytes());
            directory.extend(key.0.to_be_bytes());
            directory.extend([0; 2]);
            let padding = NAME_SIZE.saturating_sub(name.len());
            directory.extend(name.into_bytes());
            directory.resize(directory.len().saturating_add(padding), 0);
            numbered.insert(key, content);
        }
        numbered.insert(Key::DIRECTORY, Content::Bytes(directory));
        numbered
    }
}

impl Default for FwCfgItems {
    fn default() -> Self {
        FwCfgItems::new()
    }
}
