//! The LPC bridge, at 00:1f.0: where stock firmware for a Q35 finds the chipset's power management.

use super::config::{ConfigSpace, Identity};
use super::function::PciFunction;
use super::root::Slot;
use super::spec::COMMAND;

/// Ports, memory and bus mastering: always on, the bridge has no other way (§13.1.3). Firmware looks for
/// the serial port only behind a bridge that says so.
const COMMAND_ALWAYS: u8 = 0b111;
/// PMBASE: first port of the power management registers (Intel ICH9 datasheet §13.1.13). Bit 0 says
/// that they are ports.
const PMBASE: u16 = 0x40;
const PMBASE_IS_IO: u32 = 1;
/// ACPI_CNTL: bit 7 switches the registers at PMBASE on (§13.1.14).
const ACPI_CNTL: u16 = 0x44;
const ACPI_ENABLE: u8 = 1 << 7;
/// PIRQA to PIRQD, PIRQE to PIRQH: where legacy interrupts go (§13.1.16, §13.1.18). Nowhere, as there are
/// none; bit 7 says so, and firmware may write what it likes.
const PIRQ_ROUTES: [u16; 2] = [0x60, 0x68];
const PIRQ_OFF: u8 = 1 << 7;
/// RCBA: where the chipset's memory-mapped registers are, which nobody looks at (§13.1.37).
const RCBA: u16 = 0xf0;

/// The LPC bridge of an Intel ICH9, as far as firmware looks at it.
#[derive(Debug)]
pub struct LpcBridge {
    space: ConfigSpace,
}

impl LpcBridge {
    /// Where firmware looks for it.
    pub const SLOT: Slot = Slot(0x1f);

    /// A bridge with its power management registers at port `pm_base`, switched on. Firmware may write
    /// their address; they stay where they are.
    pub fn new(pm_base: u16) -> Self {
        let mut space = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x2918,
            revision: 2,
            class: 0x060100,
            ..Identity::default()
        });
        space.set(PMBASE, &(u32::from(pm_base) | PMBASE_IS_IO).to_le_bytes());
        space.set(ACPI_CNTL, &[ACPI_ENABLE]);
        for routes in PIRQ_ROUTES {
            space.set(routes, &[PIRQ_OFF; 4]);
            space.make_writable(routes, &[0x8f; 4]);
        }
        space.make_writable(RCBA, &[0x01, 0xc0, 0xff, 0xff]);
        let mut bridge = LpcBridge { space };
        bridge.fix_command();
        bridge
    }

    fn fix_command(&mut self) {
        let [low, _] = self.space.u16(COMMAND).to_le_bytes();
        self.space.set(COMMAND, &[low | COMMAND_ALWAYS]);
    }
}

impl PciFunction for LpcBridge {
    fn space(&self) -> &ConfigSpace {
        &self.space
    }

    fn space_mut(&mut self) -> &mut ConfigSpace {
        &mut self.space
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.space.write(offset, data);
        self.fix_command();
    }
}
