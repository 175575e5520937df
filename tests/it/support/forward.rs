//! An HTTP proxy that is not ours: the Python package `proxy.py`, as a process, with what it writes down.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::run::{Folder, Run, root};

/// Runs until its standard input ends, so that neither it nor its own processes outlive the test.
const PROGRAM: &str = "
import sys
import proxy
with proxy.Proxy(sys.argv[1:]) as running:
    print(running.flags.port, flush=True)
    sys.stdin.read()
";

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub(crate) struct ForwardProxy {
    child: Child,
    port: u16,
    log: PathBuf,
    _folder: Folder,
}

impl ForwardProxy {
    /// Listens there, on a port that was free (0) or on this one. `user`: `name:password` of who is let in; empty: everybody is.
    pub(crate) fn start(run: &Run, ip: &str, port: u16, user: &str) -> ForwardProxy {
        let folder = Folder::new(&format!("{}-proxy", run.name));
        let log = folder.path().join("log");
        let mut command = Command::new(root().join("scripts/python"));
        command.args(["-c", PROGRAM, "--hostname", ip, "--port", &port.to_string(), "--log-file"]).arg(&log);
        command.args(["--num-workers", "1", "--num-acceptors", "1", "--data-dir"]).arg(folder.path());
        if !user.is_empty() {
            command.args(["--basic-auth", user]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the proxy says its port; its words are above");
        ForwardProxy { child, port, log, _folder: folder }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its end; what it has written down: a line for each connection that is over.
    pub(crate) fn stop(mut self) -> String {
        self.end();
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn end(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.end();
    }
}
