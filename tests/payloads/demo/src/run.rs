//! The demo's story, a line for each step.

use core::fmt;

use cloister_attestation::agent::mailbox::Mailbox;
use cloister_attestation::agent::{AgentError, EvidenceProvider, NoEvidence, attest};
use demo_guest::boot_info::{BootInfo, Conversion, PAGE_SIZE, Range, flags};
use demo_guest::exit::ExitCode;
use demo_guest::virtio::feature;
use demo_guest::vsock::Socket;

use crate::machine::bounce::BounceRegion;
use crate::machine::clock::Deadline;
use crate::machine::port::CpuPorts;
use crate::machine::{entry, random};
use crate::{convert, println, self_test};

/// First of the ports that a guest may choose for itself.
const LOCAL_PORTS: u32 = 0xc000;

type GuestSocket = Socket<CpuPorts, BounceRegion, Deadline>;

/// Everything, from the boot-info page to the exit code.
pub fn run(boot_info: u64) -> ExitCode {
    let page = read_page(boot_info);
    let own = Range { start: boot_info, end: boot_info.saturating_add(PAGE_SIZE) };
    let info = match BootInfo::parse(&page, &[entry::image(), entry::LOADER, own]) {
        Ok(info) => info,
        Err(error) => {
            println!("boot info: {error}");
            return ExitCode::BAD_BOOT_INFO;
        }
    };
    println!("platform: {}", info.platform);
    if info.flags & flags::SELF_TEST != 0 {
        let gates = matches!(info.conversion, Conversion::VMCALL | Conversion::VMMCALL);
        if !self_test::run(gates) {
            return ExitCode::SELF_TEST;
        }
    }
    if info.flags & flags::BOOT_ONLY != 0 {
        return ExitCode::SUCCESS;
    }
    if !random::available() {
        println!("randomness: the processor has none");
        return ExitCode::NO_RANDOMNESS;
    }
    demo(&info).unwrap_or_else(|code| code)
}

fn demo(info: &BootInfo) -> Result<ExitCode, ExitCode> {
    let shared = convert::share(info.conversion, info.bounce);
    let how = shared.map_err(|e| failed("memory", &e, ExitCode::CONVERSION))?;
    let pages = info.bounce.end.saturating_sub(info.bounce.start) / PAGE_SIZE;
    println!("memory: {pages} pages at {:#x} {how}", info.bounce.start);
    let mut socket = connect(info)?;
    let result = run_agent(&mut socket, info.secret());
    // Whatever came of it: what was sent has to arrive before the machine ends.
    match socket.close() {
        Ok(()) => println!("vsock: closed"),
        Err(error) => println!("vsock: not closed: {error}"),
    }
    result
}

fn connect(info: &BootInfo) -> Result<GuestSocket, ExitCode> {
    let mut choice = [0; 2];
    random::fill(&mut choice);
    let local_port = LOCAL_PORTS | (u32::from(u16::from_le_bytes(choice)) & 0x3fff);
    let bounce = bounce(info.bounce);
    let socket = Socket::open(CpuPorts, bounce, Deadline::default(), local_port, info.port);
    let mut socket = socket.map_err(|e| failed("vsock", &e, e.exit_code()))?;
    let translated = if socket.features() & feature::ACCESS_PLATFORM != 0 { ", ACCESS_PLATFORM" } else { "" };
    println!("vsock: device up, context {}{translated}", socket.context());
    socket.connect().map_err(|e| failed("vsock", &e, e.exit_code()))?;
    println!("vsock: port {local_port} connected to the host's {}", info.port);
    Ok(socket)
}

fn run_agent(socket: &mut GuestSocket, secret: &str) -> Result<ExitCode, ExitCode> {
    let mut mailbox = Mailbox::probe(CpuPorts);
    let provider: &mut dyn EvidenceProvider = match &mut mailbox {
        Some(mailbox) => mailbox,
        None => &mut NoEvidence,
    };
    let attested = attest(socket, provider, &[secret], random::fill, &mut |step| println!("{step}"));
    let secrets = attested.map_err(|error| {
        if let Some(detail) = socket.failure() {
            return failed("vsock", &detail, detail.exit_code());
        }
        failed("attestation", &error, exit_code(&error))
    })?;
    for secret in &secrets {
        println!("secret {} sha256 {}", secret.id, Hex(&secret.sha256()));
    }
    Ok(ExitCode::SUCCESS)
}

fn exit_code(error: &AgentError) -> ExitCode {
    match error {
        AgentError::Refused(_) => ExitCode::REFUSED,
        AgentError::Evidence(_) | AgentError::BadReport => ExitCode::NO_EVIDENCE,
        AgentError::Transport(_) => ExitCode::CONNECTION,
        _ => ExitCode::PROTOCOL,
    }
}

fn failed(what: &str, error: &dyn fmt::Display, code: ExitCode) -> ExitCode {
    println!("{what}: {error}");
    code
}

#[allow(unsafe_code, reason = "the loader's page is at an address")]
fn read_page(address: u64) -> [u8; PAGE_SIZE as usize] {
    // SAFETY: the boot contract: RDI is the address of a page that nobody writes while we run, mapped
    // with the rest of the low 4 GiB.
    unsafe { core::ptr::with_exposed_provenance::<[u8; PAGE_SIZE as usize]>(address as usize).read() }
}

#[allow(unsafe_code, reason = "the bounce region is at an address")]
fn bounce(range: Range) -> BounceRegion {
    // SAFETY: the boot-info page was checked: the range is below 4 GiB and holds nothing of ours. It was
    // made shared before, and this is the only call.
    unsafe { BounceRegion::new(range) }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
