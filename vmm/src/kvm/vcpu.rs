//! Making a running vCPU leave the guest.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use kvm_ioctls::VcpuFd;

/// Makes a running vCPU leave the guest: `immediate_exit` in the page that it shares with the kernel,
/// then a signal for the case that it is already inside.
pub(crate) struct Kicker {
    immediate_exit: *const AtomicU8,
    port_width: *const AtomicU8,
    thread: libc::pthread_t,
}

#[allow(unsafe_code, reason = "a pointer into the kvm_run page is used from another thread")]
mod kicker {
    use super::*;

    // SAFETY: the bytes behind the pointers are only ever accessed atomically, by us and by the kernel, and
    // the owner of a Kicker joins the vCPU's thread (which owns the mapping) after it drops the Kicker.
    unsafe impl Send for Kicker {}
    // SAFETY: as above; all methods take &self and do atomic or thread-safe things only.
    unsafe impl Sync for Kicker {}

    impl Kicker {
        /// A kicker for the vCPU that the calling thread runs.
        pub(crate) fn new(vcpu: &mut VcpuFd) -> Self {
            let page = vcpu.get_kvm_run();
            let immediate_exit = (&raw mut page.immediate_exit).cast();
            // SAFETY: no reference is formed: only the address of a field of a union is taken.
            let port_width = unsafe { &raw mut page.__bindgen_anon_1.io.size }.cast();
            // SAFETY: always safe to ask for one's own thread.
            let thread = unsafe { libc::pthread_self() };
            Kicker { immediate_exit, port_width, thread }
        }

        /// Makes the vCPU leave the guest, now or as soon as it enters.
        pub(crate) fn kick(&self) {
            // SAFETY: the page is mapped while the thread lives; the owner of the Kicker sees to that.
            unsafe { &*self.immediate_exit }.store(1, Ordering::SeqCst);
            // SAFETY: the thread has not been joined yet, so its id is valid.
            unsafe { libc::pthread_kill(self.thread, kick_signal()) };
        }

        /// Makes the next KVM_RUN finish what is left of the last exit and return. Called by its own thread.
        pub(crate) fn come_back_at_once(&self) {
            // SAFETY: as in `kick`.
            unsafe { &*self.immediate_exit }.store(1, Ordering::SeqCst);
        }

        /// Bytes of each access of the port exit that the vCPU is in (1, 2 or 4), which kvm-ioctls does
        /// not tell. Called by its own thread; of other exits it says nothing of use.
        pub(crate) fn port_width(&self) -> usize {
            // SAFETY: as in `kick`.
            usize::from(unsafe { &*self.port_width }.load(Ordering::Relaxed))
        }

        /// Lets the vCPU enter the guest again. Called by its own thread.
        pub(crate) fn clear(&self) {
            // SAFETY: as in `kick`.
            unsafe { &*self.immediate_exit }.store(0, Ordering::SeqCst);
        }

        /// Installs the handler that makes the kick signal interrupt KVM_RUN and do nothing else.
        pub(crate) fn install_handler() -> io::Result<()> {
            extern "C" fn nothing(_: libc::c_int) {}
            // SAFETY: an all-zero sigaction is a valid one (no flags, empty mask).
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            // SAFETY: `action` is a complete sigaction whose handler does nothing, which is
            // async-signal-safe; no SA_RESTART, so that the ioctl is interrupted.
            let ret = unsafe { libc::sigaction(kick_signal(), &action, std::ptr::null_mut()) };
            if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }
    }

    /// The first real-time signal that the C library leaves to programs.
    fn kick_signal() -> libc::c_int {
        libc::SIGRTMIN()
    }
}
