//! Any access at all, in any order.

use proptest::prelude::*;

use super::*;
use crate::bus::BusDevice;

fn offset(len: u64) -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..0x100u64.min(len), 2 => 0..len, 1 => Just(len - 1)]
}

proptest! {
    #[test]
    fn random_accesses_never_panic(
        accesses in prop::collection::vec(
            (0u8..3, offset(LEN), any::<[u8; 8]>(), 0usize..4, any::<bool>()), 1..200),
    ) {
        let (root, mut hands) = root();
        root.add(Arc::new(Mutex::new(HostBridge::new(0xe000_0000)))).unwrap();
        root.add(Arc::new(Mutex::new(Pvpanic::new(|_| {}).unwrap()))).unwrap();
        let mut ecam = Ecam::new(root.clone());
        for (way, offset, bytes, width, write) in accesses {
            let mut data = bytes[..1 << width].to_vec();
            let (device, offset): (&mut dyn BusDevice, u64) = match way {
                0 => (&mut hands.ports, offset % 8),
                1 => (&mut ecam, offset % 0x1000_0000),
                _ => (&mut hands.mmio, offset),
            };
            if write {
                device.write(offset, &data);
            } else {
                device.read(offset, &mut data);
            }
        }
        prop_assert_eq!(hands.config32(Slot(0), 0), 0x29c0_8086);
    }
}
