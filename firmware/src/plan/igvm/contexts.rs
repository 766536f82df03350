//! The vCPUs' state that a file brings, for a launch on KVM.

use snafu::{ResultExt, ensure};

use super::error::*;
use super::{IgvmPlanError, Loader};
use crate::igvm::vp::{plain_state, snp_state};
use crate::igvm::{Directive, Header, IgvmFile, KVM_VMSA_GPA, PageFlags, Platform};
use crate::plan::CpuState;

/// The state of one vCPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VpContext {
    pub(crate) cpu: CpuState,
    /// SEV features without SNP_ACTIVE.
    pub(crate) features: u64,
}

/// A VP_CONTEXT with its place in the file.
struct Found {
    offset: u64,
    gpa: u64,
    data: u64,
}

/// Every VP_CONTEXT by vCPU, from 0 on without gaps.
fn by_vcpu(file: &IgvmFile, on: &Platform) -> Result<Vec<Found>, IgvmPlanError> {
    let mut all: Vec<(u16, Found)> = file
        .directives_for(on)
        .filter_map(|h| match h.body {
            Directive::VpContext { gpa, data, vp_index, .. } => {
                Some((vp_index, Found { offset: h.offset, gpa, data }))
            }
            _ => None,
        })
        .collect();
    all.sort_by_key(|(index, _)| *index);
    for ((found, context), wanted) in all.iter().zip(0u16..) {
        ensure!(*found == wanted, ContextIndexSnafu { offset: context.offset, found: *found, wanted });
    }
    Ok(all.into_iter().map(|(_, context)| context).collect())
}

/// The states of an SNP guest, which KVM must be able to reproduce to the bit.
pub(crate) fn snp_contexts(
    file: &IgvmFile,
    on: &Platform,
    loader: Loader,
) -> Result<Vec<VpContext>, IgvmPlanError> {
    let boundary = on.shared_boundary;
    ensure!(boundary == 0, SharedBoundarySnafu { platform: on.platform, found: boundary });
    let found = by_vcpu(file, on)?;
    let first = found.iter().map(|c| c.offset).min();
    if let (Some(offset), true) = (first, loader != Loader::Qemu) {
        let behind = file.directives_for(on).find(|h| h.offset > offset && is_measured(h));
        if let Some(header) = behind {
            return ContextNotLastSnafu { offset, name: header.body.name(), found: header.offset }.fail();
        }
    }
    let mut contexts: Vec<VpContext> = Vec::with_capacity(found.len());
    for Found { offset, gpa, data } in found {
        ensure!(gpa == KVM_VMSA_GPA, ContextAddressSnafu { offset, found: gpa, wanted: KVM_VMSA_GPA });
        let page = file.page(data).context(DataSnafu)?;
        let mut state = snp_state(&page).context(ContextSnafu { offset })?;
        if loader == Loader::Qemu {
            // target/i386/sev.c, sev_apply_cpu_context: the base of TR is taken from LDTR.
            state.cpu.tr.base = state.cpu.ldtr.base;
        }
        let (found, wanted) = (state.features, contexts.first().map_or(state.features, |c| c.features));
        ensure!(found == wanted, ContextFeaturesSnafu { offset, found, wanted });
        contexts.push(VpContext { cpu: state.cpu, features: found });
    }
    Ok(contexts)
}

/// The states of a plain guest.
pub(super) fn plain_contexts(
    file: &IgvmFile,
    on: &Platform,
    signature: u32,
) -> Result<Vec<VpContext>, IgvmPlanError> {
    let mut contexts = Vec::new();
    for Found { offset, data, .. } in by_vcpu(file, on)? {
        let page = file.page(data).context(DataSnafu)?;
        let cpu = plain_state(&page, signature).context(ContextSnafu { offset })?;
        contexts.push(VpContext { cpu, features: 0 });
    }
    Ok(contexts)
}

/// Whether a header adds to the launch digest.
fn is_measured(header: &Header<Directive>) -> bool {
    match header.body {
        Directive::PageData { flags, .. } => !flags.has(PageFlags::SHARED),
        Directive::ParameterInsert { .. } => true,
        _ => false,
    }
}
