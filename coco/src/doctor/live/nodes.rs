//! Device nodes, and firmware images in the usual places.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;

use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::ImageFile;
use cloister_firmware::tdvf::Tdvf;

use crate::doctor::answer::{Answer, Image, Node};
use crate::doctor::check::IMAGES;

/// Those that a confidential guest's host has, or that tell a confidential guest from a host.
const NODES: [&str; 5] = ["/dev/kvm", "/dev/sev", "/dev/vhost-vsock", "/dev/sev-guest", "/dev/tdx_guest"];

pub(super) fn look() -> BTreeMap<String, Answer<Node>> {
    NODES.iter().map(|path| ((*path).to_owned(), node(path))).collect()
}

fn node(path: &str) -> Answer<Node> {
    Answer::from(fs::metadata(path)).map(|data| Node {
        mode: format!("{:04o}", data.mode() & 0o7777),
        owner: name("/etc/passwd", data.uid()),
        group: name("/etc/group", data.gid()),
        open: Answer::from(OpenOptions::new().read(true).write(true).open(path)).map(|_| true),
    })
}

/// The name of a number in a file of `name:…:number:…` lines; the number where it has none.
fn name(file: &str, id: u32) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut names = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    names.next().unwrap_or_else(|| id.to_string())
}

pub(super) fn images() -> BTreeMap<String, Image> {
    IMAGES.iter().filter_map(|path| Some(((*path).to_owned(), image(path)?))).collect()
}

fn image(path: &str) -> Option<Image> {
    let size = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.len();
    let firmware = ImageFile::open(path).ok().and_then(|file| Firmware::read(&file).ok());
    let metadata = firmware.as_ref().and_then(|f| f.sev_metadata().ok().flatten());
    Some(Image {
        size,
        snp: metadata.is_some(),
        kernel_hashes: metadata.is_some_and(|m| m.kernel_hashes().is_some()),
        tdx: firmware.as_ref().is_some_and(|f| matches!(Tdvf::parse(f), Ok(Some(_)))),
    })
}
