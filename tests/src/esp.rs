//! Disks that firmware boots from: an EFI system partition with a unified kernel image on it.
//!
//! Only as much of FAT and PE as that takes: a handful of files with short names, written once.

/// Bytes in a sector.
const SECTOR: usize = 512;
/// Sectors in a cluster.
const CLUSTER_SECTORS: usize = 8;
const CLUSTER: usize = CLUSTER_SECTORS * SECTOR;
/// The partition's first sector.
const PARTITION: usize = 2048;
/// Fewer clusters would make it a FAT12 file system, more a FAT32 one.
const CLUSTERS: std::ops::Range<usize> = 4200..65525;
const ROOT_ENTRIES: usize = 512;
const RESERVED: usize = 1;
const END_OF_CHAIN: u16 = 0xffff;
const DIRECTORY: u8 = 0x10;

/// A disk with one EFI system partition, where firmware finds `loader` without being told:
/// `\EFI\BOOT\BOOTX64.EFI` (UEFI 2.10, 3.5.1.1).
pub(crate) fn esp_disk(loader: &[u8]) -> Vec<u8> {
    let file_clusters = loader.len().div_ceil(CLUSTER);
    // Clusters count from 2: one for each directory, then the file.
    let (efi, boot, file) = (2u16, 3u16, 4u16);
    let clusters = CLUSTERS.start.max(file_clusters + 16);
    assert!(CLUSTERS.contains(&clusters), "a file of {} bytes is too large for FAT16", loader.len());
    let fat_sectors = ((clusters + 2) * 2).div_ceil(SECTOR);
    let data = RESERVED + fat_sectors + ROOT_ENTRIES * 32 / SECTOR;
    let sectors = data + clusters * CLUSTER_SECTORS;

    let mut disk = vec![0; (PARTITION + sectors) * SECTOR];
    disk[..SECTOR].copy_from_slice(&partition_table(sectors));
    let volume = &mut disk[PARTITION * SECTOR..];
    volume[..SECTOR].copy_from_slice(&boot_sector(fat_sectors, sectors));

    let mut fat = vec![0xfff8, END_OF_CHAIN, END_OF_CHAIN, END_OF_CHAIN];
    fat.extend((1..file_clusters as u16).map(|n| file + n));
    fat.push(END_OF_CHAIN);
    for (entry, value) in volume[RESERVED * SECTOR..].chunks_exact_mut(2).zip(fat) {
        entry.copy_from_slice(&value.to_le_bytes());
    }
    let root = (RESERVED + fat_sectors) * SECTOR;
    let at = |cluster: u16| data * SECTOR + usize::from(cluster - 2) * CLUSTER;
    let mut put = |at: usize, bytes: &[u8]| volume[at..at + bytes.len()].copy_from_slice(bytes);
    put(root, &entry(b"EFI        ", DIRECTORY, efi, 0));
    let dots =
        |own, parent| [entry(b".          ", DIRECTORY, own, 0), entry(b"..         ", DIRECTORY, parent, 0)];
    put(at(efi), &[dots(efi, 0).concat(), entry(b"BOOT       ", DIRECTORY, boot, 0).to_vec()].concat());
    let name = entry(b"BOOTX64 EFI", 0, file, loader.len() as u32);
    put(at(boot), &[dots(boot, efi).concat(), name.to_vec()].concat());
    put(at(file), loader);
    disk
}

/// A master boot record with one partition of type 0xef (UEFI 2.10, 5.2).
fn partition_table(sectors: usize) -> [u8; SECTOR] {
    let mut mbr = [0; SECTOR];
    let mut partition = vec![0, 0xff, 0xff, 0xff, 0xef, 0xff, 0xff, 0xff];
    partition.extend((PARTITION as u32).to_le_bytes());
    partition.extend((sectors as u32).to_le_bytes());
    mbr[446..462].copy_from_slice(&partition);
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

/// The first sector of a FAT16 file system.
fn boot_sector(fat_sectors: usize, sectors: usize) -> [u8; SECTOR] {
    let mut bytes = vec![0xeb, 0x3c, 0x90];
    bytes.extend(b"CLOISTER");
    bytes.extend((SECTOR as u16).to_le_bytes());
    bytes.extend([CLUSTER_SECTORS as u8, RESERVED as u8, 0, 1]); // one FAT
    bytes.extend((ROOT_ENTRIES as u16).to_le_bytes());
    bytes.extend([0, 0, 0xf8]); // more than 65535 sectors, fixed disk
    bytes.extend((fat_sectors as u16).to_le_bytes());
    bytes.extend([63, 0, 255, 0]); // geometry
    bytes.extend((PARTITION as u32).to_le_bytes());
    bytes.extend((sectors as u32).to_le_bytes());
    bytes.extend([0x80, 0, 0x29, 1, 2, 3, 4]);
    bytes.extend(b"CLOISTER   FAT16   ");
    let mut sector = [0; SECTOR];
    sector[..bytes.len()].copy_from_slice(&bytes);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// A directory's entry: name, attributes, first cluster, size.
fn entry(name: &[u8; 11], attributes: u8, cluster: u16, size: u32) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    // 1 January 1980, as the format's first day.
    entry[24..26].copy_from_slice(&0x21u16.to_le_bytes());
    entry[26..28].copy_from_slice(&cluster.to_le_bytes());
    entry[28..].copy_from_slice(&size.to_le_bytes());
    entry
}

/// A unified kernel image: systemd's EFI stub with a kernel, an initrd and a command line as sections of
/// their own (the UAPI group's specification of UKIs).
pub(crate) fn unified_kernel(stub: &[u8], kernel: &[u8], initrd: &[u8], cmdline: &str) -> Vec<u8> {
    let mut image = stub.to_vec();
    let u32_at = |image: &[u8], at: usize| u32::from_le_bytes(image[at..at + 4].try_into().expect("4 bytes"));
    let u16_at = |image: &[u8], at: usize| u16::from_le_bytes(image[at..at + 2].try_into().expect("2 bytes"));
    let header = u32_at(&image, 0x3c) as usize;
    assert_eq!(image[header..header + 4], *b"PE\0\0", "the stub is a PE image");
    let optional = header + 24;
    let mut count = u16_at(&image, header + 6);
    let table = optional + usize::from(u16_at(&image, header + 20));
    let (alignment, file_alignment) = (u32_at(&image, optional + 32), u32_at(&image, optional + 36));
    let headers = u32_at(&image, optional + 60) as usize;
    let sections: [(&[u8], &[u8]); 3] =
        [(b".cmdline", cmdline.as_bytes()), (b".linux\0\0", kernel), (b".initrd\0", initrd)];
    for (name, data) in sections {
        let last = table + usize::from(count - 1) * 40;
        let address = (u32_at(&image, last + 12) + u32_at(&image, last + 8)).next_multiple_of(alignment);
        let file_offset = image.len().next_multiple_of(file_alignment as usize);
        image.resize(file_offset, 0);
        image.extend_from_slice(data);
        image.resize(image.len().next_multiple_of(file_alignment as usize), 0);

        let mut section = name.to_vec();
        let raw = (image.len() - file_offset) as u32;
        for field in [data.len() as u32, address, raw, file_offset as u32, 0, 0, 0, 0x4000_0040] {
            section.extend(field.to_le_bytes());
        }
        let at = last + 40;
        assert!(at + 40 <= headers, "the stub has no room for another section");
        image[at..at + 40].copy_from_slice(&section);
        count += 1;
        let end = (address + data.len() as u32).next_multiple_of(alignment);
        image[optional + 56..optional + 60].copy_from_slice(&end.to_le_bytes());
    }
    image[header + 6..header + 8].copy_from_slice(&count.to_le_bytes());
    image
}
