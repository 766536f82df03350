//! Which firmware, loaded by whom, has an MRTD.

use crate::measure::{Digest384, MeasureError, Passes, measure_tdx};
use crate::ovmf::Firmware;
use crate::plan::{GuestLayout, Identity, TdxBoot, plan_tdx};

/// RAM for the sake of a plan: MRTD does not depend on it.
const ANY_MEMORY: u64 = 2 << 30;

/// The image, by its index, and the order that give `wanted`. Images that are not built for TDX have no MRTD.
pub fn explain_mrtd(images: &[Firmware], wanted: Digest384) -> Result<Option<(usize, Passes)>, MeasureError> {
    for (index, firmware) in images.iter().enumerate() {
        let layout = GuestLayout::new(ANY_MEMORY);
        let boot = TdxBoot { firmware, layout, vcpus: 1, identity: Identity::default() };
        let Ok(plan) = plan_tdx(boot) else { continue };
        for passes in [Passes::Single, Passes::Two] {
            if measure_tdx(&plan, passes)?.digest == wanted {
                return Ok(Some((index, passes)));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_firmware::{FirmwareBuilder, INTEL_TDX, amdsev};

    #[test]
    fn image_and_order_are_found() {
        // An image with nothing between its two pages of memory has one order; this one has two.
        let mut sections = INTEL_TDX;
        sections[0] = (0, 0x2000, 0xffff_d000, 0x2000, 0, 1);
        sections[1] = (0, 0x1000, 0xffff_f000, 0x1000, 1, 0);
        let image = |byte| FirmwareBuilder::new(3).tdvf(&sections).put(0x800, &[byte]).build();
        let images = [amdsev().build(), image(1), image(2)];
        let plan = plan_tdx(TdxBoot {
            firmware: &images[2],
            layout: GuestLayout::new(ANY_MEMORY),
            vcpus: 1,
            identity: Identity::default(),
        });
        let plan = plan.unwrap();
        for passes in [Passes::Single, Passes::Two] {
            let wanted = measure_tdx(&plan, passes).unwrap().digest;
            assert_eq!(explain_mrtd(&images, wanted).unwrap(), Some((2, passes)));
        }
        assert_eq!(explain_mrtd(&images, Digest384::ZERO).unwrap(), None);
    }
}
