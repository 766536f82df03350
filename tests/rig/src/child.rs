//! Child processes that end with us.

use std::{
    path::Path,
    process::{Child, Command},
};

/// The same command, made to die when the thread that starts it does.
pub(crate) fn dying_with_us(command: &Command) -> Command {
    if !Path::new("/usr/bin/setpriv").exists() {
        let mut same = Command::new(command.get_program());
        same.args(command.get_args());
        copy_env(command, &mut same);
        return same;
    }
    let mut wrapped = Command::new("/usr/bin/setpriv");
    wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    copy_env(command, &mut wrapped);
    wrapped
}

fn copy_env(from: &Command, to: &mut Command) {
    for (name, value) in from.get_envs() {
        if let Some(value) = value {
            to.env(name, value);
        }
    }
}

/// A child process that does not outlive this value.
pub(crate) struct Reaped(pub(crate) Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
