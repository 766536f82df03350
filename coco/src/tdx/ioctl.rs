//! The seam beneath a TD's launch.

use super::abi::TdxCmd;

/// The ioctls that a TD's launch speaks through: the kernel's `KVM_MEMORY_ENCRYPT_OP`, or the simulated
/// TDX module beneath the same structs.
///
/// Contract: `cmd.data` is what the command of that id takes: 0, an immediate value (INIT_VCPU), or the
/// address of a live, writable struct of the command's own layout, behind which every address and count in
/// it names as many live bytes.
pub trait TdxIoctl: Send + Sync {
    /// On the VM's descriptor. On failure the errno; `cmd.hw_error` then holds the SEAMCALL status, if the
    /// module was asked.
    fn vm_op(&self, cmd: &mut TdxCmd) -> Result<(), i32>;
    /// On the descriptor of the vCPU with this index.
    fn vcpu_op(&self, vcpu: u32, cmd: &mut TdxCmd) -> Result<(), i32>;
}
