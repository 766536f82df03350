//! A driver, as far as a test needs one. It knows of the device what its capabilities say.

use std::sync::{Arc, Mutex};

use cloister_coco::memory::SharedMemory;

use crate::notify::DoorbellRegistry;
use crate::pci::testing::{FakeDoorbells, FakeMsi, Hands};
use crate::pci::{PciRoot, Slot};
use crate::virtio::VirtioDevice;
use crate::virtio::queue::testing::Driver as Ring;
use crate::virtio::transport::pci::{Environment, VirtioPci};

/// How the driver reaches the BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By memory accesses.
    Memory,
    /// By configuration accesses alone.
    PciCfg,
}

pub(super) const BOTH_WAYS: [Way; 2] = [Way::Memory, Way::PciCfg];

pub(super) struct Guest {
    pub(super) mem: SharedMemory,
    pub(super) root: PciRoot,
    pub(super) hands: Hands,
    pub(super) slot: Slot,
    pub(super) msi: FakeMsi,
    pub(super) doorbells: Arc<FakeDoorbells>,
    pub(super) function: Arc<Mutex<VirtioPci>>,
    pub(super) way: Way,
    /// Offsets in the BAR by capability type, and of the PCI_CFG capability.
    common: u64,
    pub(super) isr: u64,
    pub(super) device: u64,
    pub(super) notify: u64,
    multiplier: u64,
    pub(super) pci_cfg: u16,
    pub(super) msix: u16,
}

/// Offsets in the common configuration (virtio 1.3 §4.1.4.3).
pub(super) mod reg {
    pub(crate) const DEVICE_FEATURE_SELECT: u64 = 0;
    pub(crate) const DEVICE_FEATURE: u64 = 4;
    pub(crate) const DRIVER_FEATURE_SELECT: u64 = 8;
    pub(crate) const DRIVER_FEATURE: u64 = 12;
    pub(crate) const CONFIG_VECTOR: u64 = 16;
    pub(crate) const NUM_QUEUES: u64 = 18;
    pub(crate) const STATUS: u64 = 20;
    pub(crate) const GENERATION: u64 = 21;
    pub(crate) const QUEUE_SELECT: u64 = 22;
    pub(crate) const QUEUE_SIZE: u64 = 24;
    pub(crate) const QUEUE_VECTOR: u64 = 26;
    pub(crate) const QUEUE_ENABLE: u64 = 28;
    pub(crate) const QUEUE_NOTIFY_OFF: u64 = 30;
    pub(crate) const QUEUE_DESC: u64 = 32;
    pub(crate) const QUEUE_DRIVER: u64 = 40;
    pub(crate) const QUEUE_DEVICE: u64 = 48;
}

impl Guest {
    pub(super) fn new(device: impl VirtioDevice + 'static, way: Way, access_platform: bool) -> Guest {
        let mem = SharedMemory::for_test(8 << 20);
        let (msi, doorbells) = (FakeMsi::default(), Arc::new(FakeDoorbells::default()));
        let registry: Arc<dyn DoorbellRegistry> = doorbells.clone();
        let env = Environment { mem: &mem, msi: &msi, doorbells: &registry, access_platform };
        let function = Arc::new(Mutex::new(VirtioPci::new(Box::new(device), &env).unwrap()));
        let root = PciRoot::new(0xc000_0000, 0x2000_0000);
        let slot = root.add(function.clone()).unwrap();
        let hands = Hands::new(&root);
        let mut guest = Guest {
            mem,
            root,
            hands,
            slot,
            msi,
            doorbells,
            function,
            way,
            common: u64::MAX,
            isr: u64::MAX,
            device: u64::MAX,
            notify: u64::MAX,
            multiplier: 0,
            pci_cfg: 0,
            msix: 0,
        };
        guest.probe();
        guest
    }

    /// Walks the capabilities as a driver does.
    fn probe(&mut self) {
        for (id, at) in self.hands.capabilities(self.slot) {
            match (id, self.hands.config8(self.slot, at + 3)) {
                (0x11, _) => self.msix = at,
                (9, 5) => self.pci_cfg = at,
                (9, kind) => {
                    assert_eq!(self.hands.config8(self.slot, at + 4), 0, "the BAR");
                    let offset = u64::from(self.hands.config32(self.slot, at + 8));
                    match kind {
                        1 => self.common = offset,
                        2 => {
                            self.notify = offset;
                            self.multiplier = u64::from(self.hands.config32(self.slot, at + 16));
                        }
                        3 => self.isr = offset,
                        4 => self.device = offset,
                        other => panic!("capability type {other}"),
                    }
                }
                other => panic!("capability {other:x?}"),
            }
        }
    }

    /// Reads `len` bytes (1, 2 or 4) at `offset` in the BAR.
    pub(super) fn read(&mut self, offset: u64, len: u32) -> u32 {
        match self.way {
            Way::Memory => {
                let at = self.hands.bar(self.slot, 0) + offset;
                match len {
                    1 => self.hands.mem8(at).into(),
                    2 => self.hands.mem16(at).into(),
                    _ => self.hands.mem32(at),
                }
            }
            Way::PciCfg => {
                self.aim(offset, len);
                let data = self.pci_cfg + 16;
                match len {
                    1 => self.hands.config8(self.slot, data).into(),
                    2 => self.hands.config16(self.slot, data).into(),
                    _ => self.hands.config32(self.slot, data),
                }
            }
        }
    }

    /// Writes `len` bytes (1, 2 or 4) at `offset` in the BAR.
    pub(super) fn write(&mut self, offset: u64, len: u32, value: u32) {
        match self.way {
            Way::Memory => {
                let at = self.hands.bar(self.slot, 0) + offset;
                match len {
                    1 => self.hands.set_mem8(at, value as u8),
                    2 => self.hands.set_mem16(at, value as u16),
                    _ => self.hands.set_mem32(at, value),
                }
            }
            Way::PciCfg => {
                self.aim(offset, len);
                let data = self.pci_cfg + 16;
                match len {
                    1 => self.hands.set_config8(self.slot, data, value as u8),
                    2 => self.hands.set_config16(self.slot, data, value as u16),
                    _ => self.hands.set_config32(self.slot, data, value),
                }
            }
        }
    }

    fn aim(&mut self, offset: u64, len: u32) {
        let cap = self.pci_cfg;
        self.hands.set_config8(self.slot, cap + 4, 0);
        self.hands.set_config32(self.slot, cap + 8, offset as u32);
        self.hands.set_config32(self.slot, cap + 12, len);
    }

    pub(super) fn get(&mut self, register: u64) -> u32 {
        self.read(self.common + register, width(register))
    }

    pub(super) fn set(&mut self, register: u64, value: u32) {
        self.write(self.common + register, width(register), value);
    }

    pub(super) fn offered(&mut self) -> u64 {
        self.set(reg::DEVICE_FEATURE_SELECT, 1);
        let high = u64::from(self.get(reg::DEVICE_FEATURE));
        self.set(reg::DEVICE_FEATURE_SELECT, 0);
        high << 32 | u64::from(self.get(reg::DEVICE_FEATURE))
    }

    pub(super) fn accept(&mut self, features: u64) {
        for (select, bits) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.set(reg::DRIVER_FEATURE_SELECT, select);
            self.set(reg::DRIVER_FEATURE, bits);
        }
    }

    /// Reset, then up to FEATURES_OK; says whether the device took the features.
    pub(super) fn negotiate(&mut self, features: u64) -> bool {
        self.set(reg::STATUS, 0);
        assert_eq!(self.get(reg::STATUS), 0);
        self.set(reg::STATUS, 1);
        self.set(reg::STATUS, 3);
        self.accept(features);
        self.set(reg::STATUS, 0xb);
        self.get(reg::STATUS) == 0xb
    }

    /// Makes a queue of the largest size at 1 MiB times `index` and enables it, with vector `index` + 1.
    pub(super) fn enable_queue(&mut self, index: u16) -> Ring {
        self.set(reg::QUEUE_SELECT, index.into());
        let size = self.get(reg::QUEUE_SIZE) as u16;
        let base = (1 << 20) * u64::from(index);
        let ring = Ring::new(&self.mem, base, base + (1 << 20), size);
        let config = ring.config();
        for (register, at) in [
            (reg::QUEUE_DESC, config.desc),
            (reg::QUEUE_DRIVER, config.driver),
            (reg::QUEUE_DEVICE, config.device),
        ] {
            self.set(register, at as u32);
            self.set(register + 4, (at >> 32) as u32);
        }
        self.set(reg::QUEUE_VECTOR, u32::from(index) + 1);
        assert_eq!(self.get(reg::QUEUE_VECTOR), u32::from(index) + 1);
        self.set(reg::QUEUE_ENABLE, 1);
        assert_eq!(self.get(reg::QUEUE_ENABLE), 1);
        ring
    }

    /// Enables MSI-X with every vector unmasked: vector n carries data 0x40 + n.
    pub(super) fn enable_msix(&mut self) {
        let (cap, slot) = (self.msix, self.slot);
        let count = u64::from(self.hands.config16(slot, cap + 2) & 0x7ff) + 1;
        let table = u64::from(self.hands.config32(slot, cap + 4) & !7);
        for vector in 0..count {
            for (word, value) in [(0, 0xfee0_0000), (1, 0), (2, 0x40 + vector as u32), (3, 0)] {
                self.write(table + 16 * vector + 4 * word, 4, value);
            }
        }
        self.hands.set_config16(slot, cap + 2, 1 << 15);
    }

    /// Rings queue `index`'s doorbell by an access that reaches the device.
    pub(super) fn ring(&mut self, index: u16) {
        self.set(reg::QUEUE_SELECT, index.into());
        let at = self.notify + u64::from(self.get(reg::QUEUE_NOTIFY_OFF)) * self.multiplier;
        self.write(at, 2, index.into());
    }

    /// The whole sequence of virtio 1.3 §3.1.1, with all queues.
    pub(super) fn initialise(&mut self, features: u64) -> Vec<Ring> {
        assert!(self.negotiate(features));
        self.enable_msix();
        self.set(reg::CONFIG_VECTOR, 0);
        let queues = self.get(reg::NUM_QUEUES) as u16;
        let rings = (0..queues).map(|q| self.enable_queue(q)).collect();
        self.set(reg::STATUS, 0xf);
        rings
    }
}

fn width(register: u64) -> u32 {
    match register {
        reg::STATUS | reg::GENERATION => 1,
        16..=19 | 22..=31 => 2,
        _ => 4,
    }
}
