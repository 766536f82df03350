//! The rig as its users see it.

use crate::{
    cache::Cache,
    error::{Error, Result},
    host_kernel::{self, HostKernel, HostKernelChoice, Trimmed},
    run::{self, Outcome, RunSpec},
    tools::Tools,
};
use std::{io::Write, time::Duration};

/// What to prepare.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host's kernel.
    pub kernel: HostKernelChoice,
    /// How long to wait for the trimmed kernel when it is asked for and not built.
    pub build_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { kernel: HostKernelChoice::Best, build_limit: Duration::from_secs(45 * 60) }
    }
}

/// Everything in place to run commands.
#[derive(Clone, Debug)]
pub struct Rig {
    tools: Tools,
    kernel: HostKernel,
}

impl Rig {
    /// Fetches what is missing in the cache; the network is not touched when nothing is.
    pub fn prepare(options: &Options) -> Result<Self> {
        let cache = Cache::open()?;
        let tools = Tools::prepare(&cache)?;
        let kernel = match &options.kernel {
            HostKernelChoice::Best => best(&cache, &tools)?,
            HostKernelChoice::Debian => host_kernel::debian(&cache, &tools)?,
            HostKernelChoice::Trimmed => Trimmed::wait(&cache, options.build_limit)?,
            HostKernelChoice::File(path) if path.is_file() => {
                HostKernel { image: path.clone(), modules: None }
            }
            HostKernelChoice::File(path) => {
                return Err(Error::new(
                    format!("there is no kernel {}", path.display()),
                    "it is neither a file nor one of `best`, `debian`, `trimmed`",
                    "name a bzImage with everything built in, or one of these words",
                ));
            }
        };
        Ok(Self { tools, kernel })
    }

    /// Runs one command; what it prints goes to `output` as it comes.
    pub fn run(&self, spec: &RunSpec, output: &mut (dyn Write + Send)) -> Result<Outcome> {
        run::run(&self.tools, &self.kernel, spec, output)
    }

    /// The programs that the rig uses; tests take busybox from here.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Whether a guest in the rig can run OVMF: see [`Tools::runs_ovmf`].
    pub fn runs_ovmf(&self) -> Result<()> {
        self.tools.runs_ovmf()
    }
}

/// The trimmed kernel if it is there, else Debian's with a word about why.
fn best(cache: &Cache, tools: &Tools) -> Result<HostKernel> {
    match Trimmed::start(cache) {
        Ok(Trimmed::Ready(kernel)) => return Ok(kernel),
        Ok(Trimmed::Failed(file)) => {
            eprintln!("rig: on Debian's kernel, without private memory: {}", host_kernel::failure(&file))
        }
        Ok(Trimmed::Building(_) | Trimmed::Absent) => {
            eprintln!(
                "rig: on Debian's kernel until the trimmed one is built; VMs with private memory need that one"
            );
        }
        Err(error) => eprintln!("rig: on Debian's kernel, without private memory: {error}"),
    }
    host_kernel::debian(cache, tools)
}
