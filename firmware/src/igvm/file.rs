//! A file with its headers read and checked; its data stays in the file.

use snafu::{ResultExt, ensure};

use super::check::check;
use super::defs::{MAX_HEADERS, PlatformType, Section, kind, kind_name};
use super::entry::Entries;
use super::error::*;
use super::header::{self, FixedHeader};
use super::{Directive, Header, IdBlockHeader, Initialization, Platform};
use crate::plan::{ImageFile, PageRun};

/// An IGVM file that keeps the rules of its format.
#[derive(Debug, Clone)]
pub struct IgvmFile {
    pub(super) image: ImageFile,
    pub(super) fixed: FixedHeader,
    pub(super) platforms: Vec<Header<Platform>>,
    pub(super) initializations: Vec<Header<Initialization>>,
    pub(super) directives: Vec<Header<Directive>>,
}

impl IgvmFile {
    /// Whether a file begins as IGVM files do.
    pub fn is_igvm(image: &ImageFile) -> bool {
        let mut start = [0; 4];
        image.read_at(0, &mut start).is_ok() && &start == b"IGVM"
    }

    /// Reads the headers and checks them. Nothing of the data is read.
    pub fn read(image: ImageFile) -> Result<Self, IgvmError> {
        let (fixed, bytes) = header::read(&image)?;
        let mut file = IgvmFile {
            image,
            fixed,
            platforms: Vec::new(),
            initializations: Vec::new(),
            directives: Vec::new(),
        };
        let mut entries = Entries::new(&fixed, &bytes);
        let mut section = Section::Platform;
        let mut count = 0usize;
        while let Some(entry) = entries.next()? {
            let (offset, found) = (entry.offset, entry.kind);
            count = count.saturating_add(1);
            ensure!(count <= MAX_HEADERS, TooManyHeadersSnafu { found: count, offset, wanted: MAX_HEADERS });
            let own = match Section::of(found) {
                Some(own) => own,
                // In no range and optional: it belongs to whatever section it stands in.
                None => {
                    ensure!(entry.optional, UnknownTypeSnafu { offset, found });
                    section
                }
            };
            if own < section {
                let name =
                    kind_name(found).map_or_else(|| format!("a header of type {found:#x}"), str::to_owned);
                return OutOfOrderSnafu { name, offset, found: own.name(), wanted: section.name() }.fail();
            }
            section = own;
            match own {
                Section::Platform if found == kind::SUPPORTED_PLATFORM => {
                    file.platforms.push(Header { offset, body: Platform::parse(&entry)? });
                }
                Section::Platform => ensure!(entry.optional, UnknownTypeSnafu { offset, found }),
                Section::Initialization => {
                    file.initializations.push(Header { offset, body: Initialization::parse(&entry)? });
                }
                Section::Directive => {
                    file.directives.push(Header { offset, body: Directive::parse(&entry)? });
                }
            }
        }
        check(&mut file)?;
        Ok(file)
    }

    /// The file itself.
    pub fn image(&self) -> &ImageFile {
        &self.image
    }

    /// The fixed header.
    pub fn fixed(&self) -> &FixedHeader {
        &self.fixed
    }

    /// The platforms that it is for.
    pub fn platforms(&self) -> &[Header<Platform>] {
        &self.platforms
    }

    /// The headers of the initialization section.
    pub fn initializations(&self) -> &[Header<Initialization>] {
        &self.initializations
    }

    /// The directives, in order.
    pub fn directives(&self) -> &[Header<Directive>] {
        &self.directives
    }

    /// The entry for a platform, if the file is for it.
    pub fn platform(&self, platform: PlatformType) -> Option<&Platform> {
        self.platforms.iter().map(|p| &p.body).find(|p| p.platform == platform)
    }

    /// The directives that count on a platform, in order.
    pub fn directives_for(&self, platform: &Platform) -> impl Iterator<Item = &Header<Directive>> {
        let mask = platform.mask;
        self.directives.iter().filter(move |h| h.body.mask().is_none_or(|m| m & mask != 0))
    }

    /// The policy for a platform.
    pub fn policy(&self, platform: &Platform) -> Option<u64> {
        self.initializations.iter().find_map(|h| match h.body {
            Initialization::GuestPolicy { policy, mask } if mask & platform.mask != 0 => Some(policy),
            _ => None,
        })
    }

    /// The ID block for a platform.
    pub fn id_block(&self, platform: &Platform) -> Option<&IdBlockHeader> {
        self.directives_for(platform).find_map(|h| match &h.body {
            Directive::SnpIdBlock(block) => Some(&**block),
            _ => None,
        })
    }

    /// A page of the file's data.
    pub(crate) fn page(&self, at: u64) -> Result<[u8; PageRun::PAGE_SIZE], IgvmError> {
        let mut page = [0; PageRun::PAGE_SIZE];
        self.image.read_at(at, &mut page).context(FileSnafu)?;
        Ok(page)
    }
}
