//! The rig's files: a virtiofsd for each directory that its host sees.

use crate::{
    child::{Reaped, dying_with_us},
    error::{Error, FileContext, Result},
    exec, packages,
    scratch::Scratch,
    tools::Tools,
};
use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A virtiofsd, serving one directory.
pub(crate) struct FileServer {
    _child: Reaped,
    tag: &'static str,
    socket: PathBuf,
}

impl FileServer {
    /// Serves `dir` under `tag`; `cache` is virtiofsd's policy.
    pub(crate) fn start(
        tools: &Tools,
        scratch: &Scratch,
        tag: &'static str,
        dir: &Path,
        cache: &str,
    ) -> Result<Self> {
        let socket = scratch.path(&format!("{tag}.sock"));
        let log = scratch.path(&format!("{tag}.log"));
        let mut command = dying_with_us(&tools.virtiofsd());
        command.arg("--socket-path").arg(&socket).arg("--shared-dir").arg(dir).args(["--cache", cache]);
        // The overlay cannot look below mount points inside a layer: let it see one file system.
        command.arg("--no-announce-submounts");
        match packages::owner() {
            Some((0, _)) | None => command.args(["--sandbox", "chroot"]),
            // Without root there is no chroot; the rig's root is then us, towards our own files.
            Some((uid, gid)) => command
                .args(["--sandbox", "none"])
                .args([format!("--translate-uid=map:0:{uid}:1"), format!("--translate-gid=map:0:{gid}:1")]),
        };
        let file = File::create(&log).file("create", &log)?;
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().map_err(|error| {
                Error::new(
                    "cannot start virtiofsd",
                    error.to_string(),
                    "delete the cache directory and run again",
                )
            })?;
        let mut child = Reaped(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            let ended = child.0.try_wait().is_ok_and(|status| status.is_some());
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(&log).unwrap_or_default();
                let why = exec::last_lines(&log, 6);
                return Err(Error::new(
                    format!("virtiofsd does not serve {}", dir.display()),
                    if why.is_empty() { "it did not open its socket within 10 s".into() } else { why },
                    "delete the cache directory and run again, or run as root",
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { _child: child, tag, socket })
    }

    /// Gives QEMU the device that the server is behind.
    pub(crate) fn attach(&self, qemu: &mut Command) {
        let tag = self.tag;
        let mut chardev = OsString::from(format!("socket,id=fs-{tag},path="));
        chardev.push(&self.socket);
        qemu.arg("-chardev").arg(chardev);
        qemu.args(["-device", &format!("vhost-user-fs-pci,queue-size=1024,chardev=fs-{tag},tag={tag}")]);
    }
}
