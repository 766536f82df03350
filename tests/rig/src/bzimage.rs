//! The uncompressed kernel inside a bzImage.

use crate::{
    error::{Error, Result},
    tools::Tools,
};

/// Extracts the ELF `vmlinux` from a bzImage, by the offsets in its setup header (boot protocol 2.08 and later).
pub(crate) fn vmlinux(tools: &Tools, image: &[u8]) -> Result<Vec<u8>> {
    let refused = |why: &str| {
        Error::new(
            "cannot take the vmlinux out of a kernel image",
            why,
            "use an x86-64 bzImage, as Linux builds it",
        )
    };
    let payload = payload(image).ok_or_else(|| refused("its setup header is not that of a bzImage"))?;
    // The kernel's build appends the uncompressed size, which is part of the format for gzip only.
    let stream = match payload {
        [0x1f, 0x8b, ..] => payload,
        _ => &payload[..payload.len().saturating_sub(4)],
    };
    let vmlinux = tools.decompress(stream)?;
    if vmlinux.starts_with(b"\x7fELF") {
        Ok(vmlinux)
    } else {
        Err(refused("what was compressed in it is not an ELF file"))
    }
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let setup_sectors = match *image.get(0x1f1)? {
        0 => 4,
        count => usize::from(count),
    };
    let start = (setup_sectors + 1) * 512 + word(0x248)?;
    image.get(start..start.checked_add(word(0x24c)?)?)
}

#[cfg(test)]
mod tests {
    use super::payload;

    fn image() -> Vec<u8> {
        let mut image = vec![0; 2048];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248] = 16;
        image[0x24c] = 4;
        image[1040..1044].copy_from_slice(b"xyzw");
        image
    }

    #[test]
    fn the_payload_is_where_the_header_says() {
        assert_eq!(payload(&image()), Some(&b"xyzw"[..]));
    }

    #[test]
    fn a_payload_past_the_end_is_refused() {
        let mut image = image();
        image[0x24e] = 1;
        assert_eq!(payload(&image), None);
        assert_eq!(payload(&image[..0x200]), None);
    }
}
