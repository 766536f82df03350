use super::args::{Counts, Hex, number};

#[test]
fn numbers_of_vcpus() {
    let counts = |s: &str| s.parse::<Counts>();
    assert_eq!(counts("4"), Ok(Counts { first: 4, last: 4, range: false }));
    assert_eq!(counts("1-64"), Ok(Counts { first: 1, last: 64, range: true }));
    for bad in ["", "0", "4-1", "0-3", "-3", "3-", "1-2-3", "four", "99999999999"] {
        assert!(counts(bad).is_err(), "{bad}");
    }
}

#[test]
fn hex_and_numbers() {
    assert_eq!("0102".parse::<Hex<2>>(), Ok(Hex([1, 2])));
    assert!("010203".parse::<Hex<2>>().unwrap_err().contains("3 bytes"));
    assert!("01x2".parse::<Hex<2>>().is_err());
    assert_eq!((number("0x21"), number("33")), (Ok(0x21), Ok(33)));
    assert!(number("0x").is_err() && number("-1").is_err());
}
