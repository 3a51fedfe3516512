//! Whether this host has the io_uring we need, and if not, what is missing, in one line.

use io_uring::{IoUring, opcode};
use std::fmt;
use std::io;

/// What the host's io_uring can do beyond what is required.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Support {
    /// The kernel's release, as it names itself.
    pub release: String,
    /// How rings will be set up.
    pub flavour: Flavour,
}

/// How a ring runs its completions: the first that the host accepts is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// Linux 6.1: deferred to the moment we wait, on our own thread.
    Deferred,
    /// Linux 6.0: at the next entry into the kernel, without an interrupt.
    Cooperative,
}

impl Flavour {
    const ALL: [Self; 2] = [Self::Deferred, Self::Cooperative];

    /// A ring of this flavour.
    pub(crate) fn build(self, submission_entries: u32, completion_entries: u32) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(completion_entries).setup_submit_all();
        builder.setup_single_issuer().setup_coop_taskrun();
        match self {
            Self::Deferred => builder.setup_defer_taskrun(),
            // Says when there is something to run, so that an entry that waits for nothing still runs it.
            Self::Cooperative => builder.setup_taskrun_flag(),
        };
        builder.build(submission_entries)
    }
}

impl fmt::Display for Support {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flavour = match self.flavour {
            Flavour::Deferred => "completions deferred to our own thread",
            Flavour::Cooperative => "completions cooperative (Linux 6.1 would defer them)",
        };
        write!(out, "io_uring of Linux {}: {flavour}", self.release)
    }
}

/// A ring of the best flavour this host accepts.
pub(crate) fn build(submission_entries: u32, completion_entries: u32) -> io::Result<(IoUring, Flavour)> {
    let mut refusal = None;
    for flavour in Flavour::ALL {
        match flavour.build(submission_entries, completion_entries) {
            Ok(ring) => return Ok((ring, flavour)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refusal = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refusal.expect("every flavour was refused"))
}

/// Whether shards can run here.
///
/// # Errors
/// One line that says what is missing and what to do about it.
pub fn probe() -> Result<Support, String> {
    let release = release();
    let (ring, flavour) = build(8, 16).map_err(|error| explain(&error, &release))?;
    if version(&release).is_some_and(|version| version < (6, 0)) {
        return Err(too_old(&release));
    }
    let parameters = ring.params();
    if !parameters.is_feature_ext_arg() || !parameters.is_feature_nodrop() || !parameters.is_feature_fast_poll() {
        return Err(too_old(&release));
    }
    let mut known = io_uring::Probe::new();
    ring.submitter().register_probe(&mut known).map_err(|error| explain(&error, &release))?;
    let needed = [
        opcode::AcceptMulti::CODE,
        opcode::RecvMulti::CODE,
        opcode::RecvMsgMulti::CODE,
        opcode::Send::CODE,
        opcode::SendMsg::CODE,
        opcode::Read::CODE,
        opcode::AsyncCancel2::CODE,
        opcode::OpenAt::CODE,
        opcode::Write::CODE,
        opcode::Fsync::CODE,
        opcode::Close::CODE,
    ];
    if needed.iter().any(|&code| !known.is_supported(code)) {
        return Err(too_old(&release));
    }
    Ok(Support { release, flavour })
}

/// Why a ring did not start here, in one line.
pub(crate) fn explain_here(error: &io::Error) -> String {
    explain(error, &release())
}

fn too_old(release: &str) -> String {
    format!(
        "io_uring of Linux {release} is too old: Linux 6.0 or newer is needed (multishot receive), 6.1 or newer is better"
    )
}

fn explain(error: &io::Error, release: &str) -> String {
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let disabled = setting.as_deref().map_or(0, |text| text.trim().parse().unwrap_or(0));
    match error.raw_os_error() {
        Some(libc::ENOSYS) => format!("this kernel (Linux {release}) has no io_uring: Linux 6.0 or newer is needed, with CONFIG_IO_URING"),
        Some(libc::EPERM | libc::EACCES) if disabled > 0 => {
            format!("io_uring is disabled: sysctl kernel.io_uring_disabled is {disabled}, and must be 0 (1 lets the group kernel.io_uring_group and root use it)")
        }
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here: the container's seccomp profile must allow io_uring_setup, io_uring_enter and io_uring_register".into()
        }
        Some(libc::EINVAL) => too_old(release),
        Some(libc::ENOMEM) => "no memory may be locked for io_uring: raise RLIMIT_MEMLOCK (ulimit -l 8192)".into(),
        Some(libc::EMFILE | libc::ENFILE) => "no descriptor is left for io_uring: raise RLIMIT_NOFILE (ulimit -n)".into(),
        _ => format!("io_uring does not start on Linux {release}: {error}"),
    }
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| "(unknown)".into(), |text| text.trim().into())
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|at: char| !at.is_ascii_digit()).map_while(|text| text.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_releases() {
        for (release, expected) in [
            ("6.18.44-fc-v669", Some((6, 18))),
            ("5.15.0-91-generic", Some((5, 15))),
            ("6.1", Some((6, 1))),
            ("(unknown)", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn every_refusal_is_one_line_that_names_the_cure() {
        for (errno, word) in [
            (libc::ENOSYS, "6.0"),
            (libc::EPERM, "io_uring"),
            (libc::EINVAL, "6.0"),
            (libc::ENOMEM, "RLIMIT_MEMLOCK"),
            (libc::EMFILE, "RLIMIT_NOFILE"),
        ] {
            let line = explain(&io::Error::from_raw_os_error(errno), "5.10.0");
            assert!(line.contains(word) && !line.contains('\n'), "{line}");
        }
    }
}
