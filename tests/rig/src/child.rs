//! Child processes that end with us.

use std::{
    path::Path,
    process::{Child, Command},
};

/// The same command, made to die when the thread that starts it does (where there is a `setpriv` to ask for that).
pub(crate) fn dying_with_us(command: &Command) -> Command {
    const SETPRIV: &str = "/usr/bin/setpriv";
    let mut wrapped = if Path::new(SETPRIV).exists() {
        let mut setpriv = Command::new(SETPRIV);
        setpriv.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program());
        setpriv
    } else {
        Command::new(command.get_program())
    };
    wrapped.args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped
}

/// A child process that does not outlive this value.
pub(crate) struct Reaped(pub(crate) Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
