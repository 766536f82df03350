//! Any access at all, in any order, to a device that serves.

use proptest::prelude::*;

use super::driver::{Guest, Way};
use crate::bus::BusDevice;
use crate::virtio::dev::rng::Rng;

/// An access to configuration space or to the BAR.
#[derive(Debug, Clone)]
struct Access {
    config: bool,
    offset: u64,
    data: Vec<u8>,
    write: bool,
}

fn access() -> impl Strategy<Value = Access> {
    let config = (prop_oneof![0x40u64..0x100, 0..0x40u64], prop::sample::select(vec![1usize, 2, 4]));
    let bar = (
        prop_oneof![6 => 0u64..0x40, 1 => 0x1000u64..0x1008, 1 => 0x3000u64..0x3008,
                    2 => 0x4000u64..0x4020, 1 => 0u64..0x8000],
        prop::sample::select(vec![1usize, 2, 4, 8]),
    );
    // Small numbers make sense to the device more often than large ones.
    let byte = prop_oneof![3 => 0u8..16, 1 => any::<u8>()];
    let place = prop_oneof![config.prop_map(|p| (true, p)), bar.prop_map(|p| (false, p))];
    (place, prop::collection::vec(byte, 8), any::<bool>()).prop_map(
        |((config, (offset, len)), data, write)| Access { config, offset, data: data[..len].to_vec(), write },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn random_accesses_never_panic_and_a_reset_always_helps(
        accesses in prop::collection::vec(access(), 1..300),
        access_platform in any::<bool>(),
    ) {
        let mut guest = Guest::new(Rng::new(), Way::Memory, access_platform);
        let features = guest.offered() & !(1 << 29);
        guest.initialise(features);
        let bar = guest.hands.bar(guest.slot, 0);
        for Access { config, offset, mut data, write } in accesses {
            if config {
                let address = 1u32 << 31 | u32::from(guest.slot.0) << 11 | (offset as u32 & 0xfc);
                guest.hands.ports.write(0, &address.to_le_bytes());
                let port = 4 + (offset & 3);
                if write { guest.hands.ports.write(port, &data) } else { guest.hands.ports.read(port, &mut data) }
            } else {
                let at = bar - 0xc000_0000 + offset;
                if write { guest.hands.mmio.write(at, &data) } else { guest.hands.mmio.read(at, &mut data) }
            }
        }
        // Whatever was done to it, a driver that begins anew finds a device that works.
        let slot = guest.slot;
        guest.hands.set_config32(slot, 0x10, bar as u32);
        guest.hands.set_config16(slot, 4, 2);
        let before = guest.msi.vector(1).triggered;
        let mut rings = guest.initialise(features);
        let buffer = rings[0].writable(16);
        rings[0].add(&[buffer]);
        rings[0].publish();
        guest.ring(0);
        prop_assert!(guest.msi.wait(1, before + 1, crate::virtio::testing::TIMEOUT));
        prop_assert_eq!(rings[0].completed().unwrap().unwrap().len, 16);
        prop_assert_eq!(guest.msi.vector(1).lost, 0);
    }
}
