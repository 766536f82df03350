//! vCPU threads: a thread a vCPU, each a small state machine that the board commands.
//!
//! ```text
//! paused ──Run──▶ running ──Pause──▶ paused
//!    └───────────Stop──────┴──Stop──▶ (thread ends)
//! ```

use std::io;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;

use kvm_ioctls::VcpuFd;

use super::event::Event;
use super::exits::{Exits, Next};
use crate::kvm::Kicker;

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
        for (index, mut vcpu) in vcpus.into_iter().enumerate() {
            let (control, exits) = (Arc::clone(&all.control), Arc::clone(exits));
            let (sender, kicker) = mpsc::channel();
            let thread = std::thread::Builder::new().name(format!("vcpu{index}")).spawn(move || {
                // A kicker is only ever made by the thread that it kicks; one for us, one for the board.
                let own = Kicker::new(&mut vcpu);
                let _ = sender.send(Kicker::new(&mut vcpu));
                run(&mut vcpu, &own, &control, &exits);
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

fn run(vcpu: &mut VcpuFd, kicker: &Kicker, control: &Control, exits: &Exits) {
    while control.wait() == Command::Run {
        // In this order: a command that comes after the look at it finds immediate_exit for it to set.
        kicker.clear();
        if control.now() != Command::Run {
            continue;
        }
        let next = match vcpu.run() {
            Ok(exit) => exits.handle(exit, kicker.port_width()),
            Err(e) if e.errno() == libc::EINTR || e.errno() == libc::EAGAIN => Next::Run,
            Err(e) => {
                exits.events.send(Event::Fault(format!("KVM_RUN: {e}")));
                Next::Stop
            }
        };
        if next == Next::Stop {
            return;
        }
    }
}
