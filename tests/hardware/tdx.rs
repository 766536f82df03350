//! Intel TDX.

use crate::lane::{Lane, predicted, quote_service, said, setting};

const TDX: Lane = Lane { name: "tdx", firmware: "OVMF.inteltdx.ms.fd" };

/// MRTD as the module reports it to the guest (sysfs of the guest's kernel, 6.16 and later): no service is asked.
const MRTD: &str = r#"
mrtd=$(hexdump -ve '/1 "%02x"' /sys/devices/virtual/misc/tdx_guest/measurements/mrtd:sha384)
echo "MRTD $mrtd"
"#;

/// A quote by way of configfs. Its body begins at 48 in version 4 and at 54 in version 5, and MRTD is 136 bytes
/// into it (Intel TDX DCAP quote format, TD quote body); the report data are at 520.
const QUOTE: &str = r#"
entry=/sys/kernel/config/tsm/report/lane
mkdir $entry || echo "NO QUOTES"
yes cloister | head -c 64 >$entry/inblob
cat $entry/outblob >/tmp/quote
field() { dd if=/tmp/quote bs=1 skip=$1 count=$2 2>/dev/null | hexdump -ve '/1 "%02x"'; }
echo "PROVIDER $(cat $entry/provider)"
version=$(field 0 2)
body=48
[ "$version" = 0500 ] && body=54
echo "QUOTE-VERSION $version"
echo "QUOTE-SIZE $(wc -c </tmp/quote)"
echo "QUOTE-DATA $(field $((body + 520)) 64)"
echo "QUOTE-MRTD $(field $((body + 136)) 48)"
"#;

#[test]
fn host_is_ready() {
    TDX.host_is_ready();
}

#[test]
fn guest_is_measured_to_what_was_predicted() {
    let guest = TDX.guest(MRTD);
    let run = TDX.run(&guest, &[]);
    run.code(0);
    assert_eq!(said(&run, "MRTD "), predicted(&run));
}

/// GetQuote, through this host's quote service.
#[test]
fn quote_says_what_was_predicted() {
    let document = TDX.doctor();
    let findings = document["findings"].as_array().expect("findings");
    let service = findings.iter().find(|finding| finding["id"] == "quotes.service");
    let ready = service.is_some_and(|finding| finding["level"] == "ok");
    assert!(
        ready || setting("CLOISTER_QUOTE_SERVICE").is_some(),
        "no quote service answers at {}: start qgsd, or name one in CLOISTER_QUOTE_SERVICE; {service:?}",
        quote_service()
    );
    let guest = TDX.guest(QUOTE);
    let run = TDX.run(&guest, &[]);
    run.code(0);
    assert_eq!(said(&run, "PROVIDER "), "tdx_guest");
    assert_eq!(said(&run, "QUOTE-MRTD "), predicted(&run));
    let mut data = "cloister\n".repeat(8);
    data.truncate(64);
    let hex: String = data.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(said(&run, "QUOTE-DATA "), hex);
    let size: u64 = said(&run, "QUOTE-SIZE ").parse().expect("a number");
    run.expect(size > 1000, "a quote has its certificates with it");
}

#[test]
fn launch_is_the_one_of_its_dry_run() {
    TDX.launches_as_its_dry_run(&[]);
}

#[test]
fn conversions_are_counted_and_none_is_refused() {
    TDX.counts_conversions();
}

#[test]
fn guest_comes_back_from_a_reset() {
    TDX.comes_back_from_a_reset(MRTD, "MRTD ");
}
