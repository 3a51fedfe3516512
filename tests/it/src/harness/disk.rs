//! A disk of its own for one process: small enough to be filled, or one that fails when it is told to.
//!
//! Owns a mount namespace in which the disk lies over one folder, and the child that holds it open. Needs no privilege: root
//! takes a mount namespace alone, others a user namespace with it. A machine that lets nobody mount fails the scenario.

use super::faulty::{self, Switch};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, geteuid, pidfd_getfd, pidfd_open};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The descriptor under which the holder has the channel to the kernel: a shell's redirections have one digit.
const CHANNEL: i32 = 9;

/// Bytes that are written at once when a disk is filled.
const PIECE_BYTES: usize = 64 << 10;

/// A disk, mounted over a folder for whoever enters its namespace.
pub(crate) struct Disk {
    folder: PathBuf,
    holder: Child,
    switch: Option<Switch>,
}

impl Disk {
    /// A disk of so many MiB, in memory. It can be filled.
    pub(crate) fn small(folder: &Path, mib: u32) -> Self {
        let mount = format!("mount -t tmpfs -o size={mib}m,mode=0700 disk \"$0\"");
        Self { folder: folder.to_owned(), holder: hold(folder, &mount), switch: None }
    }

    /// A disk that can be made to fail.
    pub(crate) fn faulty(folder: &Path) -> Self {
        let mount = format!(
            "exec {CHANNEL}<>/dev/fuse && \
             mount -i -t fuse -o fd={CHANNEL},rootmode=40700,user_id=0,group_id=0 disk \"$0\""
        );
        let holder = hold(folder, &mount);
        // The kernel takes a channel only from the user namespace that it was opened in.
        let channel = pidfd_open(Pid::from_child(&holder), PidfdFlags::empty())
            .and_then(|holder| pidfd_getfd(holder, CHANNEL, PidfdGetfdFlags::empty()))
            .expect("the holder's channel can be had");
        let switch = faulty::serve(channel).expect("FUSE can be served");
        Self { folder: folder.to_owned(), holder, switch: Some(switch) }
    }

    /// What makes it fail and mends it.
    pub(crate) fn switch(&self) -> &Switch {
        self.switch.as_ref().expect("a disk that can be made to fail")
    }

    /// The same command where the disk is.
    pub(crate) fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg("--mount").arg("--target").arg(self.holder.id().to_string());
        if !is_root() {
            inside.args(["--user", "--preserve-credentials"]);
        }
        // Whoever enters a user namespace is no longer ended with its parent, unless it asks for it there.
        inside.args(["--", "setpriv", "--pdeathsig", "KILL", "--"]);
        inside.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            inside.env(key, value.expect("variables are only added"));
        }
        inside
    }

    /// Writes to it until not a byte more fits.
    pub(crate) fn fill(&self) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.ballast()).expect("a file on the disk");
        for bytes in [PIECE_BYTES, 1] {
            let piece = vec![0xBA; bytes];
            while file.write_all(&piece).is_ok() {}
        }
        let error = file.write_all(&[0]).expect_err("it is full");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    }

    /// Takes away what it was filled with.
    pub(crate) fn relieve(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }

    /// Beside what the dataplane has there, seen from outside.
    fn ballast(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(self.folder.strip_prefix("/").expect("an absolute path")).join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The namespace ends with the last process in it, and the mount with the namespace.
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

/// A child in a mount namespace of its own, in which `mount` was done over `folder`.
fn hold(folder: &Path, mount: &str) -> Child {
    std::fs::create_dir_all(folder).expect("a folder to mount over");
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--", "setpriv", "--pdeathsig", "KILL", "--"]);
    command.args(["sh", "-c", &format!("{mount} && echo mounted && exec cat")]).arg(folder);
    let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare, of util-linux");
    let mut said = String::new();
    let output = holder.stdout.take().expect("piped");
    BufReader::new(output).read_line(&mut said).expect("the holder speaks");
    assert!(said == "mounted\n", "this machine lets nobody mount a disk for a test: {command:?}");
    holder
}

fn is_root() -> bool {
    geteuid().is_root()
}
