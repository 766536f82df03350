//! Debian's firmware for TDs, launched by the code that launches real ones, over the simulated TDX module.
//! No KVM needed.

use cloister_coco::memory::{Converter, GuestRam, RamRange, SharedMemory, Target};
use cloister_coco::sim::{SimTdx, TdxPlatform, Weather};
use cloister_coco::tdx::TdxLaunch;
use cloister_firmware::measure::{Passes, measure_tdx};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{GuestLayout, Identity, LaunchPlan, TdxBoot, plan_tdx};
use kvm_bindings::kvm_cpuid_entry2;

/// A TD with stock firmware, and memory enough for it.
fn plan(vcpus: u32) -> LaunchPlan {
    let images = cloister_rig::firmware_images().unwrap_or_else(|why| panic!("no firmware to launch: {why}"));
    let image = std::fs::read(images.join("OVMF.inteltdx.ms.fd")).unwrap();
    let firmware = Firmware::parse(image).unwrap();
    let (layout, identity) = (GuestLayout::new(512 << 20), Identity::default());
    plan_tdx(TdxBoot { firmware: &firmware, layout, vcpus, identity }).unwrap()
}

/// All memory of the plan, private.
fn memory(plan: &LaunchPlan) -> (GuestRam, SharedMemory) {
    let ranges: Vec<_> = plan
        .layout
        .ram
        .iter()
        .chain(&plan.layout.firmware)
        .map(|range| RamRange { start: range.start, size: range.size })
        .collect();
    let ram = GuestRam::new(&ranges).unwrap();
    let memory = SharedMemory::new(ram.clone());
    let converter = Converter::plain(memory.clone());
    for range in &ranges {
        converter.convert(range.start, range.size / 4096, Target::Private).unwrap();
    }
    (ram, memory)
}

/// CPUID with the x2APIC that TDs must have.
fn cpuid() -> Vec<kvm_cpuid_entry2> {
    let leaf = |function, ecx| kvm_cpuid_entry2 { function, ecx, ..Default::default() };
    vec![leaf(1, 1 << 21), leaf(7, 0), leaf(0x8000_0008, 0)]
}

/// Launches the plan and returns the module's MRTD.
fn launch(plan: &LaunchPlan, weather: Weather) -> [u8; 48] {
    let (ram, memory) = memory(plan);
    let module = SimTdx::new(ram, memory, TdxPlatform { weather, ..TdxPlatform::default() });
    let launch = TdxLaunch::new(&module);
    module.split_irqchip();
    launch.init_vm(&plan.identity.tdx, &cpuid()).unwrap();
    for index in 0..plan.vcpus.len() as u32 {
        module.create_vcpu(index).unwrap();
        module.set_cpuid2(index, &cpuid()).unwrap();
        launch.init_vcpu(index, plan.td_hob.unwrap()).unwrap();
    }
    launch.load(plan).unwrap();
    launch.finalize().unwrap();
    for index in 0..plan.vcpus.len() as u32 {
        assert_eq!(
            module.enter(index),
            Ok(plan.td_hob.unwrap()),
            "vCPU {index} starts with the hand-off blocks"
        );
    }
    module.mrtd()
}

#[test]
fn stock_firmware_arrives_as_predicted_in_any_weather() {
    let plan = plan(4);
    let predicted = measure_tdx(&plan, Passes::Single).unwrap().digest.0;
    assert_eq!(launch(&plan, Weather::calm()), predicted);
    for seed in 1..=8 {
        assert_eq!(launch(&plan, Weather::rough(seed)), predicted, "weather {seed}");
    }
}
