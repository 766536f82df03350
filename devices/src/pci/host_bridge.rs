//! The host bridge, at 00:00.0. It says that this is a Q35, by which stock firmware finds its way.

use super::config::{ConfigSpace, Identity};
use super::function::PciFunction;

/// PCIEXBAR: where firmware puts the ECAM window (Intel 82Q35 datasheet §5.1.14). It may write it; the
/// window stays where it is.
const PCIEXBAR: u16 = 0x60;
const PCIEXBAR_ENABLE: u32 = 1;

/// The memory controller hub of an Intel Q35, as far as a guest looks at it.
#[derive(Debug)]
pub struct HostBridge {
    space: ConfigSpace,
}

impl HostBridge {
    /// A host bridge for a machine with its ECAM window at `ecam`, below 4 GiB.
    pub fn new(ecam: u64) -> Self {
        let mut space = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x29c0,
            class: 0x060000,
            ..Identity::default()
        });
        let low = u32::try_from(ecam).unwrap_or(0) | PCIEXBAR_ENABLE;
        space.set(PCIEXBAR, &low.to_le_bytes());
        space.make_writable(PCIEXBAR, &[0x07, 0, 0, 0xf0, 0x0f]);
        HostBridge { space }
    }
}

impl PciFunction for HostBridge {
    fn space(&self) -> &ConfigSpace {
        &self.space
    }

    fn space_mut(&mut self) -> &mut ConfigSpace {
        &mut self.space
    }
}
