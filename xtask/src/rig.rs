//! `cargo xtask rig`: any command, where there is a real `/dev/kvm`.

use crate::{Status, usage};
use cloister_rig::{Error, HostKernelChoice, Options, Rig, RunSpec};
use std::{io, path::Path, str::FromStr, time::Duration};

pub(crate) fn run(args: Vec<String>) -> Status {
    let (options, spec) = parse(args)?;
    Ok(Rig::prepare(&options)?.run(&spec, &mut io::stdout())?.status)
}

fn parse(args: Vec<String>) -> Result<(Options, RunSpec), Error> {
    let mut options = Options::default();
    let mut args = args.into_iter();
    let mut spec = RunSpec::shell("");
    let mut words = Vec::new();
    while let Some(name) = args.next() {
        let mut value = || args.next().ok_or_else(|| usage(&format!("`{name}` needs a value")));
        match name.as_str() {
            "--kernel" => options.kernel = HostKernelChoice::from(value()?.as_str()),
            "--mem" => spec.mem = number(&name, &value()?)?,
            "--smp" => spec.smp = number(&name, &value()?)?,
            "--timeout" => spec.timeout = Duration::from_secs(number(&name, &value()?)?),
            "--silence" => spec.silence = Some(Duration::from_secs(number(&name, &value()?)?)),
            "--dir" => spec.rw_dir = Some(directory(&value()?)?),
            "--env" => {
                let pair = value()?;
                let (key, value) = pair.split_once('=').ok_or_else(|| usage("`--env` wants NAME=VALUE"))?;
                spec.env.push((key.to_owned(), value.to_owned()));
            }
            "-v" => spec.verbose = true,
            "--" => words.extend(args.by_ref()),
            option if option.starts_with('-') => {
                return Err(usage(&format!("`rig` has no option `{option}`")));
            }
            word => {
                words.push(word.to_owned());
                words.extend(args.by_ref());
            }
        }
    }
    if words.is_empty() {
        return Err(usage("`rig` needs a command: cargo xtask rig -- ls -l /dev/kvm"));
    }
    spec.command = RunSpec::words(&words).command;
    Ok((options, spec))
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|_| usage(&format!("`{name}` wants a whole number, not `{value}`")))
}

fn directory(path: &str) -> Result<std::path::PathBuf, Error> {
    let found = Path::new(path).canonicalize().ok().filter(|path| path.is_dir());
    found.ok_or_else(|| usage(&format!("`{path}` is not a directory")))
}
