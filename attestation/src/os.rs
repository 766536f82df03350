//! What the operating system gives.

use rustix::rand::{GetRandomFlags, getrandom};

/// The operating system's randomness. Does not return if there is none.
pub fn os_random(mut buffer: &mut [u8]) {
    while !buffer.is_empty() {
        match getrandom(&mut *buffer, GetRandomFlags::empty()) {
            Ok(count) => buffer = buffer.get_mut(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            // Kernels since 3.17 have it, and it fails for no other reason. There is no safe way on.
            Err(_) => std::process::abort(),
        }
    }
}
