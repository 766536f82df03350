//! Configuration space.

use super::*;

#[test]
fn the_header_says_who_it_is_and_cannot_be_told_otherwise() {
    let identity = Identity {
        vendor: 0x8086,
        device: 0x29c0,
        revision: 2,
        class: 0x060000,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
    };
    let mut space = ConfigSpace::new(identity);
    let header = space.clone();
    for at in (0..256).step_by(4) {
        space.write(at, &[0xff; 4]);
    }
    assert_eq!(space.u32(0x00), 0x29c0_8086);
    assert_eq!(space.u32(0x08), 0x0600_0002);
    assert_eq!(space.u32(0x2c), 0x1100_1af4);
    assert_eq!(space.u16(0x06), header.u16(0x06), "status");
    assert_eq!(space.u32(0x10), 0, "no BAR where none was added");
    assert_eq!(space.u32(0x3c), 0xff, "interrupt line only; no pin");
}

#[test]
fn a_bar_tells_its_size_and_takes_an_address() {
    let mut space = ConfigSpace::new(Identity::default());
    space.add_bar(1, 0x4000).unwrap();
    space.write(0x14, &u32::MAX.to_le_bytes());
    assert_eq!(space.u32(0x14), 0xffff_c000);
    space.write(0x14, &0xd000_4fffu32.to_le_bytes());
    assert_eq!(space.windows(), [], "decoding is off");
    space.write(0x04, &[2]);
    assert_eq!(space.windows(), [BarWindow { bar: 1, base: 0xd000_4000, size: 0x4000 }]);
    for (bar, size) in [(1, 0x1000), (6, 0x1000), (0, 8), (0, 0), (0, 0x3000)] {
        assert!(space.add_bar(bar, size).is_err());
    }
}

#[test]
fn capabilities_are_a_list_and_writable_only_where_they_say() {
    let mut space = ConfigSpace::new(Identity::default());
    assert_eq!(space.u16(0x06), 0);
    let first = space.add_capability(9, &[1, 2, 3], &[0, 0xf0]).unwrap();
    let second = space.add_capability(0x11, &[4; 10], &[]).unwrap();
    assert_eq!((first, second), (0x40, 0x48));
    assert_eq!(space.u16(0x06), 0x10);
    assert_eq!(space.u32(0x34), 0x40);
    assert_eq!(space.u32(0x40), 0x0201_4809);
    space.write(0x40, &[0xff; 5]);
    assert_eq!(space.u32(0x40), 0xf201_4809);
    assert_eq!(space.u16(0x48), 0x0011, "the last one links to none");
    let room = 256 - 0x54 - 2;
    assert!(space.add_capability(9, &vec![0; room + 1], &[]).is_err());
    assert!(space.add_capability(9, &vec![0; room], &[]).is_ok());
    assert!(space.add_capability(9, &[], &[]).is_err());
}

#[test]
fn the_extended_space_is_there_and_empty() {
    let mut space = ConfigSpace::new(Identity::default());
    let mut data = [0xaa; 4];
    space.read(0xfe, &mut data);
    assert_eq!(data, [0; 4]);
    space.write(0xfff, &[1, 2, 3, 4]);
    assert_eq!(space.u32(0xffe), 0);
}
