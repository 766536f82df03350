//! LAUNCH_FINISH: KVM adds the vCPUs' states, the firmware checks whose guest it is and closes the digest.

use super::id_block::Owner;
use super::{Refusal, SimPsp, Stage, firmware, kvm};
use crate::sim::user::read;
use crate::sim::vmsa::vmsa_page;
use crate::snp::abi::LaunchFinish;

impl SimPsp {
    pub(super) fn finish(&self, fd: u32, address: u64) -> Result<(), Refusal> {
        let mut guest = self.guest();
        match guest.stage {
            Stage::Created => return Err(kvm(libc::ENOTTY)),
            Stage::Initialised => return Err(kvm(libc::EINVAL)),
            Stage::Started | Stage::Running => {}
        }
        let finish: LaunchFinish = read(address).map_err(kvm)?;
        let padded = finish.pad0 == [0; 3] && finish.pad1 == [0; 4];
        // vCPUs that are protected are not added again: a FINISH that failed cannot be repeated.
        if finish.flags != 0 || !padded || guest.vmsas_added {
            return Err(kvm(libc::EINVAL));
        }
        let registers = self.vcpus.registers().map_err(|_| kvm(libc::EINVAL))?;
        self.dev_sev(&guest, fd)?;
        for (regs, sregs) in &registers {
            let page = vmsa_page(regs, sregs, guest.vmsa_features);
            guest.digest.add_vmsa(&page);
        }
        guest.vmsas_added = true;

        let id = if finish.id_block_en != 0 {
            let block: [u8; 96] = read(finish.id_block_uaddr).map_err(|_| kvm(libc::EINVAL))?;
            let auth: [u8; 4096] = read(finish.id_auth_uaddr).map_err(|_| kvm(libc::EINVAL))?;
            Some((block, auth))
        } else {
            None
        };
        // The vCPUs' states went through the number that came with this command; this goes through START's.
        self.dev_sev(&guest, guest.start_fd)?;
        guest.owner = match id {
            Some((block, auth)) => {
                Owner::check(&block, &auth, finish.auth_key_en != 0, &guest.digest.value(), guest.policy)
                    .map_err(firmware)?
            }
            None => Owner::default(),
        };
        // One bit of the firmware's struct.
        guest.vcek_disabled = finish.vcek_disabled & 1 != 0;
        guest.host_data = finish.host_data;
        guest.stage = Stage::Running;
        Ok(())
    }
}
