//! The directives of a file as the steps of a launch, in its order.

use std::collections::HashMap;
use std::sync::Arc;

use super::parameters::Values;
use super::{IgvmPlanError, Loader};
use crate::igvm::{
    Directive, IgvmError, IgvmFile, PageDataType, PageFlags, ParameterKind, Platform, PlatformType,
};
use crate::plan::{ImageError, PageKind, PageRun, Source};

/// One step of a launch.
#[derive(Debug, Clone)]
pub enum IgvmStep {
    /// Pages.
    Run(PageRun),
    /// The state of a vCPU.
    Context {
        /// Where the file wants it.
        gpa: u64,
        /// Where it is in the file.
        data: u64,
        /// Which vCPU.
        vp_index: u16,
    },
}

const PAGE: u64 = PageRun::PAGE_SIZE as u64;

/// The steps of a file on one of its platforms, in its order, with parameters as the file has them.
pub fn igvm_steps(file: &IgvmFile, on: &Platform, loader: Loader) -> Result<Vec<IgvmStep>, IgvmPlanError> {
    steps(file, on, loader, None)
}

/// The steps on a platform. Without `values` the parameters keep their first contents: enough to
/// measure, because parameters are not.
pub(crate) fn steps(
    file: &IgvmFile,
    on: &Platform,
    loader: Loader,
    values: Option<&Values<'_>>,
) -> Result<Vec<IgvmStep>, IgvmPlanError> {
    let mut steps = Steps { file, on: on.platform, loader, areas: HashMap::new(), all: Vec::new() };
    for header in file.directives_for(on) {
        match header.body {
            Directive::PageData { gpa, data, flags, data_type, .. } => {
                steps.page(gpa, data, flags, data_type)?
            }
            Directive::ParameterArea { bytes, index, data } => {
                steps.area(bytes, index, data, values.is_some())?
            }
            Directive::Parameter { kind, index, at } => {
                if let Some(area) = steps.areas.get_mut(&index) {
                    area.label = area.label.or(label(kind));
                    if let Some(values) = values {
                        values.write(kind, header.offset, at, &mut area.contents)?;
                    }
                }
            }
            Directive::ParameterInsert { gpa, index, bytes, .. } => steps.insert(gpa, index, bytes),
            Directive::ErrorRange { gpa, bytes, .. } => {
                let pages = bytes.div_ceil(PAGE);
                if pages > 0 {
                    steps.push(PageRun::empty(gpa, pages, PageKind::Shared, "IGVM error range"));
                }
            }
            Directive::VpContext { gpa, data, vp_index, .. } => {
                steps.all.push(IgvmStep::Context { gpa, data, vp_index });
            }
            Directive::RequiredMemory { .. } | Directive::SnpIdBlock(_) | Directive::Passed { .. } => {}
        }
    }
    Ok(steps.all)
}

/// What an area of parameters is called after.
fn label(kind: ParameterKind) -> Option<&'static str> {
    Some(match kind {
        ParameterKind::MEMORY_MAP => "IGVM memory map",
        ParameterKind::MADT => "IGVM MADT",
        ParameterKind::COMMAND_LINE => "IGVM command line",
        ParameterKind::DEVICE_TREE => "IGVM device tree",
        ParameterKind::VP_COUNT | ParameterKind::ENVIRONMENT_INFO => "IGVM machine parameters",
        _ => return None,
    })
}

struct Area {
    contents: Vec<u8>,
    label: Option<&'static str>,
}

struct Steps<'a> {
    file: &'a IgvmFile,
    on: PlatformType,
    loader: Loader,
    areas: HashMap<u32, Area>,
    all: Vec<IgvmStep>,
}

impl Steps<'_> {
    fn page(
        &mut self,
        gpa: u64,
        data: Option<u64>,
        flags: PageFlags,
        data_type: PageDataType,
    ) -> Result<(), IgvmPlanError> {
        let snp = self.on == PlatformType::SEV_SNP;
        let native_zero = snp && self.loader == Loader::CloudHypervisor;
        let (kind, label) = match (data_type, data) {
            _ if flags.has(PageFlags::SHARED) => (PageKind::Shared, "IGVM shared pages"),
            (PageDataType::SECRETS, _) if snp => (PageKind::Secrets, "secrets page"),
            (PageDataType::CPUID_DATA | PageDataType::CPUID_XF, _) if snp => (PageKind::Cpuid, "CPUID page"),
            _ if flags.has(PageFlags::UNMEASURED) => (PageKind::Unmeasured, "IGVM unmeasured pages"),
            (_, None) if native_zero => (PageKind::Zero, "IGVM zero pages"),
            (_, None) => (PageKind::Measured, "IGVM zero pages"),
            (_, Some(_)) => (PageKind::Measured, "IGVM pages"),
        };
        let source = match data {
            Some(at) => self.file.image().source(at, PAGE).map_err(unreadable)?,
            None => Source::Zero,
        };
        self.push(PageRun { gpa, pages: 1, kind, source, label });
        Ok(())
    }

    fn area(&mut self, bytes: u64, index: u32, data: Option<u64>, filled: bool) -> Result<(), IgvmPlanError> {
        let mut contents = Vec::new();
        if filled {
            // Bounded when the file was read: all areas together have MAX_PARAMETER_BYTES at most.
            contents.resize(usize::try_from(bytes).unwrap_or_default(), 0);
            if let Some(at) = data {
                self.file.image().read_at(at, &mut contents).map_err(unreadable)?;
            }
        }
        self.areas.insert(index, Area { contents, label: None });
        Ok(())
    }

    fn insert(&mut self, gpa: u64, index: u32, bytes: u64) {
        let area = self.areas.remove(&index);
        let label = area.as_ref().and_then(|a| a.label).unwrap_or("IGVM parameters");
        let source = match area {
            Some(area) if !area.contents.is_empty() => Source::Bytes(Arc::from(area.contents)),
            _ => Source::Zero,
        };
        let pages = bytes.div_ceil(PAGE);
        // Never joined with its neighbour: a plan and a prediction have the same steps, filled or not.
        self.all.push(IgvmStep::Run(PageRun { gpa, pages, kind: PageKind::Unmeasured, source, label }));
    }

    /// Adds a run, or makes the last one longer if that is the same.
    fn push(&mut self, run: PageRun) {
        if let Some(IgvmStep::Run(last)) = self.all.last_mut()
            && (last.kind, last.label, last.end()) == (run.kind, run.label, run.gpa)
        {
            let grown = match (&mut last.source, &run.source) {
                (Source::Zero, Source::Zero) => true,
                (Source::File { offset, len, .. }, Source::File { offset: next, len: more, .. })
                    if offset.saturating_add(*len) == *next =>
                {
                    *len = len.saturating_add(*more);
                    true
                }
                _ => false,
            };
            if grown {
                last.pages = last.pages.saturating_add(run.pages);
                return;
            }
        }
        self.all.push(IgvmStep::Run(run));
    }
}

fn unreadable(source: ImageError) -> IgvmPlanError {
    IgvmPlanError::Data { source: IgvmError::File { source } }
}
