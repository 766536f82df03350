//! vCPU threads: a thread a vCPU, each a small state machine that the board commands.
//!
//! ```text
//! paused ──Run──▶ running ──Pause──▶ paused
//!    └───────────Stop──────┴──Stop──▶ (thread ends)
//! ```

use std::io;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;

use kvm_ioctls::{VcpuExit, VcpuFd};

use super::exits::{Exits, Next, Row};
use crate::kvm::{Kicker, RunPage};

/// What a vCPU is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Pause,
    Run,
    Stop,
}

/// The command that all vCPUs follow.
struct Control {
    command: Mutex<Command>,
    changed: Condvar,
}

impl Control {
    fn set(&self, command: Command) {
        *self.command.lock().unwrap_or_else(|e| e.into_inner()) = command;
        self.changed.notify_all();
    }

    fn now(&self) -> Command {
        *self.command.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits while paused; the command that ended the wait.
    fn wait(&self) -> Command {
        let mut command = self.command.lock().unwrap_or_else(|e| e.into_inner());
        while *command == Command::Pause {
            command = self.changed.wait(command).unwrap_or_else(|e| e.into_inner());
        }
        *command
    }
}

/// The running vCPUs of a machine. Dropping it stops them.
pub(crate) struct VcpuThreads {
    control: Arc<Control>,
    threads: Vec<(Kicker, JoinHandle<VcpuFd>)>,
}

impl VcpuThreads {
    /// Starts a thread for each vCPU, paused.
    pub(crate) fn start(vcpus: Vec<VcpuFd>, exits: &Arc<Exits>) -> io::Result<Self> {
        Kicker::install_handler()?;
        let control = Arc::new(Control { command: Mutex::new(Command::Pause), changed: Condvar::new() });
        let mut all = VcpuThreads { control, threads: Vec::new() };
        // A vCPU's index is its APIC id.
        for (index, mut vcpu) in (0..).zip(vcpus) {
            let (control, exits) = (Arc::clone(&all.control), Arc::clone(exits));
            let (sender, kicker) = mpsc::channel();
            let thread = std::thread::Builder::new().name(format!("vcpu{index}")).spawn(move || {
                // A kicker is only ever made by the thread that it kicks; one for us, one for the board.
                let own = Kicker::new(&mut vcpu);
                let _ = sender.send(Kicker::new(&mut vcpu));
                run(&mut vcpu, index, &own, &control, &exits);
                vcpu
            })?;
            let kicker = kicker.recv().map_err(|_| io::Error::other("a vCPU's thread died at birth"))?;
            all.threads.push((kicker, thread));
        }
        Ok(all)
    }

    /// Lets the vCPUs run.
    pub(crate) fn run(&self) {
        self.control.set(Command::Run);
    }

    /// Stops the vCPUs and waits for their threads.
    fn stop(&mut self) {
        self.control.set(Command::Stop);
        for (kicker, _) in &self.threads {
            kicker.kick();
        }
        for (_kicker, thread) in self.threads.drain(..) {
            // The thread hands its vCPU back, so that the page that the kicker points to lives until here.
            let _vcpu = thread.join();
        }
    }
}

impl Drop for VcpuThreads {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(vcpu: &mut VcpuFd, apic_id: u32, kicker: &Kicker, control: &Control, exits: &Exits) {
    let mut faults = Row::default();
    while control.wait() == Command::Run {
        // In this order: a command that comes after the look at it finds immediate_exit for it to set.
        kicker.clear();
        if control.now() != Command::Run {
            continue;
        }
        let next = turn(|| enter(vcpu, apic_id, kicker, exits, &mut faults), || kicker.come_back_at_once());
        if matches!(next, Next::Stop) {
            return;
        }
    }
}

/// Into the guest once, and if KVM has something to finish then, once more into the kernel: it does its part
/// and comes back (EINTR) without the guest having run. Until then the locks are held.
fn turn(mut enter: impl FnMut() -> Next, come_back_at_once: impl FnOnce()) -> Next {
    match enter() {
        Next::Finish(locks) => {
            come_back_at_once();
            let next = enter();
            drop(locks);
            next
        }
        next => next,
    }
}

/// KVM_RUN once, and the answer to how it ended.
fn enter(vcpu: &mut VcpuFd, apic_id: u32, kicker: &Kicker, exits: &Exits, faults: &mut Row) -> Next {
    match vcpu.run() {
        Ok(
            VcpuExit::MemoryFault { .. }
            | VcpuExit::SystemEvent(..)
            | VcpuExit::InternalError
            | VcpuExit::Unsupported(_),
        ) => {
            // A memory fault comes with KVM_RUN's failure, whose errno kvm-ioctls does not hand on; nothing
            // has been called since. It means nothing with the others.
            let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            exits.handle_page(RunPage::of(vcpu), apic_id, errno, faults)
        }
        Ok(exit) => {
            faults.end();
            exits.handle(exit, kicker.port_width())
        }
        Err(e) if e.errno() == libc::EINTR || e.errno() == libc::EAGAIN => Next::Run,
        Err(e) => exits.run_failed(e.errno()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;
    use std::path::Path;

    use cloister_coco::memory::SharedMemory;
    use cloister_coco::snp::certs::{CertRequest, CertServer, CertStore, HeldLocks};

    use super::*;

    /// Whether this process has the file open; a lock goes with its descriptor.
    fn is_open(path: &Path) -> bool {
        let mut links = fs::read_dir("/proc/self/fd").unwrap().flatten();
        links.any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == path))
    }

    #[test]
    fn certificates_stay_locked_until_kvm_has_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("vcek.der");
        fs::write(&path, include_bytes!("../../../attestation/sim-pki/vcek.der")).unwrap();
        let server = CertServer::new(CertStore::open(dir.path()).unwrap());
        let request = CertRequest { gpa: 0, npages: 1 };
        let locks = server.answer(&SharedMemory::for_test(0x1000), request).locks;
        let mut exits = vec![Next::Run, Next::Finish(locks)];
        let seen = RefCell::new(Vec::new());
        let enter = || {
            seen.borrow_mut().push(("enter", is_open(&path)));
            exits.pop().unwrap()
        };
        let next = turn(enter, || seen.borrow_mut().push(("come back", is_open(&path))));
        assert!(matches!(next, Next::Run));
        assert_eq!(*seen.borrow(), [("enter", true), ("come back", true), ("enter", true)]);
        assert!(!is_open(&path));
    }

    #[test]
    fn what_ends_the_guest_meanwhile_ends_it() {
        let mut exits = vec![Next::Stop, Next::Finish(HeldLocks::none())];
        assert!(matches!(turn(|| exits.pop().unwrap(), || ()), Next::Stop));
        assert!(matches!(turn(|| Next::Run, || panic!("nothing to finish")), Next::Run));
    }
}
