//! Real private memory: KVM's software-protected VM.

use std::path::Path;

use cloister_tests::Run;

fn demo(more: &[&str]) -> Run {
    let payload = std::env::var("CLOISTER_PAYLOAD").expect("CLOISTER_PAYLOAD names the demo's guest");
    assert!(Path::new(&payload).exists());
    Run::of([&["demo", "--coco", "protected", "--payload", &payload], more].concat())
}

#[test]
fn the_demo_converts_attests_and_gets_its_secret() {
    demo(&[]).code(0).said("guest_memfd").said("secret demo sha256");
}

#[test]
fn a_changed_byte_is_refused() {
    demo(&["--tamper"]).code(6).said("measurement");
}
