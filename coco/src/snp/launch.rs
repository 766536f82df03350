//! The steps of an SNP launch, in KVM's order (Documentation/virt/kvm/x86/amd-memory-encryption.rst).

use cloister_firmware::plan::{Identity, LaunchPlan, PageKind, PageRun, SourceError};
use snafu::{ResultExt, Snafu, ensure};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::abi::{CommandId, FirmwareCode, Init, LaunchFinish, LaunchStart, LaunchUpdate, PageType, SevCmd};
use super::cpuid_diff::{self, CpuidDifference};
use super::refusal::command_text;

/// The ioctl that a launch speaks through: the kernel's, or the simulator's beneath the same structs.
///
/// Contract: `cmd.data` is 0 or the address of a live, writable struct of the command's own layout, and
/// every `uaddr` in it the address of as many live bytes as the struct says.
pub trait SevIoctl {
    /// `KVM_MEMORY_ENCRYPT_OP`. On failure the errno; `cmd.error` then holds the firmware's code.
    fn encrypt_op(&self, cmd: &mut SevCmd) -> Result<(), i32>;
}

/// Why a launch failed. The VM is of no use after that and must be destroyed.
#[derive(Debug, Snafu)]
pub enum LaunchError {
    /// A command failed.
    #[snafu(display("{}", command_text(*command, *errno, *code, at)))]
    Command {
        /// Which command.
        command: CommandId,
        /// The kernel's answer.
        errno: i32,
        /// The firmware's answer.
        code: FirmwareCode,
        /// What was being loaded, and where.
        at: String,
    },
    /// The firmware takes the CPUID page neither as it is nor as the firmware itself corrected it.
    #[snafu(display(
        "the SEV firmware refuses the guest's CPUID table: it claims what this CPU does not have, or what a \
         hypervisor would have to emulate. Please report this; what the firmware would have:{}",
        if differences.is_empty() {
            "\n  (it did not say)".to_owned()
        } else {
            cpuid_diff::lines(differences)
        }
    ))]
    Cpuid {
        /// What it would have instead, as far as it said.
        differences: Vec<CpuidDifference>,
    },
    /// The bytes of a page could not be read.
    #[snafu(display("{source}"))]
    Read {
        /// The cause.
        source: SourceError,
    },
    /// LAUNCH_UPDATE went on without getting anywhere, again and again.
    #[snafu(display("SNP_LAUNCH_UPDATE makes no progress at guest address {gpa:#x}"))]
    Stuck {
        /// Where it stands.
        gpa: u64,
    },
    /// The kernel's answer about its progress cannot be.
    #[snafu(display("SNP_LAUNCH_UPDATE says {left:#x} bytes are left of {asked:#x}"))]
    Nonsense {
        /// Bytes left, as returned.
        left: u64,
        /// Bytes asked for.
        asked: u64,
    },
}

/// A launch under way. Steps are called in the order in which they stand here.
pub struct SnpLaunch<'a> {
    ioctl: &'a dyn SevIoctl,
    sev_fd: u32,
    certificates: bool,
}

/// The kernel wants the source of LAUNCH_UPDATE page aligned.
#[repr(C, align(4096))]
#[derive(Clone, FromBytes, IntoBytes, Immutable)]
struct Page([u8; PageRun::PAGE_SIZE]);

/// Pages handed to one LAUNCH_UPDATE: large enough to be cheap, small enough to stay in the cache.
const CHUNK_PAGES: usize = 256;

/// How often the same LAUNCH_UPDATE may be interrupted without progress before we give up.
const MAX_RETRIES: u32 = 1000;

/// How often what may have been a signal is tried again.
const SIGNAL_RETRIES: u32 = 8;

impl<'a> SnpLaunch<'a> {
    /// A launch that speaks through `ioctl`. `sev_fd` is the number of `/dev/sev`: KVM remembers the
    /// number, so it stays open at it for the VM's life.
    pub fn new(ioctl: &'a dyn SevIoctl, sev_fd: u32) -> Self {
        SnpLaunch { ioctl, sev_fd, certificates: false }
    }

    /// The same, and the guest's requests for certificates will come to us (KVM_EXIT_SNP_REQ_CERTS).
    pub fn with_certificates(self, certificates: bool) -> Self {
        SnpLaunch { certificates, ..self }
    }

    /// INIT2 and LAUNCH_START: right after the VM is made, before any vCPU.
    pub fn start(&self, identity: &Identity) -> Result<(), LaunchError> {
        let mut init = Init { vmsa_features: identity.vmsa_features, ..Init::default() };
        self.command(CommandId::INIT2, init.as_mut_bytes(), String::new)?;
        if self.certificates {
            self.command(CommandId::ENABLE_REQ_CERTS, &mut [], String::new)?;
        }
        let mut start = LaunchStart { policy: identity.policy, ..LaunchStart::default() };
        self.command(CommandId::LAUNCH_START, start.as_mut_bytes(), String::new)
    }

    /// LAUNCH_UPDATE for every page of the plan, in its order. Memory slots, attributes and vCPUs with
    /// their state are there.
    ///
    /// `cpuid` is what goes into the plan's CPUID page: it depends on the host's KVM, which is why it is
    /// not in the plan, and is not measured. What is returned is where the firmware would have it otherwise:
    /// the guest has got the page as corrected by the firmware.
    pub fn load(&self, plan: &LaunchPlan, cpuid: &[u8; 4096]) -> Result<Vec<CpuidDifference>, LaunchError> {
        let mut corrections = Vec::new();
        let mut pages = vec![Page([0; PageRun::PAGE_SIZE]); CHUNK_PAGES];
        let buffer = pages.as_mut_bytes();
        for run in &plan.pages {
            let Some(page_type) = page_type(run.kind) else { continue };
            let mut done = 0;
            while done < run.size() {
                let n = (run.size() - done).min(buffer.len() as u64);
                let chunk = &mut buffer[..n as usize];
                match run.kind {
                    PageKind::Cpuid => chunk[..cpuid.len()].copy_from_slice(cpuid),
                    _ => run.read(done, chunk).context(ReadSnafu)?,
                }
                corrections.extend(self.update(run.label, run.gpa + done, page_type, cpuid, chunk)?);
                done += n;
            }
        }
        Ok(corrections)
    }

    /// One LAUNCH_UPDATE, again until all of it is done: the kernel returns early with its progress. `given`
    /// is what a CPUID page holds. If it is refused, it comes back as the firmware would have it, and is given
    /// once more like that: KVM offers guests features that the kernel makes up (VERW_CLEAR in leaf 0x80000021
    /// is one), and which of them a firmware takes is nowhere to be read beforehand.
    fn update(
        &self,
        label: &str,
        gpa: u64,
        page_type: PageType,
        given: &[u8; 4096],
        bytes: &mut [u8],
    ) -> Result<Vec<CpuidDifference>, LaunchError> {
        let mut update = LaunchUpdate {
            gfn_start: gpa / PageRun::PAGE_SIZE as u64,
            uaddr: bytes.as_mut_ptr() as u64,
            len: bytes.len() as u64,
            page_type: page_type.0,
            ..LaunchUpdate::default()
        };
        let mut idle = 0;
        let mut corrections = Vec::new();
        while update.len != 0 {
            let asked = update.len;
            let at = update.gfn_start * PageRun::PAGE_SIZE as u64;
            let result = self.command(CommandId::LAUNCH_UPDATE, update.as_mut_bytes(), || {
                format!("{label}, guest address {at:#x}")
            });
            ensure!(update.len <= asked, NonsenseSnafu { left: update.len, asked });
            if update.len < asked {
                // Progress, whatever else was said: the next call tells the rest.
                idle = 0;
                continue;
            }
            match result {
                Err(LaunchError::Command { errno: libc::EINTR | libc::EAGAIN, .. }) | Ok(()) => {
                    idle += 1;
                    ensure!(idle < MAX_RETRIES, StuckSnafu { gpa: at });
                }
                // A pending signal is EIO without a word of the firmware too, like a page that KVM refuses. That
                // one stays refused.
                Err(LaunchError::Command { errno: libc::EIO, code: FirmwareCode::NONE, .. })
                    if idle < SIGNAL_RETRIES =>
                {
                    idle += 1;
                }
                Err(LaunchError::Command { code: FirmwareCode::INVALID_PARAM, .. })
                    if page_type == PageType::CPUID =>
                {
                    let differences = refused_in(given, bytes);
                    // Without a correction, or with one that is refused too, there is nothing left to try.
                    ensure!(corrections.is_empty() && !differences.is_empty(), CpuidSnafu { differences });
                    corrections = differences;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(corrections)
    }

    /// LAUNCH_FINISH: the kernel measures every vCPU's state, the firmware closes the digest and compares it
    /// with the ID block, if there is one. After a refusal there is no second try.
    pub fn finish(&self, identity: &Identity) -> Result<(), LaunchError> {
        let mut finish = LaunchFinish {
            vcek_disabled: u8::from(identity.vcek_disabled),
            host_data: identity.host_data,
            ..LaunchFinish::default()
        };
        if let Some(id) = &identity.id {
            finish.id_block_en = 1;
            finish.id_block_uaddr = id.block.as_ptr() as u64;
            finish.id_auth_uaddr = id.auth.as_ptr() as u64;
            finish.auth_key_en = u8::from(id.author_key);
        }
        self.command(CommandId::LAUNCH_FINISH, finish.as_mut_bytes(), String::new)
    }

    fn command(
        &self,
        command: CommandId,
        data: &mut [u8],
        at: impl FnOnce() -> String,
    ) -> Result<(), LaunchError> {
        let data = if data.is_empty() { 0 } else { data.as_mut_ptr() as u64 };
        let mut cmd = SevCmd { id: command.0, data, sev_fd: self.sev_fd, ..SevCmd::default() };
        self.ioctl.encrypt_op(&mut cmd).map_err(|errno| LaunchError::Command {
            command,
            errno,
            code: FirmwareCode(cmd.error),
            at: at(),
        })
    }
}

fn refused_in(given: &[u8; 4096], corrected: &[u8]) -> Vec<CpuidDifference> {
    cpuid_diff::differences(given, corrected.first_chunk().unwrap_or(given))
}

/// The page type of LAUNCH_UPDATE for a kind of page; none for pages that are not launched.
fn page_type(kind: PageKind) -> Option<PageType> {
    match kind {
        PageKind::Measured => Some(PageType::NORMAL),
        PageKind::Zero => Some(PageType::ZERO),
        PageKind::Secrets => Some(PageType::SECRETS),
        PageKind::Cpuid => Some(PageType::CPUID),
        PageKind::Unmeasured => Some(PageType::UNMEASURED),
        PageKind::Shared => None,
    }
}
