use super::*;

/// The command line of QEMU's documentation, with stand-ins for kernel and initrd.
fn hashes() -> KernelHashes {
    let blob = |byte: u8| Blob::read(&[byte; 70_000][..]).unwrap();
    KernelHashes::new(&blob(1), Some(&blob(2)), "console=ttyS0")
}

#[test]
fn the_table_has_qemus_layout() {
    let table = hashes().table();
    assert_eq!(table[..18], hex::decode("06d63894224fc94cb479a793d411fd21a800").unwrap());
    assert_eq!(table[18..36], hex::decode("d82dd09720bd944caa78e7714d36ab2a3200").unwrap());
    assert_eq!(table[68..86], hex::decode("31f7ba442f3ad74b9af141e29169781d3200").unwrap());
    assert_eq!(table[118..136], hex::decode("3794e74dd2ab7f42b835d5b172d2045b3200").unwrap());
    assert_eq!(table[36..68], Sha256::digest(b"console=ttyS0\0")[..]);
    assert_eq!(table[168..], [0; 8]);
}

#[test]
fn what_is_not_there_is_hashed_as_nothing() {
    let hashes = KernelHashes::new(&Blob::empty(), None, "");
    assert_eq!(hashes.initrd[..], Sha256::digest([])[..]);
    assert_eq!(hashes.cmdline[..], Sha256::digest([0])[..]);
    assert_eq!(Blob::read(&b""[..]).unwrap(), Blob::empty());
}

#[test]
fn a_table_is_read_back_also_with_strangers_in_it() {
    let hashes = hashes();
    assert_eq!(KernelHashes::parse(&hashes.table()).unwrap(), hashes);

    let mut odd = hashes.table()[..LENGTH].to_vec();
    odd.extend([7; 16]);
    odd.extend(20u16.to_le_bytes());
    odd.extend([0; 2]);
    odd[16..18].copy_from_slice(&(LENGTH as u16 + 20).to_le_bytes());
    assert_eq!(KernelHashes::parse(&odd).unwrap(), hashes);
}

#[test]
fn broken_tables_are_told_apart() {
    let good = hashes().table();
    let broken = |at: usize, with: &[u8]| {
        let mut table = good;
        table[at..at + with.len()].copy_from_slice(with);
        KernelHashes::parse(&table).unwrap_err()
    };
    assert!(matches!(KernelHashes::parse(&good[..17]), Err(HashTableError::Short { found: 17 })));
    assert!(matches!(broken(0, &[0]), HashTableError::Header { .. }));
    assert!(matches!(broken(16, &[0xb1, 0]), HashTableError::Length { found: 177, max: 176 }));
    assert!(matches!(broken(16, &[17, 0]), HashTableError::Length { found: 17, .. }));
    assert!(matches!(broken(34, &[49, 0]), HashTableError::EntryLength { found: 49, offset: 18, .. }));
    assert!(matches!(broken(34, &[0, 0]), HashTableError::EntryLength { found: 0, .. }));
    assert!(matches!(broken(134, &[0xff, 0xff]), HashTableError::EntryLength { .. }));
    assert!(matches!(broken(68, &CMDLINE.0), HashTableError::EntryTwice { offset: 68, .. }));
    assert!(matches!(broken(118, &[0; 16]), HashTableError::Missing { what: "kernel" }));
    assert!(matches!(broken(16, &[118, 0]), HashTableError::Missing { what: "kernel" }));
}
