use proptest::prelude::*;

use super::*;

const REAL: &[u8; 1184] = include_bytes!("../../tests/vectors/turin-v5-vcek-ms/report.bin");

fn changed(offset: usize, value: u8) -> Result<Report, Rejection> {
    let mut bytes = *REAL;
    bytes[offset] = value;
    Report::parse(&bytes)
}

#[test]
fn fields_are_where_the_vector_says() {
    let json = include_str!("../../tests/vectors/turin-v5-vcek-ms/vector.json");
    let vector: serde_json::Value = serde_json::from_str(json).unwrap();
    let text = |key: &str| vector[key].as_str().unwrap().to_owned();
    let report = Report::parse(REAL).unwrap();
    assert_eq!(report.version(), 5);
    assert_eq!(hex::encode(report.measurement()), text("measurement"));
    assert_eq!(hex::encode(report.host_data()), text("host_data"));
    assert_eq!(hex::encode(report.report_data()), text("report_data"));
    assert_eq!(hex::encode(report.chip_id()), text("chip_id"));
    assert_eq!(hex::encode(report.reported_tcb().0), text("reported_tcb_raw"));
    assert_eq!(hex::encode(report.current_tcb().0), text("current_tcb_raw"));
    assert_eq!(hex::encode(report.committed_tcb().0), text("committed_tcb_raw"));
    assert_eq!(hex::encode(report.launch_tcb().0), text("launch_tcb_raw"));
    assert_eq!(hex::encode(report.cpuid().unwrap()), text("cpuid_fms"));
    assert_eq!(format!("{:?}", report.policy()), text("guest_policy"));
    assert_eq!(format!("{:?}", report.platform_info()), text("platform_info"));
    assert_eq!(report.mitigations(), Some((0x3f, 0x3f)));
    assert_eq!(report.product(), Ok(Some(Product::Turin)));
    assert_eq!(report.report_id_ma(), [0xff; 32]);
    assert_eq!(report.author_key_digest(), None);
}

#[test]
fn form_is_checked() {
    assert_eq!(Report::parse(&REAL[..1183]).unwrap_err(), Rejection::BadLength { found: 1183 });
    assert_eq!(Report::parse(&[]).unwrap_err(), Rejection::BadLength { found: 0 });
    for version in [0, 1, 6, 99] {
        let found = u32::from(version);
        assert_eq!(changed(0, version).unwrap_err(), Rejection::UnsupportedVersion { found });
    }
    assert!(changed(0, 4).is_ok());
    assert_eq!(changed(0x34, 2).unwrap_err(), Rejection::UnsupportedAlgorithm { found: 2 });
    for offset in [0x4c, 0x4f, 0x2d0, 0x2e7, 0x318, 0x32f, 0x330, 0x49f] {
        assert_eq!(changed(offset, 7).unwrap_err(), Rejection::ReservedNotZero { offset, found: 7 });
    }
}

#[test]
fn scalars_are_in_range() {
    let with = |offset: usize, scalar: [u8; 48]| {
        let mut bytes = *REAL;
        bytes[offset..offset + 48].copy_from_slice(&scalar);
        bytes[offset..offset + 48].reverse();
        Report::parse(&bytes)
    };
    for offset in [0x2a0, 0x2e8] {
        let mut below = P384_ORDER;
        below[47] -= 1;
        assert!(with(offset, below).is_ok());
        for bad in [P384_ORDER, [0; 48], [0xff; 48]] {
            assert_eq!(with(offset, bad).unwrap_err(), Rejection::SignatureRange { offset });
        }
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes: Vec<u8>, at: prop::sample::Index, to: u8) {
        let _ = Report::parse(&bytes);
        if let Ok(report) = changed(at.index(1184), to) {
            let _ = (report.product(), report.signature(), report.mitigations(), report.author_key_digest());
            prop_assert_eq!(report.bytes()[at.index(1184)], to);
        }
    }
}
