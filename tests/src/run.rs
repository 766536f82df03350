//! A `cloister` process under test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The binary under test.
pub fn cloister() -> PathBuf {
    PathBuf::from(std::env::var_os("CLOISTER_BIN").expect("CLOISTER_BIN names the binary under test"))
}

/// No machine of ours takes longer, in emulation either; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a run printed, and how it ended.
#[derive(Debug)]
pub struct Run {
    /// Exit code; 128 + N if a signal ended it.
    pub code: i32,
    /// Standard output: the guest's console with `--console stdio`.
    pub stdout: String,
    /// Standard error: cloister's own words.
    pub stderr: String,
}

impl Run {
    /// Runs `cloister` with these arguments to its end.
    pub fn of<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
        Started::new(args).end()
    }

    /// Fails the test with everything that was printed, unless `good`.
    #[track_caller]
    pub fn expect(&self, good: bool, what: &str) -> &Self {
        assert!(
            good,
            "{what}\n--- exit code {}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.stdout, self.stderr
        );
        self
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub fn code(&self, code: i32) -> &Self {
        self.expect(self.code == code, &format!("exit code {code} was wanted"))
    }

    /// Fails the test unless standard output has `text`.
    #[track_caller]
    pub fn said(&self, text: &str) -> &Self {
        self.expect(self.stdout.contains(text), &format!("stdout lacks `{text}`"))
    }

    /// Fails the test unless standard error has `text`.
    #[track_caller]
    pub fn told(&self, text: &str) -> &Self {
        self.expect(self.stderr.contains(text), &format!("stderr lacks `{text}`"))
    }
}

/// A run under way. Killed when dropped.
pub struct Started {
    child: Child,
    lines: Receiver<String>,
    stdout: String,
    readers: Vec<JoinHandle<String>>,
}

impl Started {
    /// Starts `cloister` with these arguments and no standard input.
    pub fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let mut child = Command::new(cloister())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting cloister");
        let (sender, lines) = mpsc::channel();
        let out = child.stdout.take().expect("piped");
        let mut err = child.stderr.take().expect("piped");
        let readers = vec![
            std::thread::spawn(move || {
                for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                    let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
                }
                String::new()
            }),
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = err.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            }),
        ];
        Started { child, lines, stdout: String::new(), readers }
    }

    /// Waits for a line of standard output that has `text`; the line.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.stdout.push_str(&line);
                    self.stdout.push('\n');
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(why) => {
                    let run = self.kill();
                    run.expect(false, &format!("waiting for `{text}` in stdout: {why}"));
                }
            }
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name (`INT`, `TERM`).
    pub fn signal(&self, name: &str) {
        // The shell's own: the program is in a package (procps) that not every machine has.
        let status = Command::new("sh").args(["-c", &format!("kill -s {name} {}", self.id())]).status();
        assert!(status.expect("sh").success(), "sending SIG{name}");
    }

    /// Waits for the end; a run that comes to none is killed, and says so.
    pub fn end(mut self) -> Run {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.stdout.push_str(&line);
                    self.stdout.push('\n');
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let run = self.kill();
                    run.expect(false, "the run came to no end");
                }
            }
        }
        let status = self.child.wait().expect("waiting for cloister");
        self.collect(status)
    }

    fn kill(&mut self) -> Run {
        let _ = self.child.kill();
        let status = self.child.wait().expect("waiting for cloister");
        self.collect(status)
    }

    fn collect(&mut self, status: ExitStatus) -> Run {
        use std::os::unix::process::ExitStatusExt;
        let stderr = self.readers.drain(..).filter_map(|r| r.join().ok()).collect();
        for line in self.lines.try_iter() {
            self.stdout.push_str(&line);
            self.stdout.push('\n');
        }
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Run { code, stdout: std::mem::take(&mut self.stdout), stderr }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
