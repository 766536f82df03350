//! The rig's host kernels: Debian's, there at once, and the trimmed one, which is built once in the background and
//! brings VMs with private memory (`KVM_SW_PROTECTED_VM`).

use crate::{
    cache::Cache,
    error::{Error, FileContext, Result},
    exec, kernel, packages,
    tools::Tools,
};
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const FRAGMENT: &str = include_str!("../assets/host-kernel.config");
const BUILD: &str = include_str!("../assets/build-host-kernel.sh");

/// What the build needs, as the file that shows it is there and the Debian package which has it.
const BUILD_NEEDS: [(&str, &str); 11] = [
    ("/usr/bin/gcc", "gcc"),
    ("/usr/include/stdio.h", "libc6-dev"),
    ("/usr/bin/make", "make"),
    ("/usr/bin/flex", "flex"),
    ("/usr/bin/bison", "bison"),
    ("/usr/bin/bc", "bc"),
    ("/usr/bin/perl", "perl"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/lz4", "lz4"),
    ("/usr/include/libelf.h", "libelf-dev"),
    ("/usr/bin/flock", "util-linux"),
];

/// Which kernel the rig's host is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostKernelChoice {
    /// The trimmed one if it is built, else Debian's while it builds in the background.
    #[default]
    Best,
    /// Debian's.
    Debian,
    /// The trimmed one, waiting for its build.
    Trimmed,
    /// An image of one's own, which must have everything built in.
    File(PathBuf),
}

impl From<&str> for HostKernelChoice {
    fn from(text: &str) -> Self {
        match text {
            "best" => Self::Best,
            "debian" => Self::Debian,
            "trimmed" => Self::Trimmed,
            path => Self::File(path.into()),
        }
    }
}

/// A kernel for the rig's host.
#[derive(Clone, Debug)]
pub struct HostKernel {
    /// The bzImage.
    pub image: PathBuf,
    /// Where its modules are: the directory of a kernel in the cache.
    pub(crate) modules: Option<PathBuf>,
}

/// Debian's kernel, fetched if it is not in the cache.
pub(crate) fn debian(cache: &Cache, tools: &Tools) -> Result<HostKernel> {
    let dir = kernel::prepare(cache, tools, &kernel::LINUX_6_12)?;
    Ok(HostKernel { image: dir.join("vmlinuz"), modules: Some(dir) })
}

/// How far the trimmed kernel is.
#[derive(Clone, Debug)]
pub enum Trimmed {
    /// Built.
    Ready(HostKernel),
    /// Being built by a process in the background, which writes this log.
    Building(PathBuf),
    /// Not built, and no build is running.
    Absent,
    /// The build failed; it is not tried again until this file, which says why, is deleted.
    Failed(PathBuf),
}

impl Trimmed {
    /// Looks, and changes nothing.
    pub fn state(cache: &Cache) -> Result<Self> {
        let paths = Paths::new(cache);
        // The lock first: a build that ends while we look has left its result by then.
        let building = is_locked(&paths.lock)?;
        Ok(if paths.result.is_dir() {
            Self::Ready(HostKernel { image: paths.result.join("vmlinuz"), modules: None })
        } else if building {
            Self::Building(paths.log)
        } else if paths.failed.exists() {
            Self::Failed(paths.failed)
        } else {
            Self::Absent
        })
    }

    /// Starts the build in the background if it is neither done, nor running, nor known to fail.
    ///
    /// It outlives the caller, at the lowest priority. It needs a compiler and a few Debian packages: root gets them
    /// installed, others are told their names.
    pub fn start(cache: &Cache) -> Result<Self> {
        let state = Self::state(cache)?;
        if !matches!(state, Self::Absent) {
            return Ok(state);
        }
        let missing = packages::missing(&BUILD_NEEDS);
        packages::installable(&missing, "build the rig's own host kernel")?;
        let paths = Paths::new(cache);
        let write = |path: &Path, text: &str| fs::write(path, text).file("write", path);
        let (script, fragment) = (cache.path("build-host-kernel.sh"), cache.path("host-kernel.config"));
        write(&script, BUILD)?;
        write(&fragment, FRAGMENT)?;
        write(&paths.log, "")?;
        let apt = crate::archive::configure_for_source(cache)?;
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        let mut build = Command::new("setsid");
        build
            .args(["-f", "nice", "-n", "19", "flock", "--wait", "10"])
            .arg(&paths.lock)
            .arg("sh")
            .arg(&script);
        build.args([&paths.result, &paths.log, &fragment, &apt]).arg(jobs.to_string()).args(&missing);
        build.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = build.status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(Error::new(
                "the build of the rig's own host kernel could not be started",
                "`setsid`, `nice` or `flock` did not run",
                "apt-get install util-linux coreutils",
            ));
        }
        let packages = if missing.is_empty() {
            String::new()
        } else {
            format!(", after installing {}", missing.join(" "))
        };
        eprintln!(
            "rig: building a host kernel with private memory in the background{packages} (once, 5 to 15 minutes; log: {})",
            paths.log.display()
        );
        // Until the builder has its lock, it looks as if nobody were building.
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(Self::state(cache)?, Self::Absent) {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self::Building(paths.log))
    }

    /// Starts the build if need be, and waits for its end.
    pub fn wait(cache: &Cache, limit: Duration) -> Result<HostKernel> {
        let began = Instant::now();
        let mut state = Self::start(cache)?;
        if let Self::Building(log) = &state {
            eprintln!("rig: waiting for the host kernel's build (log: {})", log.display());
        }
        loop {
            match state {
                Self::Ready(kernel) => return Ok(kernel),
                Self::Failed(file) => return Err(failure(&file)),
                Self::Absent => {
                    return Err(Error::new(
                        "the build of the rig's host kernel was interrupted",
                        "its process is gone, and left neither a kernel nor an error",
                        "run again: it goes on where it was",
                    ));
                }
                Self::Building(log) if began.elapsed() > limit => {
                    return Err(Error::new(
                        "the rig's host kernel is not built yet",
                        format!("its build has not ended after {} minutes", limit.as_secs() / 60),
                        format!("read {}, or run again later: the build goes on", log.display()),
                    ));
                }
                Self::Building(_) => thread::sleep(Duration::from_millis(500)),
            }
            state = Self::state(cache)?;
        }
    }
}

/// The error in the file that a failed build left.
pub(crate) fn failure(file: &Path) -> Error {
    let log = fs::read_to_string(file).unwrap_or_default();
    Error::new(
        "the build of the rig's host kernel failed",
        exec::last_lines(&log, 12),
        format!("mend that, then delete {} to build again", file.display()),
    )
}

struct Paths {
    result: PathBuf,
    failed: PathBuf,
    log: PathBuf,
    lock: PathBuf,
}

impl Paths {
    fn new(cache: &Cache) -> Self {
        // Another configuration is another kernel.
        let hash = FRAGMENT.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let name = format!("host-kernel-{:08x}", hash >> 32);
        Self {
            failed: cache.path(&format!("{name}.failed")),
            log: cache.path(&format!("{name}.log")),
            result: cache.path(&name),
            lock: cache.path("host-kernel.lock"),
        }
    }
}

fn is_locked(lock: &Path) -> Result<bool> {
    match File::open(lock) {
        Ok(file) => match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(Error::file("lock", lock, &error)),
        },
        Err(_) => Ok(false),
    }
}
