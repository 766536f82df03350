//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::protocol::{DEFAULT_PORT, MAX_SECRETS, is_secret_id};

/// Help.
pub const USAGE: &str = "\
cloister-agent: prove what this guest is, and get its secrets

usage: cloister-agent --secret NAME [--out FILE] [--secret NAME --out FILE]... [options]

  --secret NAME     name of a secret to ask for; up to four
  --out FILE        write the secret named just before to FILE (mode 0600)
  --port PORT       vsock port of the broker (default 4226)
  --cid CID         vsock context id of the host (default 2)
  --provider KIND   auto, configfs-tsm, sim or none (default auto)
  --allow-sim       auto may take the simulator's mailbox; never in an image with real secrets
  --timeout SECONDS how long to try to connect (default 30)
  --help            this text

exit status: 0 done, 1 the broker refused, 2 bad command line, 3 no connection,
             4 no evidence from the TEE, 5 the broker is not the one of this launch,
             6 a secret could not be written
";

/// Where evidence comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderChoice {
    /// configfs-tsm, else nothing.
    Auto,
    /// With `--allow-sim`: configfs-tsm, else the simulator's mailbox, else nothing.
    AutoOrSim,
    /// The kernel's interface to the TEE.
    ConfigfsTsm,
    /// The simulator's mailbox.
    Sim,
    /// No evidence: to see what the broker says to a plain guest.
    None,
}

/// The options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// vsock port.
    pub port: u32,
    /// vsock context id.
    pub cid: u32,
    /// Where evidence comes from.
    pub provider: ProviderChoice,
    /// What to ask for, and where to put it.
    pub secrets: Vec<(String, Option<PathBuf>)>,
    /// How long to try to connect.
    pub timeout: Duration,
    /// Only print the help.
    pub help: bool,
}

/// What is wrong with the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn number(option: &str, value: &str) -> Result<u32, UsageError> {
    value.parse().map_err(|_| UsageError(format!("{option} wants a number, not {value:?}")))
}

impl Args {
    /// Reads the arguments after the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, UsageError> {
        let mut args = Self {
            port: DEFAULT_PORT,
            cid: 2,
            provider: ProviderChoice::Auto,
            secrets: Vec::new(),
            timeout: Duration::from_secs(30),
            help: false,
        };
        let mut allow_sim = false;
        let mut arguments = arguments.into_iter();
        while let Some(option) = arguments.next() {
            if option == "--help" || option == "-h" {
                args.help = true;
                return Ok(args);
            }
            if option == "--allow-sim" {
                allow_sim = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| UsageError(format!("{option} wants a value")))?;
            args.set(&option, value)?;
        }
        if allow_sim && args.provider == ProviderChoice::Auto {
            args.provider = ProviderChoice::AutoOrSim;
        }
        if args.secrets.is_empty() {
            return Err(UsageError("which secret? give --secret NAME".into()));
        }
        if args.secrets.len() > MAX_SECRETS {
            return Err(UsageError(format!("at most {MAX_SECRETS} secrets at a time")));
        }
        Ok(args)
    }

    fn set(&mut self, option: &str, value: String) -> Result<(), UsageError> {
        match option {
            "--port" => self.port = number(option, &value)?,
            "--cid" => self.cid = number(option, &value)?,
            "--timeout" => self.timeout = Duration::from_secs(number(option, &value)?.into()),
            "--provider" => {
                self.provider = match value.as_str() {
                    "auto" => ProviderChoice::Auto,
                    "configfs-tsm" => ProviderChoice::ConfigfsTsm,
                    "sim" => ProviderChoice::Sim,
                    "none" => ProviderChoice::None,
                    other => {
                        let kinds = "auto, configfs-tsm, sim or none";
                        return Err(UsageError(format!("--provider is {kinds}, not {other:?}")));
                    }
                }
            }
            "--secret" if is_secret_id(&value) && self.secrets.iter().all(|(name, _)| *name != value) => {
                self.secrets.push((value, None));
            }
            "--secret" => {
                return Err(UsageError(format!("{value:?} cannot name a secret, or is there twice")));
            }
            "--out" => match self.secrets.last_mut() {
                Some((_, out @ None)) => *out = Some(PathBuf::from(value)),
                _ => return Err(UsageError("--out belongs after a --secret, once".into())),
            },
            other => return Err(UsageError(format!("unknown option {other}"))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, UsageError> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read() {
        let args =
            parse("--secret a --out /x --secret b --port 7 --cid 3 --provider sim --timeout 1").unwrap();
        assert_eq!(args.secrets, [("a".into(), Some("/x".into())), ("b".into(), None)]);
        assert_eq!((args.port, args.cid, args.provider), (7, 3, ProviderChoice::Sim));
        assert_eq!(args.timeout, Duration::from_secs(1));
        let plain = parse("--secret a").unwrap();
        assert_eq!((plain.port, plain.cid, plain.provider), (4226, 2, ProviderChoice::Auto));
        assert_eq!(parse("--allow-sim --secret a").unwrap().provider, ProviderChoice::AutoOrSim);
        assert_eq!(parse("--provider none --allow-sim --secret a").unwrap().provider, ProviderChoice::None);
        assert!(parse("--help").unwrap().help);
    }

    #[test]
    fn mistakes_are_named() {
        let mistakes = [
            ("", "which secret"),
            ("--secret", "wants a value"),
            ("--out x", "after a --secret"),
            ("--secret a --out x --out y", "once"),
            ("--secret a --secret a", "twice"),
            ("--secret a/b", "cannot name"),
            ("--port x --secret a", "wants a number"),
            ("--provider tdx --secret a", "configfs-tsm"),
            ("--what x", "unknown option"),
            ("--secret a --secret b --secret c --secret d --secret e", "at most 4"),
        ];
        for (line, part) in mistakes {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
