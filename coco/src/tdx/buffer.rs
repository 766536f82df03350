//! Structs that end in a CPUID table of variable length, as one piece of memory for the kernel.

use std::marker::PhantomData;
use std::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::abi::{CpuidEntry, CpuidHeader, TdxCapabilities, TdxInitVm};

/// A struct whose last field is a [`CpuidHeader`].
pub trait CpuidTail: FromBytes + IntoBytes + Immutable + KnownLayout {
    /// That field.
    fn cpuid(&mut self) -> &mut CpuidHeader;
}

impl CpuidTail for CpuidHeader {
    fn cpuid(&mut self) -> &mut CpuidHeader {
        self
    }
}

impl CpuidTail for TdxCapabilities {
    fn cpuid(&mut self) -> &mut CpuidHeader {
        &mut self.cpuid
    }
}

impl CpuidTail for TdxInitVm {
    fn cpuid(&mut self) -> &mut CpuidHeader {
        &mut self.cpuid
    }
}

/// A `T` with room for CPUID entries behind it. The kernel wants it aligned as `u64` is.
#[derive(Debug)]
pub struct WithCpuid<T> {
    words: Vec<u64>,
    head: PhantomData<T>,
}

impl<T: CpuidTail> WithCpuid<T> {
    /// Zeros, with room for `room` entries, and the count saying so.
    pub fn with_room(room: u32) -> Self {
        let mut head = T::new_zeroed();
        head.cpuid().nent = room;
        Self::build(&head, &vec![CpuidEntry::default(); room as usize])
    }

    /// `head` and `entries`; the count is set to theirs.
    pub fn new(mut head: T, entries: &[CpuidEntry]) -> Self {
        head.cpuid().nent = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        Self::build(&head, entries)
    }

    fn build(head: &T, entries: &[CpuidEntry]) -> Self {
        let bytes: Vec<u8> = [head.as_bytes(), entries.as_bytes()].concat();
        let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        WithCpuid { words, head: PhantomData }
    }

    /// The memory's address, for `kvm_tdx_cmd.data`.
    pub fn address(&mut self) -> u64 {
        self.words.as_mut_ptr() as u64
    }

    /// The struct as the kernel left it.
    pub fn head(&self) -> T {
        T::read_from_prefix(self.words.as_bytes()).map_or_else(|_| T::new_zeroed(), |(head, _)| head)
    }

    /// The entries as the kernel left them, as many as it says; none if it says more than there is room for.
    pub fn entries(&self) -> Option<Vec<CpuidEntry>> {
        let count = self.head().cpuid().nent as usize;
        let tail = self.words.as_bytes().get(size_of::<T>()..)?;
        let (entries, _) = <[CpuidEntry]>::ref_from_prefix_with_elems(tail, count).ok()?;
        Some(entries.to_vec())
    }
}

const _: () = {
    assert!(size_of::<CpuidHeader>().is_multiple_of(8) && size_of::<CpuidEntry>().is_multiple_of(8));
    assert!(size_of::<TdxCapabilities>().is_multiple_of(8) && size_of::<TdxInitVm>().is_multiple_of(8));
};

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read_within_bounds() {
        let entry = |function| CpuidEntry { function, ..CpuidEntry::default() };
        let mut buffer = WithCpuid::new(TdxInitVm::new_zeroed(), &[entry(1), entry(7)]);
        assert_eq!(buffer.address() % 8, 0);
        assert_eq!(buffer.head().cpuid, CpuidHeader { nent: 2, padding: 0 });
        assert_eq!(buffer.entries().unwrap(), [entry(1), entry(7)]);

        let count = size_of::<TdxInitVm>() / 8 - 1;
        buffer.words[count] = 1;
        assert_eq!(buffer.entries().unwrap(), [entry(1)]);
        buffer.words[count] = 3;
        assert_eq!(buffer.entries(), None);
        buffer.words[count] = u64::from(u32::MAX);
        assert_eq!(buffer.entries(), None);
    }
}
