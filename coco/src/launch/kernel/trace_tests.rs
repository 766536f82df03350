//! What a trace says of calls that fail, that change their argument, and of its own failures.

use std::sync::Arc;

use super::*;
use crate::launch::PlatformKind;
use crate::launch::kernel::{DryKernel, Kernel};
use crate::memory::{GuestRam, RamRange};
use crate::snp::SevIoctl;
use crate::snp::abi::{CommandId, Init, SevCmd};
use zerocopy::IntoBytes;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn lines(&self) -> Vec<Value> {
        let text = self.0.lock().unwrap().clone();
        text.split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).unwrap())
            .collect()
    }
}

fn kernel(out: Box<dyn Write + Send>) -> (Kernel, Arc<Trace>) {
    let ram = GuestRam::new(&[RamRange { start: 0, size: 1 << 20 }]).unwrap();
    let trace = Arc::new(Trace::new(out));
    let dry = Arc::new(DryKernel::new(PlatformKind::Snp, ram).unwrap());
    (Kernel::new(dry).traced(Some(Arc::clone(&trace))), trace)
}

#[test]
fn a_refusal_is_there_with_its_name_and_nothing_comes_after_the_end() {
    let sink = Sink::default();
    let (kernel, trace) = kernel(Box::new(sink.clone()));
    assert!(kernel.set_memory_attributes(0, 4096, 8).is_err(), "there is no VM yet");
    kernel.create_vm(4).unwrap();
    let sev = kernel.open_sev().unwrap();
    let sev_fd = std::os::fd::AsRawFd::as_raw_fd(&sev).unsigned_abs();
    let mut init = Init { flags: 1, ..Init::default() };
    let data = init.as_mut_bytes().as_mut_ptr() as u64;
    let mut cmd = SevCmd { id: CommandId::INIT2.0, data, sev_fd, ..SevCmd::default() };
    assert_eq!(kernel.encrypt_op(&mut cmd), Err(libc::EINVAL));
    assert_eq!(trace.end().unwrap(), 3);
    kernel.enable_cap(201, 1 << 12).unwrap();

    let lines = sink.lines();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["errno"], &lines[0]["result"]), (&"EBADF".into(), &Value::Null));
    assert_eq!(lines[0]["args"]["attributes"], "0x8");
    assert_eq!((&lines[1]["errno"], &lines[1]["result"]), (&Value::Null, &0.into()));
    assert_eq!((&lines[1]["fd"], &lines[1]["request"]), (&"kvm".into(), &"0xae01".into()));
    assert_eq!(lines[2]["command"], "KVM_SEV_INIT2");
    assert_eq!(lines[2]["args"]["data"]["flags"], "0x1");
    assert_eq!(lines[2]["firmware"]["name"], "SUCCESS", "the kernel refused by itself");
}

#[test]
fn what_the_kernel_changed_is_told_and_what_it_left_is_not() {
    let sink = Sink::default();
    let (kernel, _trace) = kernel(Box::new(sink.clone()));
    let table = kernel.supported_cpuid().unwrap();
    kernel.check_extension(235).unwrap();
    let lines = sink.lines();
    assert_eq!(lines[0]["args"]["entries"], serde_json::json!([]));
    assert_eq!(lines[0]["after"]["nent"], table.as_slice().len());
    assert!(lines[0]["after"]["entries"][0].as_str().unwrap().starts_with("function=0x0 index=0x0"));
    assert_eq!(lines[1]["after"], Value::Null);
}

struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(libc::ENOSPC))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_trace_that_cannot_be_written_stops_no_launch_and_says_so_at_the_end() {
    let (kernel, trace) = kernel(Box::new(Full));
    kernel.create_vm(4).unwrap();
    kernel.enable_cap(201, 1 << 12).unwrap();
    assert_eq!(trace.end().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
}
