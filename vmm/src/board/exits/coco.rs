//! What confidential guests ask of the VMM at run time, and who answers.

use std::io;
use std::sync::Arc;

use cloister_coco::launch::PlatformKind;
use cloister_coco::memory::SharedMemory;
use cloister_coco::snp::certs::{CertAnswer, CertRequest, CertServer, CertStats, CertStore, HeldLocks};
use cloister_coco::tdx::quote::{FailureSink, QuoteFailure, QuoteStats, TdAnswer, TdCall, TdServices};
use cloister_coco::tdx::vmcall::VmCallInfo;
use cloister_coco::tdx::{QuoteServiceAddress, Td};
use cloister_devices::limit::LogLimit;
use kvm_ioctls::VmFd;
use tracing::{info, warn};

use super::told::{FLAG_PRIVATE, Side};
use crate::kvm::KvmMessages;

/// What the operator gives for a confidential guest's requests at run time.
#[derive(Debug, Clone, Default)]
pub(crate) struct CocoServices {
    /// TDX: who makes quotes.
    pub(crate) quotes: Option<QuoteServiceAddress>,
    /// SNP: the certificates that go with reports.
    pub(crate) certs: Option<CertStore>,
}

/// Answers what confidential guests ask. By default there is nobody to ask.
pub(crate) struct CocoExits {
    pub(super) kind: PlatformKind,
    certs: Option<CertServer>,
    td: Option<TdServices>,
    log: LogLimit,
}

impl Default for CocoExits {
    fn default() -> Self {
        CocoExits::with(PlatformKind::Off, None, None)
    }
}

impl CocoExits {
    /// For a guest on `kind` with this memory; `td` is what its launch found out, if it is one.
    pub(crate) fn new(
        kind: PlatformKind,
        memory: &SharedMemory,
        vm: &Arc<VmFd>,
        td: Option<&Td>,
        services: CocoServices,
    ) -> io::Result<Self> {
        let CocoServices { quotes, certs } = services;
        let certs = certs.filter(|_| kind == PlatformKind::Snp).map(CertServer::new);
        let td = (kind == PlatformKind::Tdx)
            .then(|| {
                let info = td.map_or_else(VmCallInfo::default, |td| VmCallInfo::from(&td.capabilities));
                let interrupts = Box::new(KvmMessages(Arc::clone(vm)));
                TdServices::new(memory.clone(), info, quotes, interrupts, failures())
            })
            .transpose()?;
        Ok(CocoExits::with(kind, certs, td))
    }

    /// With these to answer.
    pub(super) fn with(kind: PlatformKind, certs: Option<CertServer>, td: Option<TdServices>) -> Self {
        CocoExits { kind, certs, td, log: LogLimit::default() }
    }

    /// Whether a memory fault at a page that `is` there now may come of another vCPU's conversion, so that the
    /// guest tries again.
    pub(super) fn may_be_a_race(&self, errno: i32, flags: u64, is: Side) -> bool {
        let wanted = if flags & FLAG_PRIVATE != 0 { Side::Private } else { Side::Shared };
        let may_be = match self.kind {
            PlatformKind::Protected => is != Side::Nowhere,
            // These guests say themselves which side they mean: by now it may be what they meant.
            PlatformKind::Snp | PlatformKind::Tdx => is == wanted,
            PlatformKind::Sim | PlatformKind::Off => false,
        };
        may_be && errno == libc::EFAULT && flags & !FLAG_PRIVATE == 0
    }

    /// A TDVMCALL of the vCPU `apic_id`.
    pub(super) fn td_call(&self, call: TdCall, apic_id: u32) -> TdAnswer {
        self.td.as_ref().map_or(TdAnswer::AsKvmHasIt, |td| td.answer(call, apic_id))
    }

    /// A request for certificates. Without a store the guest keeps what it has in its buffer, as it would
    /// with a KVM that cannot ask us.
    pub(super) fn certs(&self, memory: &SharedMemory, request: CertRequest) -> CertAnswer {
        let Some(server) = &self.certs else {
            return CertAnswer { ret: 0, npages: request.npages, locks: HeldLocks::none(), why_not: None };
        };
        let answer = server.answer(memory, request);
        if let Some(why) = &answer.why_not {
            self.warn(format_args!("the guest asked for certificates and got none: {why}"));
        }
        answer
    }

    /// Says something that a guest can cause at will.
    pub(super) fn warn(&self, what: impl std::fmt::Display) {
        if let Some(kept_back) = self.log.allow() {
            warn!(kept_back, "{what}");
        }
    }
}

impl Drop for CocoExits {
    fn drop(&mut self) {
        if let Some(stats) = self.certs.as_ref().map(CertServer::stats).filter(|s| *s != CertStats::default())
        {
            info!(?stats, "requests for certificates");
        }
        if let Some(stats) = self.td.as_ref().map(TdServices::stats).filter(|s| *s != QuoteStats::default()) {
            info!(?stats, "requests for quotes");
        }
    }
}

/// Logs requests for quotes that came to nothing.
fn failures() -> FailureSink {
    let log = LogLimit::default();
    Box::new(move |failure: &QuoteFailure| {
        if let Some(kept_back) = log.allow() {
            warn!(kept_back, "the guest asked for a quote and got none: {failure}");
        }
    })
}
