//! Waiting for one another: a lock, and a look that lets others run.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::machine::port;

/// A lock that is spun on, for short whiles.
#[derive(Debug)]
pub struct Lock(AtomicBool);

impl Lock {
    /// An open lock.
    pub const fn new() -> Self {
        Lock(AtomicBool::new(false))
    }

    /// Runs `f` while nobody else has the lock.
    pub fn hold<R>(&self, f: impl FnOnce() -> R) -> R {
        wait_until(|| self.take());
        self.with(f)
    }

    /// Runs `f`, unless somebody else has the lock.
    pub fn try_hold<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        self.take().then(|| self.with(f))
    }

    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        let result = f();
        self.0.store(false, Ordering::Release);
        result
    }
}

/// Waits for another processor. There are more of them than the host has, so now and then this one says
/// that it waits.
pub fn wait_until(mut done: impl FnMut() -> bool) {
    let mut looks = 0u32;
    while !done() {
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(64) {
            port::inb(port::EXIT);
        } else {
            core::hint::spin_loop();
        }
    }
}

/// A place where all processors wait for the last one. Good for one time.
#[derive(Debug)]
pub struct Meeting(AtomicU32);

impl Meeting {
    /// A place where nobody is yet.
    pub const fn new() -> Self {
        Meeting(AtomicU32::new(0))
    }

    /// Says that this processor is here, and does not wait.
    pub fn arrive(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until `count` processors are here.
    pub fn wait(&self, count: u32) {
        wait_until(|| self.0.load(Ordering::SeqCst) >= count);
    }
}
