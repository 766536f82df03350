//! A vsock address in the form that the kernel takes.
#![allow(unsafe_code, reason = "rustix knows no vsock addresses: the kernel is handed a struct of ours")]

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};

/// `struct sockaddr_vm` (include/uapi/linux/vm_sockets.h).
pub(super) struct VsockAddr {
    pub(super) cid: u32,
    pub(super) port: u32,
}

// SAFETY: the closure gets a pointer to a whole sockaddr_vm, which lives until it returns, and its length.
unsafe impl SocketAddrArg for VsockAddr {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        let address = libc::sockaddr_vm {
            svm_family: libc::AF_VSOCK as libc::sa_family_t,
            svm_reserved1: 0,
            svm_port: self.port,
            svm_cid: self.cid,
            svm_zero: [0; 4],
        };
        f((&raw const address).cast(), size_of::<libc::sockaddr_vm>() as SocketAddrLen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_sees_a_whole_vsock_address() {
        let address = VsockAddr { cid: 2, port: 4050 }.as_any();
        assert_eq!(address.address_family(), rustix::net::AddressFamily::VSOCK);
        assert_eq!(address.addr_len(), 16);
    }
}
