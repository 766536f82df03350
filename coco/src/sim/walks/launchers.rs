//! The production launchers over the simulator: through any weather they end with the digest that was
//! predicted, and after any hard failure with an error and a guest that does not run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cloister_firmware::measure::{Passes, measure_snp, measure_tdx};
use cloister_firmware::plan::{
    CpuState, GuestLayout, Identity, InitialPrivacy, LaunchPlan, PageKind, PageRun,
};
use kvm_bindings::kvm_cpuid_entry2;
use proptest::prelude::*;

use super::{NAMED, SLOTS, in_slot, memory};
use crate::sim::tests::Reset;
use crate::sim::{SimPsp, SimTdx, SnpPlatform, TdxPlatform, Weather};
use crate::snp::abi::SevCmd;
use crate::snp::{SevIoctl, SnpLaunch};
use crate::tdx::abi::TdxCmd;
use crate::tdx::{TdxIoctl, TdxLaunch};

/// A run of pages before it is known whether it fits: page, pages, kind, and what fills them.
type Sketch = (u64, u64, PageKind, u8);

fn sketches(kinds: &'static [PageKind]) -> impl Strategy<Value = Vec<Sketch>> {
    prop::collection::vec((0..NAMED, 1..6u64, prop::sample::select(kinds), 1..255u8), 0..10)
}

/// The runs that lie in the slots and apart from one another.
fn runs(sketches: Vec<Sketch>) -> Vec<PageRun> {
    let mut taken = [false; NAMED as usize];
    let mut runs = Vec::new();
    for (page, pages, kind, fill) in sketches {
        let pages = if kind == PageKind::Cpuid { 1 } else { pages };
        let fits = in_slot(page).is_some_and(|end| page + pages <= end);
        let range = page as usize..(page + pages) as usize;
        if !fits || taken[range.clone()].contains(&true) {
            continue;
        }
        taken[range].fill(true);
        // The last page is not whole.
        let bytes = vec![fill; (pages * 4096) as usize - usize::from(fill)];
        runs.push(match kind {
            PageKind::Measured | PageKind::Unmeasured => PageRun::bytes(page * 4096, kind, "bytes", bytes),
            _ => PageRun::empty(page * 4096, pages, kind, "no bytes"),
        });
    }
    runs
}

fn plan(sketches: Vec<Sketch>, vcpus: usize) -> LaunchPlan {
    LaunchPlan {
        pages: runs(sketches),
        vcpus: vec![CpuState::reset(0x80_0f12); vcpus],
        identity: Identity { host_data: [7; 32], ..Identity::default() },
        layout: GuestLayout::new(SLOTS[1].end * 4096),
        initial: InitialPrivacy::Private,
        td_hob: Some(0x80_9000),
    }
}

const SNP_KINDS: &[PageKind] = &[
    PageKind::Measured,
    PageKind::Zero,
    PageKind::Unmeasured,
    PageKind::Secrets,
    PageKind::Cpuid,
    PageKind::Shared,
];
const TDX_KINDS: &[PageKind] = &[PageKind::Measured, PageKind::Zero, PageKind::Unmeasured, PageKind::Shared];

/// Passes commands on, but for the one whose turn it is: that fails hard.
struct Failing<'a, T> {
    beneath: &'a T,
    commands: AtomicU32,
    fails: Option<u32>,
}

impl<'a, T> Failing<'a, T> {
    fn new(beneath: &'a T, fails: Option<u32>) -> Self {
        Failing { beneath, commands: AtomicU32::new(0), fails }
    }

    fn turn(&self) -> Result<(), i32> {
        let turn = self.commands.fetch_add(1, Ordering::Relaxed);
        if self.fails == Some(turn) { Err(libc::ENOMEM) } else { Ok(()) }
    }

    /// Whether the failing command was reached.
    fn failed(&self) -> bool {
        self.fails.is_some_and(|turn| self.commands.load(Ordering::Relaxed) > turn)
    }
}

impl SevIoctl for Failing<'_, SimPsp> {
    fn encrypt_op(&self, cmd: &mut SevCmd) -> Result<(), i32> {
        self.turn().and_then(|()| self.beneath.encrypt_op(cmd))
    }
}

impl TdxIoctl for Failing<'_, SimTdx> {
    fn vm_op(&self, cmd: &mut TdxCmd) -> Result<(), i32> {
        self.turn().and_then(|()| self.beneath.vm_op(cmd))
    }
    fn vcpu_op(&self, vcpu: u32, cmd: &mut TdxCmd) -> Result<(), i32> {
        self.turn().and_then(|()| self.beneath.vcpu_op(vcpu, cmd))
    }
}

fn launch_snp(ioctl: &dyn SevIoctl, plan: &LaunchPlan) -> Result<(), String> {
    let launch = SnpLaunch::new(ioctl, 3);
    launch.start(&plan.identity).map_err(|e| e.to_string())?;
    launch.load(plan, &[0; 4096]).map_err(|e| e.to_string())?;
    launch.finish(&plan.identity).map_err(|e| e.to_string())
}

fn launch_tdx(ioctl: &dyn TdxIoctl, tdx: &SimTdx, plan: &LaunchPlan) -> Result<(), String> {
    let leaf = |function, ecx| kvm_cpuid_entry2 { function, ecx, ..Default::default() };
    let cpuid = [leaf(1, 1 << 21), leaf(7, 0), leaf(0x8000_0008, 0)];
    let launch = TdxLaunch::new(ioctl);
    launch.init_vm(&plan.identity.tdx, &cpuid).map_err(|e| e.to_string())?;
    tdx.split_irqchip();
    for vcpu in 0..plan.vcpus.len() as u32 {
        tdx.create_vcpu(vcpu).unwrap();
        tdx.set_cpuid2(vcpu, &cpuid).unwrap();
        launch.init_vcpu(vcpu, plan.td_hob.unwrap()).map_err(|e| e.to_string())?;
        launch.vcpu_cpuid(vcpu).map_err(|e| e.to_string())?;
    }
    launch.load(plan).map_err(|e| e.to_string())?;
    launch.finalize().map_err(|e| e.to_string())
}

proptest! {
    #[test]
    fn an_snp_launch_weathers_what_may_come(
        sketch in sketches(SNP_KINDS),
        vcpus in 1usize..4,
        seed: u64,
        fails in prop::option::of(0..30u32),
    ) {
        let plan = plan(sketch, vcpus);
        let (ram, memory, _converter) = memory();
        let platform = SnpPlatform { weather: Weather::rough(seed), ..SnpPlatform::default() };
        let psp = SimPsp::on(platform, ram, memory, Arc::new(Reset(vcpus))).unwrap();
        let failing = Failing::new(&psp, fails);
        let result = launch_snp(&failing, &plan);
        prop_assert_eq!(result.is_err(), failing.failed(), "{:?}", result);
        prop_assert_eq!(psp.running(), result.is_ok());
        prop_assert_eq!(psp.report(&[0; 64]).is_some(), result.is_ok());
        if result.is_ok() {
            prop_assert_eq!(psp.digest(), measure_snp(&plan).unwrap().digest.0);
        }
    }

    #[test]
    fn a_tds_launch_weathers_what_may_come(
        sketch in sketches(TDX_KINDS),
        vcpus in 1usize..4,
        seed: u64,
        fails in prop::option::of(0..30u32),
    ) {
        let plan = plan(sketch, vcpus);
        let (ram, memory, _converter) = memory();
        let platform = TdxPlatform { weather: Weather::rough(seed), ..TdxPlatform::default() };
        let tdx = SimTdx::new(ram, memory, platform);
        let failing = Failing::new(&tdx, fails);
        let result = launch_tdx(&failing, &tdx, &plan);
        prop_assert_eq!(result.is_err(), failing.failed(), "{:?}", result);
        prop_assert_eq!(tdx.finalized(), result.is_ok());
        for vcpu in 0..vcpus as u32 {
            prop_assert_eq!(tdx.enter(vcpu).ok(), result.is_ok().then_some(0x80_9000));
        }
        if result.is_ok() {
            prop_assert_eq!(tdx.mrtd(), measure_tdx(&plan, Passes::Single).unwrap().digest.0);
        }
    }
}
