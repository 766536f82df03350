//! IGVM files from values: for tests, and for tools that make samples. Nothing is checked here; what is
//! written may be as wrong as its caller likes.

use super::defs::{
    FIXED_V1, FIXED_V2, MAGIC, PAGE, PageDataType, PageFlags, ParameterKind, PlatformType, kind,
};

/// A file in the making. Headers appear in the order of the calls.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    version: u32,
    entries: Vec<Entry>,
}

/// A header: type, payload, and data with the place of its offset in the payload.
type Entry = (u32, Vec<u8>, Option<(usize, Vec<u8>)>);

impl Writer {
    /// A file of this format version, with no header.
    pub fn new(version: u32) -> Self {
        Writer { version, entries: Vec::new() }
    }

    /// Any header.
    pub fn raw(mut self, kind: u32, payload: &[u8]) -> Self {
        self.entries.push((kind, payload.to_vec(), None));
        self
    }

    /// SUPPORTED_PLATFORM.
    pub fn platform(self, mask: u32, platform: PlatformType) -> Self {
        let payload = [&mask.to_le_bytes()[..], &[0, platform.0, 1, 0], &[0; 8]].concat();
        self.raw(kind::SUPPORTED_PLATFORM, &payload)
    }

    /// GUEST_POLICY.
    pub fn policy(self, mask: u32, policy: u64) -> Self {
        let payload = [&policy.to_le_bytes()[..], &mask.to_le_bytes(), &[0; 4]].concat();
        self.raw(kind::GUEST_POLICY, &payload)
    }

    /// PAGE_DATA with bytes; no bytes are a page of zeros.
    pub fn page(mut self, mask: u32, gpa: u64, flags: PageFlags, of: PageDataType, bytes: &[u8]) -> Self {
        let mut payload = gpa.to_le_bytes().to_vec();
        payload.extend(mask.to_le_bytes());
        payload.extend([0; 4]);
        payload.extend(flags.0.to_le_bytes());
        payload.extend(of.0.to_le_bytes());
        payload.extend([0; 2]);
        let data = (!bytes.is_empty()).then(|| (12, padded(bytes)));
        self.entries.push((kind::PAGE_DATA, payload, data));
        self
    }

    /// PARAMETER_AREA of zeros, or of these bytes.
    pub fn area(mut self, index: u32, bytes: u64, initial: &[u8]) -> Self {
        let mut payload = bytes.to_le_bytes().to_vec();
        payload.extend(index.to_le_bytes());
        payload.extend([0; 4]);
        let mut data = initial.to_vec();
        data.resize(usize::try_from(bytes).unwrap_or_default().min(1 << 20), 0);
        let data = (!initial.is_empty()).then_some((12, data));
        self.entries.push((kind::PARAMETER_AREA, payload, data));
        self
    }

    /// A value for the loader to write into an area.
    pub fn parameter(self, kind: ParameterKind, index: u32, at: u32) -> Self {
        self.raw(kind.0, &[index.to_le_bytes(), at.to_le_bytes()].concat())
    }

    /// PARAMETER_INSERT.
    pub fn insert(self, mask: u32, gpa: u64, index: u32) -> Self {
        let payload = [&gpa.to_le_bytes()[..], &mask.to_le_bytes(), &index.to_le_bytes()].concat();
        self.raw(kind::PARAMETER_INSERT, &payload)
    }

    /// REQUIRED_MEMORY.
    pub fn required(self, mask: u32, gpa: u64, bytes: u32) -> Self {
        let payload = [&gpa.to_le_bytes()[..], &mask.to_le_bytes(), &bytes.to_le_bytes(), &[0; 8]].concat();
        self.raw(kind::REQUIRED_MEMORY, &payload)
    }

    /// VP_CONTEXT with a page of state.
    pub fn vp_context(mut self, mask: u32, gpa: u64, vp_index: u16, state: &[u8]) -> Self {
        let mut payload = gpa.to_le_bytes().to_vec();
        payload.extend(mask.to_le_bytes());
        payload.extend([0; 4]);
        payload.extend(vp_index.to_le_bytes());
        payload.extend([0; 2]);
        self.entries.push((kind::VP_CONTEXT, payload, Some((12, padded(state)))));
        self
    }

    /// The file's bytes.
    pub fn build(self) -> Vec<u8> {
        let fixed = if self.version == 1 { FIXED_V1 } else { FIXED_V2 } as usize;
        let headers_len: usize =
            self.entries.iter().map(|(_, p, _)| p.len().next_multiple_of(8).saturating_add(8)).sum();
        let mut data_at = fixed.saturating_add(headers_len);
        let (mut headers, mut data) = (Vec::with_capacity(headers_len), Vec::new());
        for (kind, mut payload, with) in self.entries {
            if let Some((field, bytes)) = with {
                let at = u32::try_from(data_at).unwrap_or(u32::MAX).to_le_bytes();
                if let Some(to) = payload.get_mut(field..).and_then(<[u8]>::first_chunk_mut) {
                    *to = at;
                }
                data_at = data_at.saturating_add(bytes.len());
                data.extend(bytes);
            }
            headers.extend(kind.to_le_bytes());
            headers.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
            payload.resize(payload.len().next_multiple_of(8), 0);
            headers.extend(payload);
        }
        let mut file = Vec::with_capacity(data_at);
        for word in [MAGIC, self.version, fixed as u32, headers_len as u32, data_at as u32, 0] {
            file.extend(word.to_le_bytes());
        }
        if self.version != 1 {
            // x86-64, pages of 4 KiB.
            file.extend([0, 0, 0, 0, 0, 0x10, 0, 0]);
        }
        file.extend(headers);
        seal(&mut file);
        file.extend(data);
        file
    }
}

/// Writes the checksum of a file again, after its headers were changed. `file` may end behind them.
pub fn seal(file: &mut [u8]) {
    let word = |at: usize| {
        file.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_le_bytes(*b) as usize)
    };
    let (version, headers_at, headers_len) = (word(4), word(8), word(12));
    let fixed = if version == 1 { FIXED_V1 } else { FIXED_V2 } as usize;
    let mut sum = crc32fast::Hasher::new();
    sum.update(file.get(..20).unwrap_or_default());
    sum.update(&[0; 4]);
    sum.update(file.get(24..fixed).unwrap_or_default());
    sum.update(file.get(headers_at..headers_at.saturating_add(headers_len)).unwrap_or_default());
    if let Some(to) = file.get_mut(20..).and_then(<[u8]>::first_chunk_mut) {
        *to = sum.finalize().to_le_bytes();
    }
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut page = bytes.to_vec();
    page.resize(PAGE as usize, 0);
    page
}
