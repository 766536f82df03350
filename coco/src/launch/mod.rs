//! Launching a guest: the platform trait, its order of steps, and the choice among platforms.

mod choice;
mod platform;

pub use choice::{Choice, Considered, HostAbilities, PlatformKind, Request, choose};
pub use platform::{Ground, Platform, PlatformError, platform};
