//! Where things are in guest-physical memory.

/// A half-open range of guest-physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRange {
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
}

impl MemoryRange {
    /// A range from its first address and its length.
    pub const fn new(start: u64, size: u64) -> Self {
        MemoryRange { start, size }
    }

    /// The address after the last one.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

/// The guest-physical address map, the same on every host: RAM below and above the window of devices
/// under 4 GiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestLayout {
    /// RAM, ascending.
    pub ram: Vec<MemoryRange>,
    /// Firmware below 4 GiB, beside the RAM, if the guest boots through firmware.
    pub firmware: Option<MemoryRange>,
}

impl GuestLayout {
    /// End of RAM below 4 GiB; what does not fit lies above [`Self::HIGH_RAM`].
    pub const LOW_RAM_END: u64 = 0xc000_0000;
    /// Start of RAM above 4 GiB.
    pub const HIGH_RAM: u64 = 0x1_0000_0000;
    /// Window for 32-bit PCI BARs.
    pub const PCI_MMIO: MemoryRange = MemoryRange::new(0xc000_0000, 0x2000_0000);
    /// PCIe enhanced configuration space: 256 buses of 1 MiB.
    pub const ECAM: MemoryRange = MemoryRange::new(0xe000_0000, 0x1000_0000);
    /// I/O APIC registers (fixed by convention, MADT says it again).
    pub const IOAPIC: MemoryRange = MemoryRange::new(0xfec0_0000, 0x1000);
    /// Local APIC registers.
    pub const LAPIC: MemoryRange = MemoryRange::new(0xfee0_0000, 0x1000);
    /// Where the ACPI tables lie, RSDP first, inside the BIOS area that e820 calls reserved.
    pub const ACPI: MemoryRange = MemoryRange::new(0xe_0000, 0x1_f000);
    /// The last page of the BIOS area, where a processor in real mode looks for its BIOS (F000:FFF0).
    pub const BIOS_ENTRY: MemoryRange = MemoryRange::new(0xf_f000, 0x1000);

    /// A map with `size` bytes of RAM (a multiple of 4096).
    pub fn new(size: u64) -> Self {
        let low = size.min(Self::LOW_RAM_END);
        let mut ram = vec![MemoryRange::new(0, low)];
        if size > low {
            ram.push(MemoryRange::new(Self::HIGH_RAM, size - low));
        }
        GuestLayout { ram, firmware: None }
    }

    /// Where PCI BARs may be. Stock firmware for a Q35 places them between RAM, or 2 GiB, and the
    /// configuration space, and asks nobody (edk2's OvmfPkg/Library/PlatformInitLib,
    /// `PlatformMemMapInitialization`).
    pub fn pci_window(&self) -> MemoryRange {
        if self.firmware.is_none() {
            return Self::PCI_MMIO;
        }
        let start = self.low_ram_end().max(2 << 30);
        MemoryRange::new(start, Self::ECAM.start.saturating_sub(start))
    }

    /// End of the RAM below 4 GiB.
    pub fn low_ram_end(&self) -> u64 {
        self.ram.first().map_or(0, MemoryRange::end)
    }

    /// Bytes of RAM in all.
    pub fn ram_size(&self) -> u64 {
        self.ram.iter().map(|r| r.size).sum()
    }

    /// Whether `[start, start + len)` can be launched: it lies wholly in RAM or in the firmware.
    pub fn is_launchable(&self, start: u64, len: u64) -> bool {
        let Some(end) = start.checked_add(len) else { return false };
        self.is_ram(start, len) || self.firmware.is_some_and(|f| start >= f.start && end <= f.end())
    }

    /// Whether `[start, start + len)` lies wholly in RAM.
    pub fn is_ram(&self, start: u64, len: u64) -> bool {
        let Some(end) = start.checked_add(len) else { return false };
        self.ram.iter().any(|r| start >= r.start && end <= r.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_jumps_over_the_device_window() {
        let small = GuestLayout::new(512 << 20);
        assert_eq!(small.ram, [MemoryRange::new(0, 512 << 20)]);
        let large = GuestLayout::new(4 << 30);
        assert_eq!(large.ram[1], MemoryRange::new(GuestLayout::HIGH_RAM, 1 << 30));
        assert_eq!(large.ram_size(), 4 << 30);
        assert!(large.is_ram(GuestLayout::HIGH_RAM, 1 << 30));
        assert!(!large.is_ram(GuestLayout::LOW_RAM_END - 1, 2));
        assert!(!large.is_ram(u64::MAX, 2));
    }

    #[test]
    fn firmware_has_its_own_idea_of_the_window_for_bars() {
        let window = |size, firmware| GuestLayout { firmware, ..GuestLayout::new(size) }.pci_window();
        assert_eq!(window(512 << 20, None), GuestLayout::PCI_MMIO);
        let image = Some(MemoryRange::new(0xffc0_0000, 0x40_0000));
        assert_eq!(window(512 << 20, image), MemoryRange::new(0x8000_0000, 0x6000_0000));
        assert_eq!(window(5 << 29, image), MemoryRange::new(0xa000_0000, 0x4000_0000));
        assert_eq!(window(8 << 30, image), GuestLayout::PCI_MMIO);
    }
}
