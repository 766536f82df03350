//! RTMR0 of whole TDs, as others publish it.

use cloister_firmware::measure::Digest384;
use cloister_firmware::measure::rtmr::{Rtmr, TdBoot, TdKernel, predict_rtmrs};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::MemoryRange;

use super::images::{INTELTDX, firmware, published};

/// What virtee/tdx-measure publishes for Ubuntu's `OVMF.fd` (fortanix/tdx-measure, commit b48752b,
/// `tests/fixtures/*/expected.json`, Apache-2.0): name, MiB of memory, SHA-384 of `etc/table-loader`,
/// `etc/acpi/rsdp` and `etc/acpi/tables`, RTMR0. The tables are QEMU's, 128 KiB each, and not in this repository:
/// the third hash is that of the fixture's `acpi_tables.bin`, the first two of the files that belong to it, made
/// as that tool makes them. The last tables were read in a running TD.
const PUBLISHED: [(&str, u64, [&str; 3], &str); 3] = [
    (
        "canonical-defaults",
        2048,
        [
            "5a90c1030f1e8a83d9762fd0f4ea0d22e2ea77733c5c5fba869e746c34a2aa0e89ea1274c111cd9fda70cb1b1c9a13b8",
            "2441521fc5d1c73583df676f308f93dba31808d184f6faa370549eb62fa7d3c4417e01cda010a191d401200a209ac79a",
            "43294dd0bd554ef1950caa7110c9ce685d454c69a9f124db1e84b764486678e179d5e3b9a83b85a9253eb056e35479a8",
        ],
        "e1cf95c7fedaa78087b3eb237148869f804642b7939d59c8825db269ffadf190d4a7fd4f44d9b10ba7ff44c12dd564f5",
    ),
    (
        "q35-with-hpet",
        4096,
        [
            "24a4744b48108a29a474565ce1dc36d887abb305f20693470e369665781326239ffbef88c9acb975f931d214a41be46a",
            "d9f82daaa1b00205fe5cb96591b8801edf02b70046955f1e987a8f5953757f53e95eb7e51f56011228d64e23955da035",
            "b3e86d66063f4cdeeb6c5897572704f5474698a883c6be7f102b1ca48eb315a20f359f1d0266f888d3f0ed83ae531589",
        ],
        "507b21ccfe504463c9a324a440e19707ef84e03663cf6c6013540ce79131f9675a7852cfa65303d931c2a79389ffff49",
    ),
    (
        "runtime-capture",
        16384,
        [
            "84db560c1236915fc523c9bc14355a124290f448db2f302740b06170548dc93ddbf16d0aac71276ae5be29e0761782c4",
            "727c0e3904042ea889dbeb79d48b7ec3cb922df485d65775a07533e1aa83e3166cbafa24b091e17533ad2f48a543d961",
            "66bb50e2c4bcde199d3e62344d9e2276d9fa117c861f14fd9bf6a3bcfebf6efc97059e273f08bf5a09fa0853b2492048",
        ],
        "a2749c840579faca6adf0c9c3ab69f277556cda67f8a6b3553c2c7fbf00e9706ec77a6f6960d802433b339ff8b72eefb",
    ),
];

fn digest(text: &str) -> Digest384 {
    Digest384(hex::decode(text).unwrap().try_into().unwrap())
}

/// RAM as QEMU's q35 lays it out: with 2.75 GiB or more, all but 2 GiB of it above 4 GiB.
fn q35(memory: u64) -> Vec<MemoryRange> {
    match memory < 0xb000_0000 {
        true => vec![MemoryRange::new(0, memory)],
        false => vec![MemoryRange::new(0, 2 << 30), MemoryRange::new(4 << 30, memory - (2 << 30))],
    }
}

/// The registers of a TD with an empty kernel.
fn rtmrs(firmware: &Firmware, memory: u64, acpi: [&str; 3]) -> [Rtmr; 4] {
    let names = ["etc/table-loader", "etc/acpi/rsdp", "etc/acpi/tables"];
    let acpi: Vec<_> =
        names.iter().zip(acpi).map(|(name, hash)| ((*name).to_owned(), digest(hash))).collect();
    let kernel = TdKernel { image: Digest384::ZERO, initrd: None, cmdline: String::new(), options: None };
    let ram = q35(memory);
    let boot = TdBoot {
        firmware,
        ram: Some(&ram),
        fw_cfg: Some(&[]),
        acpi: Some(acpi.as_slice()),
        kernel: Some(kernel),
    };
    predict_rtmrs(&boot).unwrap()
}

#[test]
fn rtmr0_is_what_is_published() {
    let Some(image) = published("OVMF.fd") else { return };
    let firmware = Firmware::parse(image).unwrap();
    for (name, memory, acpi, want) in PUBLISHED {
        let [rtmr0, ..] = rtmrs(&firmware, memory << 20, acpi);
        assert!(rtmr0.is_complete(), "{name}: {:?}", rtmr0.unknown);
        assert_eq!(rtmr0.value().to_string(), want, "{name}: {:#?}", rtmr0.events);
    }
}

/// Debian's build measures a number of fw_cfg before the variables, and SMBIOS tables in an order that its
/// drivers settle: what follows the ACPI tables is not told for certain.
#[test]
fn newer_firmware_is_followed_as_far_as_it_is_certain() {
    let [rtmr0, ..] = rtmrs(&firmware(INTELTDX), 2 << 30, PUBLISHED[0].2);
    let names: Vec<_> = rtmr0.events.iter().map(|e| e.what.as_str()).collect();
    let want = [
        "hand-off blocks (TD HOB)",
        "configuration firmware volume",
        "fw_cfg BootMenu",
        "variable SecureBoot",
        "variable PK",
        "variable KEK",
        "variable db",
        "variable dbx",
        "separator",
        "etc/table-loader",
        "etc/acpi/rsdp",
        "etc/acpi/tables",
    ];
    assert_eq!(names, want);
    assert_eq!(rtmr0.unknown.len(), 1, "{:?}", rtmr0.unknown);
}

/// VirTEE's build is of before: nothing of fw_cfg and SMBIOS, the initrd told of behind the command line.
#[test]
fn older_firmware_is_followed_to_the_end() {
    let Some(image) = published("OVMF.inteltdx.fd") else { return };
    let firmware = Firmware::parse(image).unwrap();
    let [rtmr0, ..] = rtmrs(&firmware, 2 << 30, PUBLISHED[0].2);
    assert!(rtmr0.is_complete(), "{:?}", rtmr0.unknown);
    // A TD's own event log has the same options: `cc-eventlog/samples/ccel.bin` of Dstack-TEE/dstack.
    let logged =
        "23ada07f5261f12f34a0bd8e46760962d6b4d576a416f1fea1c64bc656b1d28eacf7047ae6e967c58fd2a98bfa74c298";
    assert_eq!(rtmr0.events.last().map(|e| e.digest.to_string()).as_deref(), Some(logged));
}
