//! Which process is at the other end of a loopback connection.
//!
//! Reads `/proc`: the socket's inode from the table of connections, its owner from the open files,
//! the function's name from the owner's environment. Linux only; elsewhere every caller is unknown.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::Mutex,
};

use crate::process::ProcessId;

/// A process that calls AWS through the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The process, when it was found.
    pub process: Option<ProcessId>,
    /// The function's name when the process is a function of the stack.
    pub function: Option<String>,
    /// The program's file name; `unknown` when the process was not found.
    pub program: String,
}

impl Caller {
    fn unknown() -> Self {
        Self { process: None, function: None, program: "unknown".to_owned() }
    }

    /// The name under which its requests are counted.
    #[must_use]
    pub fn name(&self) -> &str {
        self.function.as_deref().unwrap_or(&self.program)
    }
}

/// Finds callers, and remembers processes that it has met so that most look-ups are short.
#[derive(Debug)]
pub struct Callers {
    proc_root: PathBuf,
    /// Only processes with this variable in their environment are functions of *this* stack.
    mark: String,
    met: Mutex<BTreeSet<u32>>,
}

impl Callers {
    /// Looks callers up in `/proc`; `mark` is the `NAME=value` that all processes of the stack carry.
    #[must_use]
    pub fn new(mark: String) -> Self {
        Self::below(PathBuf::from("/proc"), mark)
    }

    fn below(proc_root: PathBuf, mark: String) -> Self {
        Self { proc_root, mark, met: Mutex::new(BTreeSet::new()) }
    }

    /// Finds the process whose socket is `peer`, connected to us at `local`.
    #[must_use]
    pub fn find(&self, peer: SocketAddr, local: SocketAddr) -> Caller {
        let Some(inode) = self.inode(peer, local) else { return Caller::unknown() };
        let Some(pid) = self.owner(inode) else { return Caller::unknown() };
        self.describe(pid)
    }

    fn inode(&self, peer: SocketAddr, local: SocketAddr) -> Option<u64> {
        let table = fs::read_to_string(self.proc_root.join("net/tcp")).ok()?;
        inode_of(&table, peer, local)
    }

    fn owner(&self, inode: u64) -> Option<u32> {
        let link = format!("socket:[{inode}]");
        let known: Vec<u32> = self.met.lock().ok()?.iter().rev().copied().collect();
        let found = known
            .into_iter()
            .find(|pid| self.holds(*pid, &link))
            .or_else(|| self.pids().find(|pid| self.holds(*pid, &link)))?;
        let mut met = self.met.lock().ok()?;
        met.retain(|pid| self.proc_root.join(pid.to_string()).exists());
        met.insert(found);
        Some(found)
    }

    fn pids(&self) -> impl Iterator<Item = u32> {
        let entries = fs::read_dir(&self.proc_root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    fn holds(&self, pid: u32, link: &str) -> bool {
        fs::read_dir(self.proc_root.join(pid.to_string()).join("fd"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == link))
    }

    fn describe(&self, pid: u32) -> Caller {
        let directory = self.proc_root.join(pid.to_string());
        let environment = fs::read(directory.join("environ")).unwrap_or_default();
        let variables = variables(&environment);
        let ours = self
            .mark
            .split_once('=')
            .is_some_and(|(name, value)| variables.get(name).is_some_and(|found| found == value));
        let function = variables.get("AWS_LAMBDA_FUNCTION_NAME").filter(|_| ours).cloned();
        let program = fs::read_link(directory.join("exe"))
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_else(|| "unknown".to_owned());
        let started_at = crate::process::started_at(&directory);
        let process = started_at.map(|started_at| ProcessId { pid, started_at });
        Caller { process, function, program }
    }
}

/// Finds a connection's inode in the text of `/proc/net/tcp`, seen from the peer.
fn inode_of(table: &str, peer: SocketAddr, local: SocketAddr) -> Option<u64> {
    let wanted = (hexadecimal(peer)?, hexadecimal(local)?);
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let ends = (fields.next()?.to_owned(), fields.next()?.to_owned());
        // State, queues, timer, retransmits, user, timeout stand between the ends and the inode.
        let inode = fields.nth(6)?.parse().ok()?;
        (ends == wanted && inode != 0).then_some(inode)
    })
}

/// An address as the kernel prints it: bytes in host order, port in network order.
fn hexadecimal(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let bits = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{bits:08X}:{:04X}", address.port()))
}

fn variables(environment: &[u8]) -> HashMap<String, String> {
    environment
        .split(|byte| *byte == 0)
        .filter_map(|pair| {
            let pair = String::from_utf8_lossy(pair);
            let (name, value) = pair.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0
   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 02:00000000 00000000  1000        0 4242 2 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_peers_end_of_a_connection_is_found() {
        let peer = "127.0.0.1:50000".parse().unwrap();
        let local = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(inode_of(TABLE, peer, local), Some(4242));
        assert_eq!(inode_of(TABLE, local, peer), Some(4243));
        assert_eq!(inode_of(TABLE, "127.0.0.1:50001".parse().unwrap(), local), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_real_connection_leads_to_this_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let callers = Callers::new("NO=mark".to_owned());
        let peer = client.local_addr().unwrap();
        let caller = callers.find(peer, listener.local_addr().unwrap());
        assert_eq!(caller.process.map(|process| process.pid), Some(std::process::id()));
        assert_eq!(caller.function, None);
        // The second look-up takes the short way and says the same.
        assert_eq!(callers.find(peer, listener.local_addr().unwrap()), caller);
    }

    #[test]
    fn a_function_is_told_by_its_name_and_the_stacks_mark() {
        let root = std::env::temp_dir().join(format!("callers-{}", std::process::id()));
        let directory = root.join("7");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("environ"), b"AWS_LAMBDA_FUNCTION_NAME=stage-run\0STACK=a\0").unwrap();
        let ours = Callers::below(root.clone(), "STACK=a".to_owned()).describe(7);
        let theirs = Callers::below(root.clone(), "STACK=b".to_owned()).describe(7);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(ours.function.as_deref(), Some("stage-run"));
        assert_eq!(theirs.function, None);
        assert_eq!(ours.name(), "stage-run");
    }

    #[test]
    fn an_address_that_nobody_holds_is_unknown() {
        let callers = Callers::new("NO=mark".to_owned());
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert_eq!(callers.find(nobody, nobody), Caller::unknown());
    }
}
