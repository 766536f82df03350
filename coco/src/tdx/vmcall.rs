//! What a TD asks of its VMM through TDVMCALLs that KVM passes on: the numbers, and the two questions
//! that need no service outside (Intel, "Guest-Hypervisor Communication Interface" for TDX 1.5; KVM_EXIT_TDX
//! in Documentation/virt/kvm/api.rst).

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::io;
use std::sync::Mutex;

use super::Capabilities;

/// A TDVMCALL's number (R11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdvmcallLeaf(pub u64);

impl TdvmcallLeaf {
    /// GetTdVmCallInfo: which TDVMCALLs are there.
    pub const GET_TD_VM_CALL_INFO: Self = TdvmcallLeaf(0x10000);
    /// GetQuote: turn a TDREPORT into a quote.
    pub const GET_QUOTE: Self = TdvmcallLeaf(0x10002);
    /// SetupEventNotifyInterrupt: which interrupt tells of a quote that is ready.
    pub const SETUP_EVENT_NOTIFY_INTERRUPT: Self = TdvmcallLeaf(0x10004);
}

/// What the TD is told in R10 (arch/x86/include/asm/shared/tdx.h, TDVMCALL_STATUS_*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdvmcallStatus(pub u64);

impl TdvmcallStatus {
    /// Done, or taken on.
    pub const SUCCESS: Self = TdvmcallStatus(0);
    /// Not now; ask again.
    pub const RETRY: Self = TdvmcallStatus(1);
    /// An argument that cannot be.
    pub const INVALID_OPERAND: Self = TdvmcallStatus(1 << 63);
    /// An argument that is not aligned.
    pub const ALIGN_ERROR: Self = TdvmcallStatus(1 << 63 | 2);
}

/// Bit 1 of R11 in leaf 1 of GetTdVmCallInfo: SetupEventNotifyInterrupt is there.
const HAS_SETUP_EVENT_NOTIFY_INTERRUPT: u64 = 1 << 1;

/// The TDVMCALLs beyond the base set that KVM and the VMM may offer: the fields of
/// `struct kvm_tdx_capabilities`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VmCallInfo {
    /// `kernel_tdvmcallinfo_1_r11`: what KVM answers itself.
    pub kernel_r11: u64,
    /// `user_tdvmcallinfo_1_r11`: what KVM passes on.
    pub user_r11: u64,
    /// `kernel_tdvmcallinfo_1_r12`
    pub kernel_r12: u64,
    /// `user_tdvmcallinfo_1_r12`
    pub user_r12: u64,
}

impl From<&Capabilities> for VmCallInfo {
    fn from(offered: &Capabilities) -> Self {
        let ([kernel_r11, kernel_r12], [user_r11, user_r12]) = (offered.kernel_calls, offered.user_calls);
        VmCallInfo { kernel_r11, user_r11, kernel_r12, user_r12 }
    }
}

impl VmCallInfo {
    /// R11 to R14 of `leaf`, if that leaf is ours to answer: what KVM passes on and we can do, and what KVM
    /// does (it hands over zeros and copies what comes back).
    pub fn answer(&self, leaf: u64) -> Option<[u64; 4]> {
        let ours = self.user_r11 & HAS_SETUP_EVENT_NOTIFY_INTERRUPT;
        (leaf == 1).then_some([self.kernel_r11 | ours, self.kernel_r12, 0, 0])
    }
}

/// A message-signalled interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msi {
    /// Where it is written.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

/// Sends interrupts to the guest: the board, through KVM.
pub trait InjectMsi: Send + Sync {
    /// Sends `message`, edge triggered.
    fn inject(&self, message: Msi) -> io::Result<()>;
}

/// The interrupt that a TD registered with SetupEventNotifyInterrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventNotify {
    /// Vector, 32 to 255.
    pub vector: u8,
    /// The vCPU that registered it.
    pub apic_id: u32,
}

/// First vector that is not an exception's (Intel SDM, volume 3, 7.2).
const FIRST_VECTOR: u8 = 32;

impl EventNotify {
    /// The interrupt `vector` at the vCPU `apic_id`, if there is such a vector. KVM has checked it; we do
    /// not rely on that.
    pub fn new(vector: u64, apic_id: u32) -> Option<Self> {
        let vector = u8::try_from(vector).ok().filter(|&v| v >= FIRST_VECTOR)?;
        Some(EventNotify { vector, apic_id })
    }

    /// The interrupt as a message: fixed delivery to one APIC. Bits 31:8 of an x2APIC id stand in bits
    /// 63:40 of the address (KVM_CAP_X2APIC_API, Documentation/virt/kvm/api.rst).
    pub fn message(&self) -> Msi {
        let low = u64::from(self.apic_id & 0xff) << 12;
        let high = u64::from(self.apic_id & !0xff) << 32;
        Msi { address: 0xfee0_0000 | low | high, data: self.vector.into() }
    }
}

/// Where a TD wants to hear of finished quotes, and the way there.
pub struct Notifier {
    registered: Mutex<Option<EventNotify>>,
    msi: Box<dyn InjectMsi>,
}

impl Notifier {
    /// Nothing is registered; `msi` sends.
    pub fn new(msi: Box<dyn InjectMsi>) -> Self {
        Notifier { registered: Mutex::new(None), msi }
    }

    /// SetupEventNotifyInterrupt: the last one counts.
    pub fn register(&self, vector: u64, apic_id: u32) -> TdvmcallStatus {
        let Some(notify) = EventNotify::new(vector, apic_id) else { return TdvmcallStatus::INVALID_OPERAND };
        *self.registered.lock().unwrap_or_else(|e| e.into_inner()) = Some(notify);
        TdvmcallStatus::SUCCESS
    }

    /// Sends the interrupt, if one is registered.
    pub fn notify(&self) -> io::Result<()> {
        let registered = *self.registered.lock().unwrap_or_else(|e| e.into_inner());
        registered.map_or(Ok(()), |notify| self.msi.inject(notify.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kvm_passes_on_and_we_can_do_is_offered() {
        let info = VmCallInfo { kernel_r11: 1 << 5, user_r11: 0b1111, kernel_r12: 1 << 7, user_r12: !0 };
        assert_eq!(info.answer(1), Some([1 << 5 | 1 << 1, 1 << 7, 0, 0]));
        let old_kernel = VmCallInfo { user_r11: 0, ..info };
        assert_eq!(old_kernel.answer(1), Some([1 << 5, 1 << 7, 0, 0]));
        assert_eq!((info.answer(0), info.answer(2), info.answer(u64::MAX)), (None, None, None));
    }

    #[test]
    fn vectors_of_exceptions_are_refused() {
        for vector in [0, 31, 256, 32 | 1 << 32, u64::MAX] {
            assert_eq!(EventNotify::new(vector, 0), None, "{vector}");
        }
        assert!(EventNotify::new(32, 0).is_some() && EventNotify::new(255, 0).is_some());
    }

    #[test]
    fn messages_reach_apics_beyond_255() {
        let message = |apic_id| EventNotify { vector: 0x51, apic_id }.message();
        assert_eq!(message(3), Msi { address: 0xfee0_3000, data: 0x51 });
        assert_eq!(message(0x1ff), Msi { address: 0x0000_0100_fee0_0000 | 0xff << 12, data: 0x51 });
    }
}
