//! A private copy of QEMU, mended in one place.
//!
//! Firmware of EDK2 writes CR8 at the end of each interrupt. When a nested guest does so while a virtual interrupt
//! waits, `helper_write_crN` of QEMU (7.2 to 11.1 at least) calls `cpu_interrupt` without the big lock, which that
//! asserts to be held: QEMU aborts. What follows the assertion needs no lock, it is one atomic instruction (not so in
//! QEMU 10.0); so the copy does without. What is changed is recognised to the byte, and by the texts that the assertion
//! would print.

use std::ops::Range;

/// The function, as the assertion names it too.
const FUNCTION: &str = "cpu_interrupt";
const ASSERTION: &str = "bql_locked()";

/// How the function begins: `endbr64; sub $8,%rsp; call …; test %al,%al; je …`.
const CHECK: &str = "f3 0f 1e fa  48 83 ec 08  e8 .. .. .. ..  84 c0  74 ..";
/// Where the `je` is in it.
const BRANCH: Range<usize> = 15..17;
/// Where the branch goes, to `g_assertion_message_expr(NULL, file, line, function, expression)`:
/// `lea …,%r8; lea …,%rcx; mov $…,%edx; xor %edi,%edi; lea …,%rsi; call …`.
const FAILURE: &str =
    "4c 8d 05 .. .. .. ..  48 8d 0d .. .. .. ..  ba .. .. .. ..  31 ff  48 8d 35 .. .. .. ..  e8";
/// The ends of its first two instructions, which load the addresses of the expression and of the function's name.
const LOADS: [usize; 2] = [7, 14];

const NOP: u8 = 0x90;

/// The same program without the assertion; or in what way it is not what was expected.
pub(crate) fn without_assertion(program: &[u8]) -> Result<Vec<u8>, String> {
    let elf = Elf(program);
    let function = elf.symbol(FUNCTION).ok_or_else(|| format!("it exports no {FUNCTION}"))?;
    let start = elf.offset(function).ok_or_else(|| format!("{FUNCTION} is in none of its segments"))?;
    let code = program.get(start..).unwrap_or_default();
    if !matches(code, CHECK) {
        return Err(format!("{FUNCTION} does not begin with the known assertion"));
    }
    // A short forward jump: relative to its end.
    let failure = BRANCH.end + usize::from(code[BRANCH.end - 1]);
    let at_failure = code.get(failure..).unwrap_or_default();
    let texts = LOADS.map(|end| elf.text(function + failure as u64, at_failure, end));
    if code[BRANCH.end - 1] > 0x7f
        || !matches(at_failure, FAILURE)
        || texts != [Some(ASSERTION), Some(FUNCTION)]
    {
        return Err(format!("the first branch of {FUNCTION} does not lead to the assertion of {ASSERTION}"));
    }
    let mut patched = program.to_vec();
    patched[start + BRANCH.start..start + BRANCH.end].fill(NOP);
    Ok(patched)
}

/// Whether code begins with the bytes of a pattern, in which `..` is any byte.
fn matches(code: &[u8], pattern: &str) -> bool {
    let fits = |(at, expected): (usize, &str)| {
        code.get(at).is_some_and(|byte| expected == ".." || format!("{byte:02x}") == expected)
    };
    pattern.split_whitespace().enumerate().all(fits)
}

/// A 64-bit little-endian ELF file. What is asked of it is answered by `None` where it is malformed.
struct Elf<'a>(&'a [u8]);

const PT_LOAD: u32 = 1;
const SHT_DYNSYM: u32 = 11;

impl<'a> Elf<'a> {
    fn u16(&self, at: usize) -> Option<usize> {
        Some(u16::from_le_bytes(*self.0.get(at..)?.first_chunk()?).into())
    }

    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    /// An offset in the file: not beyond its end, so that a little can be added.
    fn place(&self, at: usize) -> Option<usize> {
        self.u64(at)?.try_into().ok().filter(|place| *place <= self.0.len())
    }

    /// The text at an offset in the file, up to its NUL.
    fn string(&self, at: usize) -> Option<&'a str> {
        let bytes = self.0.get(at..)?;
        let end = bytes.iter().take(64).position(|byte| *byte == 0)?;
        str::from_utf8(&bytes[..end]).ok()
    }

    /// The text whose address is loaded, relative to itself, by the instruction that ends at `end` in `code`.
    fn text(&self, address: u64, code: &[u8], end: usize) -> Option<&'a str> {
        let distance = i32::from_le_bytes(*code.get(end - 4..)?.first_chunk()?);
        self.string(self.offset(address.wrapping_add(end as u64).checked_add_signed(distance.into())?)?)
    }

    /// Where in the file the byte for an address is.
    fn offset(&self, address: u64) -> Option<usize> {
        let (headers, count) = (self.place(32)?, self.u16(56)?);
        (0..count).find_map(|index| {
            let header = headers + index * 56;
            let (start, size) = (self.u64(header + 16)?, self.u64(header + 32)?);
            let distance = address.checked_sub(start)?;
            let loaded = self.u32(header)? == PT_LOAD && distance < size;
            loaded.then_some(())?;
            self.place(header + 8)?.checked_add(distance.try_into().ok()?)
        })
    }

    /// The address of an exported symbol.
    fn symbol(&self, name: &str) -> Option<u64> {
        let section = |index: usize| Some(self.place(40)? + index * 64);
        let symbols =
            (0..self.u16(60)?).filter_map(section).find(|at| self.u32(at + 4) == Some(SHT_DYNSYM))?;
        let names = self.place(section(self.u32(symbols + 40)? as usize)? + 24)?;
        let (start, size) = (self.place(symbols + 24)?, self.place(symbols + 32)?);
        let found = self.0.get(start..start.checked_add(size)?)?.chunks_exact(24).find(|symbol| {
            let at = u32::from_le_bytes([symbol[0], symbol[1], symbol[2], symbol[3]]) as usize;
            names.checked_add(at).and_then(|at| self.string(at)) == Some(name)
        })?;
        Some(u64::from_le_bytes(*found[8..].first_chunk()?))
    }
}

#[cfg(test)]
mod tests {
    use super::{ASSERTION, BRANCH, without_assertion};

    const ADDRESS: u64 = 0x40_0000;
    const CODE: usize = 0x200;
    const TEXTS: usize = 0x280;

    /// A program with one segment and one exported function, which asserts.
    fn program() -> Vec<u8> {
        let mut file = vec![0; 0x400];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF");
        put(32, &64_u64.to_le_bytes()); // program headers
        put(40, &0x300_u64.to_le_bytes()); // section headers
        put(56, &1_u16.to_le_bytes());
        put(60, &3_u16.to_le_bytes());
        put(64, &1_u32.to_le_bytes()); // PT_LOAD of the whole file
        put(64 + 16, &ADDRESS.to_le_bytes());
        put(64 + 32, &0x400_u64.to_le_bytes());
        put(0x300 + 64 + 4, &11_u32.to_le_bytes()); // section 1: symbols
        put(0x300 + 64 + 24, &0x100_u64.to_le_bytes());
        put(0x300 + 64 + 32, &48_u64.to_le_bytes());
        put(0x300 + 64 + 40, &2_u32.to_le_bytes());
        put(0x300 + 128 + 24, &0x180_u64.to_le_bytes()); // section 2: their names
        put(0x180, b"\0cpu_interrupt\0");
        put(0x100 + 24, &1_u32.to_le_bytes());
        put(0x100 + 32, &(ADDRESS + CODE as u64).to_le_bytes());
        put(CODE, b"\xf3\x0f\x1e\xfa\x48\x83\xec\x08\xe8\x01\x02\x03\x04\x84\xc0\x74\x03\x90\x90\x90");
        let failure = CODE + 20;
        put(failure, b"\x4c\x8d\x05....\x48\x8d\x0d....\xba\x14\x01\0\0\x31\xff\x48\x8d\x35....\xe8....");
        put(failure + 3, &((TEXTS - failure - 7) as u32).to_le_bytes());
        put(failure + 10, &((TEXTS + 16 - failure - 14) as u32).to_le_bytes());
        put(TEXTS, ASSERTION.as_bytes());
        put(TEXTS + 16, b"cpu_interrupt");
        file
    }

    #[test]
    fn the_branch_to_the_assertion_is_removed_and_nothing_else() {
        let before = program();
        let after = without_assertion(&before).expect("a known program");
        let changed: Vec<_> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        assert_eq!(changed, [CODE + BRANCH.start, CODE + BRANCH.start + 1]);
        assert_eq!(after[CODE + 15..CODE + 17], [0x90, 0x90]);
    }

    #[test]
    fn a_program_that_differs_is_left_alone() {
        // The function's first byte, the branch, its target, the call, what is asserted, where.
        for at in [CODE, CODE + 15, CODE + 16, CODE + 20 + 28, TEXTS, TEXTS + 17, 0x184] {
            let mut program = program();
            program[at] ^= 1;
            assert!(without_assertion(&program).is_err(), "with another byte at {at:#x}");
        }
    }

    #[test]
    fn whatever_is_missing_is_an_error() {
        let whole = program();
        // The last byte of use is in the header of the names.
        for length in 0..0x3a0 {
            assert!(without_assertion(&whole[..length]).is_err(), "{length} bytes");
        }
        assert!(without_assertion(&[0xff; 4096]).is_err());
    }
}
