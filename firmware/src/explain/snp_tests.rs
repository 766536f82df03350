use super::*;
use crate::linux::Blob;
use crate::measure::measure_snp;
use crate::test_firmware::amdsev;

fn blob(n: u8) -> Blob {
    Blob { len: 1, sha256: [n; 32] }
}

fn kernel(cmdline: &str, initrd: bool) -> KernelInputs {
    KernelInputs { kernel: blob(1), initrd: initrd.then(|| blob(2)), cmdline: cmdline.into() }
}

fn given() -> Given {
    Given {
        profile: Profile::Qemu,
        vcpus: 2,
        signature: 0x80_0f12,
        vmsa_features: 0,
        kernel: Some(kernel("console=ttyS0", true)),
        host_signature: None,
    }
}

fn digest(firmware: &Firmware, given: &Given) -> (Digest384, Digest384) {
    let plan = plan_firmware(FirmwareBoot {
        firmware,
        svsm: None,
        hashes: given.kernel.as_ref().map(KernelInputs::hashes),
        profile: given.profile,
        memory: 64 << 20,
        vcpus: given.vcpus,
        signature: given.signature,
        identity: Identity { vmsa_features: given.vmsa_features, ..Identity::default() },
    });
    let measured = measure_snp(&plan.unwrap()).unwrap();
    (measured.digest, measured.stages[0].digest_after)
}

/// What the search around `given` says about a launch of `other`, with the last of `images` files.
fn search(images: usize, given: Given, other: Given) -> Option<Found> {
    let images = &[amdsev().build(), amdsev().put(0x800, b"another build").build()][..images];
    let (wanted, _) = digest(images.last().unwrap(), &other);
    let known = images.iter().cloned().map(|firmware| {
        let (_, after) = digest(&firmware, &given);
        KnownFirmware { name: format!("{:x}.fd", firmware.bytes()[0x800]), firmware, after }
    });
    let search = SnpSearch::new(known.collect(), given.clone());
    search.combinations().into_iter().find_map(|one| search.try_one(one, wanted).unwrap())
}

fn differences(images: usize, other: Given) -> Vec<String> {
    search(images, given(), other).expect("found").differences
}

/// A launch without a kernel: there is less to try.
fn plain() -> Given {
    Given { kernel: None, ..given() }
}

#[test]
fn what_was_given_differs_in_nothing() {
    assert_eq!(differences(1, given()), [""; 0]);
}

#[test]
fn mistakes_with_vcpus_are_named() {
    let is = |other: Given, want: &str| {
        assert_eq!(search(1, plain(), other).expect("found").differences, [want]);
    };
    is(Given { vcpus: 512, ..plain() }, "512 vCPUs, not 2");
    is(Given { signature: 0xb0_0f00, ..plain() }, "CPU signature 0xb00f00 (EPYC-Turin), not 0x800f12");
    is(Given { vmsa_features: 0x20, ..plain() }, "guest features 0x21 (with debug swap), not 0x1");
    is(Given { vmsa_features: 0x200, ..plain() }, "guest features 0x201 (with Secure TSC), not 0x1");
    is(Given { profile: Profile::Gce, ..plain() }, "launcher gce, not qemu");
    is(Given { profile: Profile::Ec2, ..plain() }, "launcher ec2, not qemu");
    assert_eq!(search(2, plain(), plain()).unwrap().differences, ["firmware 61.fd, not 0.fd"]);
}

#[test]
fn mistakes_with_the_kernel_are_named() {
    let is = |kernel: Option<KernelInputs>, want: &str| {
        assert_eq!(differences(1, Given { kernel, ..given() }), [want]);
    };
    is(Some(kernel("console=ttyS0\n", true)), "a newline at the end of the command line");
    is(Some(kernel("console=ttyS0", false)), "no initrd");
    is(None, "no kernel hashes in the launch");
}

#[test]
fn mistakes_are_found_together() {
    let kernel = Some(kernel("console=ttyS0\n", true));
    let other = Given { vcpus: 100, signature: 0xa0_0f11, vmsa_features: 0x20, kernel, ..given() };
    assert_eq!(differences(2, other).len(), 5);
}

#[test]
fn a_digest_of_something_else_is_not_found() {
    assert_eq!(search(1, plain(), Given { vcpus: 600, ..plain() }), None);
    assert_eq!(search(1, plain(), Given { vmsa_features: 2, ..plain() }), None);
}
