//! Commands of an SNP launch in any order.

use std::sync::Arc;

use cloister_firmware::measure::measure_snp;
use cloister_firmware::plan::{
    CpuState, GuestLayout, Identity, InitialPrivacy, LaunchPlan, PageKind, PageRun,
};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::{NAMED, Pages, Source, in_slot, memory};
use crate::sim::tests::Reset;
use crate::sim::{SimPsp, SnpPlatform, Weather};
use crate::snp::SevIoctl;
use crate::snp::abi::{CommandId, Init, LaunchFinish, LaunchStart, LaunchUpdate, SevCmd};

#[derive(Debug, Clone)]
enum Op {
    Init2 { features: u64 },
    Certificates,
    Vcpu,
    Start { policy: u64 },
    Update { page: u64, pages: u64, kind: u8, off: u64 },
    Finish { flags: u16 },
    Convert { page: u64, private: bool },
    Unknown { id: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let policy = prop::sample::select(vec![0x30000, 0x30000, 0x10000, 0x70000, 0x30200, 0x130000]);
    let off = prop::sample::select(vec![0, 0, 0, 0, 0, 0, 0, 8]);
    prop_oneof![
        3 => prop::sample::select(vec![0, 1 << 5, 1]).prop_map(|features| Op::Init2 { features }),
        1 => Just(Op::Certificates),
        1 => Just(Op::Vcpu),
        3 => policy.prop_map(|policy| Op::Start { policy }),
        12 => (0..NAMED, 0..10u64, 0..8u8, off)
            .prop_map(|(page, pages, kind, off)| Op::Update { page, pages, kind, off }),
        2 => (0..4u16).prop_map(|n| Op::Finish { flags: u16::from(n == 3) }),
        3 => (0..NAMED, any::<bool>()).prop_map(|(page, private)| Op::Convert { page, private }),
        1 => prop::sample::select(vec![0, 1, 99, 104, u32::MAX]).prop_map(|id| Op::Unknown { id }),
    ]
}

/// A launch as far as it got: 0 made, 1 INIT2, 2 START, 3 FINISH.
#[derive(Debug)]
struct Model {
    stage: u8,
    vcpus: bool,
    features: u64,
    pages: Pages,
    launched: Vec<PageRun>,
}

type Answer = Result<(), (i32, u32)>;

const fn by_kvm(errno: i32) -> Answer {
    Err((errno, 0))
}

const EINVAL: Answer = by_kvm(libc::EINVAL);

impl Model {
    fn new() -> Self {
        Model { stage: 0, vcpus: false, features: 0, pages: Pages::new(), launched: Vec::new() }
    }

    fn init2(&mut self, features: u64) -> Answer {
        match self.stage {
            0 if self.vcpus || features == 1 => EINVAL,
            0 => {
                (self.stage, self.features) = (1, features);
                Ok(())
            }
            _ => by_kvm(libc::EPERM),
        }
    }

    fn start(&mut self, policy: u64) -> Answer {
        match (self.stage, policy) {
            (0, _) => by_kvm(libc::ENOTTY),
            (1, 0x30000 | 0x130000) => {
                self.stage = 2;
                Ok(())
            }
            (1, 0x30200) => Err((libc::EIO, 0x07)), // ABI 2.0 does not exist
            _ => EINVAL,
        }
    }

    /// How many pages go in before something stops it, and what.
    fn update(&self, page: u64, pages: u64, kind: u8, off: u64) -> Result<u64, (i32, u32)> {
        let aligned = off == 0 || kind == 3;
        let end = in_slot(page).filter(|_| aligned && pages > 0 && matches!(kind, 1 | 3..=6));
        let Some(end) = end.filter(|_| self.stage >= 2) else { return Err((libc::EINVAL, 0)) };
        let asked = page..(page + pages).min(end);
        let free = asked.clone().take_while(|&n| self.pages.can_take(n) && self.stage == 2).count();
        match free {
            // A running guest's firmware answers, if KVM lets it.
            0 if self.stage == 3 && self.pages.can_take(page) => Err((libc::EIO, 0x02)),
            0 => Err((libc::EIO, 0)),
            done => Ok(done as u64),
        }
    }

    fn finish(&mut self, flags: u16) -> Answer {
        match self.stage {
            0 => by_kvm(libc::ENOTTY),
            2 if flags == 0 => {
                self.stage = 3;
                Ok(())
            }
            _ => EINVAL,
        }
    }

    fn plan(&self) -> LaunchPlan {
        LaunchPlan {
            pages: self.launched.clone(),
            vcpus: vec![CpuState::reset(0x80_0f12)],
            identity: Identity { vmsa_features: self.features, ..Identity::default() },
            layout: GuestLayout::new(1 << 20),
            initial: InitialPrivacy::Private,
            td_hob: None,
        }
    }
}

fn run(run: &PageRun, kind: u8) -> PageRun {
    let kind = match kind {
        1 => PageKind::Measured,
        3 => PageKind::Zero,
        4 => PageKind::Unmeasured,
        5 => PageKind::Secrets,
        _ => PageKind::Cpuid,
    };
    PageRun { kind, ..run.clone() }
}

/// In rough weather if there is a seed.
fn walk(ops: &[Op], seed: Option<u64>) -> Result<(), TestCaseError> {
    let rough = seed.is_some();
    let weather = seed.map_or(Weather::calm(), Weather::rough);
    let (ram, memory, converter) = memory();
    let platform = SnpPlatform { weather, ..SnpPlatform::default() };
    let psp = SimPsp::on(platform, ram, memory, Arc::new(Reset(1))).unwrap();
    let mut source = Source::new();
    let mut model = Model::new();
    let command = |id: CommandId, data: &mut [u8]| {
        let mut cmd = SevCmd { id: id.0, data: data.as_mut_ptr() as u64, sev_fd: 3, ..SevCmd::default() };
        psp.encrypt_op(&mut cmd).map_err(|errno| (errno, cmd.error))
    };
    for op in ops {
        match *op {
            Op::Init2 { features } => {
                let mut init = Init { vmsa_features: features, ..Init::default() };
                prop_assert_eq!(command(CommandId::INIT2, init.as_mut_bytes()), model.init2(features));
            }
            Op::Certificates => {
                let expected = if model.stage > 0 && !model.vcpus { Ok(()) } else { EINVAL };
                prop_assert_eq!(command(CommandId::ENABLE_REQ_CERTS, &mut []), expected);
            }
            Op::Vcpu => {
                psp.vcpu_created();
                model.vcpus = true;
            }
            Op::Start { policy } => {
                let mut start = LaunchStart { policy, ..LaunchStart::default() };
                prop_assert_eq!(command(CommandId::LAUNCH_START, start.as_mut_bytes()), model.start(policy));
            }
            Op::Update { page, pages, kind, off } => {
                if kind == 6 {
                    // Other CPUID pages are refused, which psp/tests.rs shows.
                    source.0.iter_mut().for_each(|page| page.fill(0));
                } else {
                    *source = *Source::new();
                }
                let mut update = LaunchUpdate {
                    gfn_start: page,
                    uaddr: source.address() + off,
                    len: pages * 4096,
                    page_type: kind,
                    ..LaunchUpdate::default()
                };
                let answer = command(CommandId::LAUNCH_UPDATE, update.as_mut_bytes());
                let done = update.gfn_start - page;
                prop_assert_eq!(update.len, (pages - done) * 4096);
                match model.update(page, pages, kind, off) {
                    Ok(all) if !rough => prop_assert_eq!((answer, done), (Ok(()), all)),
                    Ok(all) => {
                        prop_assert!(done <= all);
                        prop_assert_eq!(answer, if done > 0 { Ok(()) } else { by_kvm(libc::EIO) });
                    }
                    Err(expected) => {
                        prop_assert_eq!(done, 0);
                        let signal = rough && answer == by_kvm(libc::EIO) && expected.0 == libc::EIO;
                        prop_assert!(answer == Err(expected) || signal, "{:?}, not {:?}", answer, expected);
                    }
                }
                for n in 0..done {
                    let bytes = source.0[n as usize].to_vec();
                    let added = PageRun::bytes((page + n) * 4096, PageKind::Measured, "page", bytes);
                    model.pages.added[(page + n) as usize] = true;
                    model.launched.push(run(&added, kind));
                }
            }
            Op::Finish { flags } => {
                let mut finish = LaunchFinish { flags, ..LaunchFinish::default() };
                prop_assert_eq!(
                    command(CommandId::LAUNCH_FINISH, finish.as_mut_bytes()),
                    model.finish(flags)
                );
            }
            Op::Convert { page, private } => model.pages.convert(&converter, page, private),
            Op::Unknown { id } => {
                let expected = if model.stage > 0 && id < 100 { by_kvm(libc::EPERM) } else { EINVAL };
                prop_assert_eq!(command(CommandId(id), &mut [0; 64]), expected);
            }
        }
        prop_assert_eq!(psp.running(), model.stage == 3);
    }
    prop_assert_eq!(psp.report(&[0; 64]).is_some(), model.stage == 3);
    if model.stage == 3 {
        prop_assert_eq!(psp.digest(), measure_snp(&model.plan()).unwrap().digest.0);
    }
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
        let begin = [Op::Init2 { features: 0 }, Op::Start { policy: 0x30000 }];
        let ops: Vec<Op> = begin.into_iter().chain(ops).chain([Op::Finish { flags: 0 }]).collect();
        walk(&ops, seed)?;
    }
}
