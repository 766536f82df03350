//! `cargo xtask hardware`: the tests that need a real SNP or TDX host.

use crate::{Status, build, summary, test, usage};
use cloister_rig::Error;
use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

/// Which lane is asked for, where no argument says it.
const VARIABLE: &str = "CLOISTER_HARDWARE";

/// A platform that there are tests for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Snp,
    Tdx,
}

impl Lane {
    fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "snp" => Ok(Self::Snp),
            "tdx" => Ok(Self::Tdx),
            other => Err(usage(&format!("there is a hardware lane for snp and for tdx, not for `{other}`"))),
        }
    }

    /// The lane that the environment asks for. One that there is not is a mistake, not a lane less.
    pub(crate) fn asked_for() -> Result<Option<Self>, Error> {
        match env::var(VARIABLE) {
            Ok(name) if !name.is_empty() => Self::parse(&name).map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
        }
    }

    /// How the names of its tests begin.
    fn prefix(self) -> &'static str {
        match self {
            Self::Snp => "snp::",
            Self::Tdx => "tdx::",
        }
    }

    /// Of all tests of all lanes, those to run and those that nobody asked for.
    pub(crate) fn split(lane: Option<Self>, names: Vec<String>) -> (Vec<String>, Vec<String>) {
        names.into_iter().partition(|name| lane.is_some_and(|lane| name.starts_with(lane.prefix())))
    }

    /// Fails unless this is a host for it; the doctor says what is missing.
    pub(crate) fn require(self, cloister: &Path) -> Result<(), Error> {
        let mut doctor = Command::new(cloister);
        let status =
            doctor.args(["doctor", "--quiet", "--require", self.name()]).stdin(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(Error::new(
                format!("this host cannot run the hardware lane for {}", self.name()),
                "`cloister doctor` misses something, see above",
                "mend what it says, or do not ask for this lane",
            )),
            Err(error) => Err(Error::new("cannot start `cloister doctor`", error.to_string(), "build again")),
        }
    }
}

pub(crate) fn run(args: &[String]) -> Status {
    let lane = match args {
        [name] => Some(Lane::parse(name)?),
        [] => Lane::asked_for()?,
        _ => None,
    };
    let Some(lane) = lane else {
        return Err(usage("`hardware` needs to know which host this is: cargo xtask hardware snp (or tdx)"));
    };
    build::needs()?;
    // Before all that takes long.
    lane.require(&build::cloister()?)?;
    let (rows, notes) = test::hardware(lane)?;
    Ok(summary::print(&rows, &notes))
}

#[cfg(test)]
mod tests {
    use super::Lane;

    #[test]
    fn what_nobody_asked_for_is_counted() {
        let names = || ["snp::a", "snp::b", "tdx::a"].map(str::to_owned).to_vec();
        let count = |lane| {
            let (run, skipped) = Lane::split(lane, names());
            (run.len(), skipped.len())
        };
        assert_eq!(count(None), (0, 3));
        assert_eq!(count(Some(Lane::Snp)), (2, 1));
        assert_eq!(count(Some(Lane::Tdx)), (1, 2));
    }

    #[test]
    fn only_lanes_that_there_are_can_be_asked_for() {
        assert_eq!(Lane::parse("snp").ok(), Some(Lane::Snp));
        assert_eq!(Lane::parse("tdx").ok(), Some(Lane::Tdx));
        assert!(Lane::parse("sev").is_err());
    }
}
