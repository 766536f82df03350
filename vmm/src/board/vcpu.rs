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

use super::exits::{Exits, Next};
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
    while control.wait() == Command::Run {
        // In this order: a command that comes after the look at it finds immediate_exit for it to set.
        kicker.clear();
        if control.now() != Command::Run {
            continue;
        }
        let mut next = enter(vcpu, apic_id, kicker, exits);
        if let Next::Finish(locks) = next {
            // KVM does its part and comes back (EINTR) without the guest having run.
            kicker.come_back_at_once();
            next = enter(vcpu, apic_id, kicker, exits);
            drop(locks);
        }
        if matches!(next, Next::Stop) {
            return;
        }
    }
}

/// KVM_RUN once, and the answer to how it ended.
fn enter(vcpu: &mut VcpuFd, apic_id: u32, kicker: &Kicker, exits: &Exits) -> Next {
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
            exits.handle_page(RunPage::of(vcpu), apic_id, errno)
        }
        Ok(exit) => exits.handle(exit, kicker.port_width()),
        Err(e) if e.errno() == libc::EINTR || e.errno() == libc::EAGAIN => Next::Run,
        Err(e) => exits.run_failed(e.errno()),
    }
}
