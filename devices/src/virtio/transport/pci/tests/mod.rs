//! Devices behind the transport, driven as a driver drives them: by its capabilities, its registers and
//! its doorbells, through the BAR and through PCI_CFG.

mod driver;
mod hostile;
mod identity;
mod interrupts;
mod lifecycle;
mod negotiation;

use std::sync::{Arc, Mutex};

use crate::virtio::{ActivateError, Activation, DeviceType, Features, VirtioDevice, read_config};

/// What a [`Toy`] was told.
#[derive(Debug, Default)]
struct Told {
    activation: Option<Activation>,
    activations: usize,
    resets: usize,
    config: Vec<u8>,
    refuse: bool,
}

/// A device that does nothing but write down what it is told.
#[derive(Debug, Default, Clone)]
struct Toy {
    told: Arc<Mutex<Told>>,
}

/// A feature of the toy's own.
const TOY_FEATURE: Features = Features::from_bits_retain(1 << 5);

impl VirtioDevice for Toy {
    fn device_type(&self) -> DeviceType {
        DeviceType::VSOCK
    }
    fn features(&self) -> Features {
        TOY_FEATURE
    }
    fn queue_sizes(&self) -> &[u16] {
        &[256, 64, 8]
    }
    fn config_read(&self, offset: u64, data: &mut [u8]) {
        read_config(&self.told.lock().unwrap().config, offset, data);
    }
    fn config_write(&mut self, offset: u64, data: &[u8]) {
        let config = &mut self.told.lock().unwrap().config;
        for (to, from) in config.iter_mut().skip(offset as usize).zip(data) {
            *to = *from;
        }
    }
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let mut told = self.told.lock().unwrap();
        if told.refuse {
            return Err(ActivateError::QueueMissing { index: 0 });
        }
        told.activations += 1;
        told.activation = Some(activation);
        Ok(())
    }
    fn reset(&mut self) {
        let mut told = self.told.lock().unwrap();
        told.resets += 1;
        told.activation = None;
    }
}
