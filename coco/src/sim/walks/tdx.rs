//! Commands of a TD's launch in any order.

use cloister_firmware::measure::{Passes, measure_tdx};
use cloister_firmware::plan::{GuestLayout, Identity, InitialPrivacy, LaunchPlan, PageKind, PageRun};
use kvm_bindings::kvm_cpuid_entry2;
use proptest::prelude::*;
use zerocopy::{FromZeros, IntoBytes};

use super::{NAMED, Pages, Source, in_slot, memory};
use crate::sim::{SimTdx, TdxPlatform, Weather};
use crate::tdx::TdxIoctl;
use crate::tdx::abi::{
    CpuidEntry, CpuidHeader, TdxCapabilities, TdxCmd, TdxCommandId, TdxInitMemRegion, TdxInitVm,
};
use crate::tdx::buffer::WithCpuid;

const VCPUS: u32 = 3;

#[derive(Debug, Clone)]
enum Op {
    Capabilities { room: u32 },
    InitVm { attributes: u64, width: u32, extra: bool },
    SplitIrqchip,
    CreateVcpu { vcpu: u32 },
    SetCpuid { vcpu: u32, x2apic: bool },
    InitVcpu { vcpu: u32, flags: u32 },
    Region { vcpu: u32, page: u64, pages: u64, flags: u32, off: u64 },
    GetCpuid { vcpu: u32, room: u32 },
    Finalize,
    Convert { page: u64, private: bool },
    Dirty { id: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let seldom =
        |usual: u64, other: u64| prop::sample::select(vec![usual, usual, usual, usual, usual, other]);
    let vcpu = || 0..VCPUS;
    prop_oneof![
        1 => prop::sample::select(vec![0, 14, 15, 64]).prop_map(|room| Op::Capabilities { room }),
        3 => (seldom(1 << 28, 1), prop::sample::select(vec![48, 52, 47]), prop::sample::select(vec![false, false, true]))
            .prop_map(|(attributes, width, extra)| Op::InitVm { attributes, width, extra }),
        2 => Just(Op::SplitIrqchip),
        3 => vcpu().prop_map(|vcpu| Op::CreateVcpu { vcpu }),
        3 => (vcpu(), seldom(1, 0)).prop_map(|(vcpu, x)| Op::SetCpuid { vcpu, x2apic: x == 1 }),
        4 => (vcpu(), seldom(0, 1)).prop_map(|(vcpu, flags)| Op::InitVcpu { vcpu, flags: flags as u32 }),
        12 => (vcpu(), 0..NAMED, 0..10u64, 0..3u32, seldom(0, 8))
            .prop_map(|(vcpu, page, pages, flags, off)| Op::Region { vcpu, page, pages, flags, off }),
        1 => (vcpu(), prop::sample::select(vec![0, 64])).prop_map(|(vcpu, room)| Op::GetCpuid { vcpu, room }),
        1 => Just(Op::Finalize),
        3 => (0..NAMED, any::<bool>()).prop_map(|(page, private)| Op::Convert { page, private }),
        1 => (0..7u32).prop_map(|id| Op::Dirty { id }),
    ]
}

#[derive(Debug, Clone, Copy, Default)]
struct Vcpu {
    made: bool,
    x2apic: bool,
    initialised: bool,
}

/// A TD as far as it got.
#[derive(Debug)]
struct Model {
    split: bool,
    made: bool,
    finalized: bool,
    vcpus: [Vcpu; VCPUS as usize],
    pages: Pages,
    launched: Vec<PageRun>,
}

type Answer = Result<(), i32>;

const EINVAL: Answer = Err(libc::EINVAL);

impl Model {
    fn new() -> Self {
        let (split, made, finalized) = (false, false, false);
        let vcpus = [Vcpu::default(); VCPUS as usize];
        Model { split, made, finalized, vcpus, pages: Pages::new(), launched: Vec::new() }
    }

    /// What vCPU commands say before they look at anything else.
    fn vcpu(&self, vcpu: u32) -> Result<Vcpu, i32> {
        match self.vcpus[vcpu as usize] {
            _ if !self.made || self.finalized => Err(libc::EINVAL),
            v if !v.made => Err(libc::EBADF),
            v => Ok(v),
        }
    }

    fn init_vm(&mut self, attributes: u64, width: u32, extra: bool) -> Answer {
        if self.made || attributes != 1 << 28 || width == 47 || extra {
            return EINVAL;
        }
        self.made = true;
        Ok(())
    }

    fn create(&mut self, vcpu: u32) -> Answer {
        let v = &mut self.vcpus[vcpu as usize];
        match (self.made && !self.finalized, self.split, v.made) {
            (false, ..) => Err(libc::EIO),
            (_, false, _) => EINVAL,
            (.., true) => Err(libc::EEXIST),
            _ => {
                v.made = true;
                Ok(())
            }
        }
    }

    fn init_vcpu(&mut self, vcpu: u32, flags: u32) -> Answer {
        let v = self.vcpu(vcpu)?;
        if flags != 0 || v.initialised || !v.x2apic {
            return EINVAL;
        }
        self.vcpus[vcpu as usize].initialised = true;
        Ok(())
    }

    /// How many pages go in before something stops it, and what stops it.
    fn region(&self, vcpu: u32, page: u64, pages: u64, flags: u32, off: u64) -> (u64, Answer) {
        match self.vcpu(vcpu) {
            Err(errno) => return (0, Err(errno)),
            Ok(v) if !v.initialised || flags > 1 || off != 0 || pages == 0 => return (0, EINVAL),
            Ok(_) => {}
        }
        let free = (page..(page + pages).min(NAMED)).take_while(|&n| self.pages.can_take(n)).count() as u64;
        if free == pages {
            return (free, Ok(()));
        }
        let stop = page + free;
        let twice = in_slot(stop).is_some() && self.pages.private[stop as usize];
        (free, Err(if twice { libc::EIO } else { libc::EINVAL }))
    }

    fn finalize(&mut self) -> Answer {
        if !self.made || self.finalized {
            return EINVAL;
        }
        self.finalized = true;
        Ok(())
    }

    fn plan(&self) -> LaunchPlan {
        LaunchPlan {
            pages: self.launched.clone(),
            vcpus: Vec::new(),
            identity: Identity::default(),
            layout: GuestLayout::new(1 << 20),
            initial: InitialPrivacy::Private,
            td_hob: None,
        }
    }
}

struct Beneath<'a>(&'a SimTdx);

impl Beneath<'_> {
    fn vm(&self, id: TdxCommandId, data: u64) -> Answer {
        self.0.vm_op(&mut TdxCmd { id: id.0, data, ..TdxCmd::default() })
    }

    fn vcpu(&self, vcpu: u32, id: TdxCommandId, flags: u32, data: u64) -> Answer {
        self.0.vcpu_op(vcpu, &mut TdxCmd { id: id.0, flags, data, hw_error: 0 })
    }
}

/// In rough weather if there is a seed.
fn walk(ops: &[Op], seed: Option<u64>) -> Result<(), TestCaseError> {
    let (ram, memory, converter) = memory();
    let weather = seed.map_or(Weather::calm(), Weather::rough);
    let tdx = SimTdx::new(ram, memory, TdxPlatform { weather, ..TdxPlatform::default() });
    let beneath = Beneath(&tdx);
    let source = Source::new();
    let mut model = Model::new();
    for op in ops {
        match *op {
            Op::Capabilities { room } => {
                let mut buffer = WithCpuid::<TdxCapabilities>::with_room(room);
                let expected = match (model.finalized, room) {
                    (true, _) => EINVAL,
                    (_, 0..15) => Err(libc::E2BIG),
                    _ => Ok(()),
                };
                prop_assert_eq!(beneath.vm(TdxCommandId::CAPABILITIES, buffer.address()), expected);
                prop_assert_eq!(buffer.head().cpuid.nent, if expected.is_ok() { 15 } else { room });
            }
            Op::InitVm { attributes, width, extra } => {
                let head = TdxInitVm { attributes, xfam: 3, ..TdxInitVm::new_zeroed() };
                let entry = |function, eax| CpuidEntry { function, eax, ..CpuidEntry::default() };
                let mut entries = vec![entry(0x8000_0008, width << 16)];
                entries.extend(extra.then(|| entry(2, 0)));
                let expected = model.init_vm(attributes, width, extra);
                let mut again = WithCpuid::new(head, &entries);
                let mut init = || beneath.vm(TdxCommandId::INIT_VM, again.address());
                let mut answer = init();
                while seed.is_some() && answer == Err(libc::EAGAIN) {
                    answer = init();
                }
                prop_assert_eq!(answer, expected);
            }
            Op::SplitIrqchip => {
                tdx.split_irqchip();
                model.split = true;
            }
            Op::CreateVcpu { vcpu } => prop_assert_eq!(tdx.create_vcpu(vcpu), model.create(vcpu)),
            Op::SetCpuid { vcpu, x2apic } => {
                let entry =
                    kvm_cpuid_entry2 { function: 1, ecx: u32::from(x2apic) << 21, ..Default::default() };
                let done = tdx.set_cpuid2(vcpu, &[entry]).is_ok();
                let v = &mut model.vcpus[vcpu as usize];
                prop_assert_eq!(done, v.made);
                v.x2apic = done && x2apic;
            }
            Op::InitVcpu { vcpu, flags } => {
                let answer = beneath.vcpu(vcpu, TdxCommandId::INIT_VCPU, flags, 0x80_9000 + u64::from(vcpu));
                prop_assert_eq!(answer, model.init_vcpu(vcpu, flags));
            }
            Op::Region { vcpu, page, pages, flags, off } => {
                let start = TdxInitMemRegion {
                    source_addr: source.address() + off,
                    gpa: page * 4096,
                    nr_pages: pages,
                };
                let mut region = start;
                let (all, expected) = model.region(vcpu, page, pages, flags, off);
                let address = region.as_mut_bytes().as_mut_ptr() as u64;
                let mut answer = beneath.vcpu(vcpu, TdxCommandId::INIT_MEM_REGION, flags, address);
                while seed.is_some() && matches!(answer, Err(libc::EINTR | libc::EAGAIN | libc::EBUSY)) {
                    answer = beneath.vcpu(vcpu, TdxCommandId::INIT_MEM_REGION, flags, address);
                }
                prop_assert_eq!(answer, expected);
                let done = pages - region.nr_pages;
                prop_assert_eq!(done, all);
                let moved = (region.gpa - start.gpa, region.source_addr - start.source_addr);
                prop_assert_eq!(moved, (done * 4096, done * 4096));
                let kind = if flags == 1 { PageKind::Measured } else { PageKind::Unmeasured };
                for n in 0..done {
                    let bytes = source.0[n as usize].to_vec();
                    model.launched.push(PageRun::bytes((page + n) * 4096, kind, "page", bytes));
                    model.pages.added[(page + n) as usize] = true;
                }
            }
            Op::GetCpuid { vcpu, room } => {
                let mut buffer = WithCpuid::<CpuidHeader>::with_room(room);
                let answer = beneath.vcpu(vcpu, TdxCommandId::GET_CPUID, 0, buffer.address());
                let too_small = if room == 0 { Err(libc::E2BIG) } else { Ok(()) };
                prop_assert_eq!(answer, model.vcpu(vcpu).and(too_small));
            }
            Op::Finalize => {
                let mut answer = beneath.vm(TdxCommandId::FINALIZE_VM, 0);
                while seed.is_some() && answer == Err(libc::EBUSY) {
                    answer = beneath.vm(TdxCommandId::FINALIZE_VM, 0);
                }
                prop_assert_eq!(answer, model.finalize());
            }
            Op::Convert { page, private } => model.pages.convert(&converter, page, private),
            Op::Dirty { id } => {
                let mut cmd = TdxCmd { id, hw_error: 1, ..TdxCmd::default() };
                prop_assert_eq!(tdx.vm_op(&mut cmd), EINVAL);
                prop_assert_eq!(tdx.vcpu_op(0, &mut cmd), EINVAL);
            }
        }
        prop_assert_eq!(tdx.finalized(), model.finalized);
        for (vcpu, v) in (0..).zip(model.vcpus) {
            let runs = (model.finalized && v.initialised).then_some(0x80_9000 + u64::from(vcpu));
            prop_assert_eq!(tdx.enter(vcpu).ok(), runs);
        }
    }
    prop_assert_eq!(tdx.tdreport(&[0; 64]).is_some(), model.finalized);
    prop_assert_eq!(tdx.mrtd(), measure_tdx(&model.plan(), Passes::Single).unwrap().digest.0);
    Ok(())
}

proptest! {
    #[test]
    fn commands_in_any_order_do_what_the_model_does(ops in prop::collection::vec(op(), 0..40)) {
        walk(&ops, None)?;
    }

    #[test]
    fn a_launch_that_began_well_goes_on_as_the_model_does(
        ops in prop::collection::vec(op(), 0..30),
        seed in prop::option::of(any::<u64>()),
    ) {
        let begin = [
            Op::InitVm { attributes: 1 << 28, width: 48, extra: false },
            Op::SplitIrqchip,
            Op::CreateVcpu { vcpu: 0 },
            Op::SetCpuid { vcpu: 0, x2apic: true },
            Op::InitVcpu { vcpu: 0, flags: 0 },
        ];
        let ops: Vec<Op> = begin.into_iter().chain(ops).chain([Op::Finalize]).collect();
        walk(&ops, seed)?;
    }
}
