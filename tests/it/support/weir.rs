//! The built `weir` binary as a process: a folder with its pipelines and runtime file, instances of it, their end by
//! signal, their log (L7).

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::support::kafka::{Kafka, state};
use crate::support::ledger::{Fault, Sample};
use crate::support::run::{Folder, Run, say, until};

/// A folder as a user has it: `pipelines/`, and a runtime file for each instance.
#[derive(Debug)]
pub(crate) struct Site {
    folder: Folder,
    brokers: String,
    /// What the runtime file says beyond the rig's own lines.
    more: String,
    /// What the block `kafka` says beyond brokers and properties.
    security: String,
    /// What librdkafka is told beyond the session's time.
    properties: String,
    variables: Vec<(&'static str, &'static str)>,
    session: Duration,
    port: Option<u16>,
    /// What `pipelines` says in place of the folder.
    pipelines: Option<String>,
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The program under test: that of this build, or the one that `WEIR_TEST_BIN` names.
pub(crate) fn binary() -> std::ffi::OsString {
    std::env::var_os("WEIR_TEST_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_weir").into())
}

/// `weir run` in a folder, all that it writes in one file; ended with its handle.
pub(crate) fn command(config: &Path, folder: &Path, out: File) -> Command {
    let mut run = Command::new(binary());
    run.args(["run", "--config"])
        .arg(config)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .kill_on_drop(true);
    run
}

impl Site {
    pub(crate) fn new(run: &Run, kafka: &Kafka) -> Site {
        let folder = Folder::new(&run.name);
        std::fs::create_dir_all(folder.path().join("pipelines")).unwrap();
        Site {
            folder,
            brokers: kafka.brokers().to_owned(),
            more: String::new(),
            security: String::new(),
            properties: String::new(),
            variables: Vec::new(),
            session: Duration::from_secs(6),
            port: None,
            pipelines: None,
        }
    }

    /// Writes `pipelines/NAME.yaml`: its first line, and these.
    pub(crate) fn pipeline(self, name: &str, yaml: &str) -> Site {
        let path = self.folder.path().join("pipelines").join(format!("{name}.yaml"));
        std::fs::write(path, format!("pipeline: {name}\n{yaml}")).unwrap();
        self
    }

    /// A secret that `${secret:NAME}` finds.
    pub(crate) fn secret(self, name: &str, value: &str) -> Site {
        let secrets = self.folder.path().join("secrets");
        std::fs::create_dir_all(&secrets).unwrap();
        std::fs::write(secrets.join(name), value).unwrap();
        let more = format!("secrets: {{ files: {} }}\n", secrets.display());
        if self.more.contains(&more) { self } else { self.runtime(&more) }
    }

    /// More of the runtime file.
    pub(crate) fn runtime(mut self, yaml: &str) -> Site {
        self.more.push_str(yaml);
        self
    }

    /// How its instances sign on: a key of the block `kafka`.
    pub(crate) fn signs_on(mut self, yaml: &str) -> Site {
        writeln!(self.security, "  {yaml}").unwrap();
        self
    }

    /// A property of librdkafka.
    pub(crate) fn property(mut self, name: &str, value: &str) -> Site {
        write!(self.properties, ", {name}: \"{value}\"").unwrap();
        self
    }

    /// How long the group waits for a member that is gone.
    pub(crate) fn session(self, session: Duration) -> Site {
        Site { session, ..self }
    }

    /// Where its instance listens, each time that it is started.
    pub(crate) fn port(self, port: u16) -> Site {
        Site { port: Some(port), ..self }
    }

    /// Where its pipelines come from in place of the folder.
    pub(crate) fn pipelines_of(self, yaml: &str) -> Site {
        Site { pipelines: Some(yaml.to_owned()), ..self }
    }

    /// A variable that its instances find in their environment.
    pub(crate) fn variable(mut self, name: &'static str, value: &'static str) -> Site {
        self.variables.push((name, value));
        self
    }

    /// Where it lies: runtime files and logs by the instance's name, `pipelines/`.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Starts an instance and waits until it is ready.
    pub(crate) async fn start(&self, instance: &str) -> Weir {
        let mut weir = self.launch(instance);
        weir.ready().await;
        weir
    }

    /// Starts an instance that may not live until it is ready.
    pub(crate) fn launch(&self, instance: &str) -> Weir {
        let port = self.port.unwrap_or_else(free_port);
        let config = self.folder.path().join(format!("{instance}.yaml"));
        let (brokers, more, properties) = (&self.brokers, &self.more, &self.properties);
        let (session, heartbeat) = (self.session.as_millis(), self.session.as_millis() / 3);
        let text = format!(
            "instance: {instance}\nlisten: 127.0.0.1:{port}\npipelines: {pipelines}\ndrain_deadline: 5s\n\
             shutdown_grace: 10s\ntelemetry: {{ log: json }}\n\
             kafka:\n  brokers: [\"{brokers}\"]\n  properties: {{ session.timeout.ms: \"{session}\", \
             heartbeat.interval.ms: \"{heartbeat}\"{properties} }}\n{security}{more}",
            pipelines = self.pipelines.clone().unwrap_or_else(|| self
                .folder
                .path()
                .join("pipelines")
                .display()
                .to_string()),
            security = self.security,
        );
        std::fs::write(&config, text).unwrap();
        let log = self.folder.path().join(format!("{instance}.log"));
        let out = File::options().create(true).append(true).open(&log).unwrap();
        let mut run = command(&config, self.folder.path(), out);
        let child = run.envs(self.variables.iter().copied()).spawn().unwrap();
        Weir { child, port, log }
    }

    /// What `weir check` says of the pipelines, and its exit code.
    pub(crate) async fn check(&self) -> (i32, String) {
        let config = self.folder.path().join("check.yaml");
        let folder = self.folder.path().display();
        std::fs::write(&config, format!("pipelines: {folder}/pipelines\n{}", self.more)).unwrap();
        let mut command = Command::new(binary());
        command.args(["check", "--config"]).arg(&config).current_dir(self.folder.path());
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    }
}

/// A running instance; killed when dropped.
#[derive(Debug)]
pub(crate) struct Weir {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Weir {
    async fn ready(&mut self) {
        for _ in 0..1500 {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "weir ended at start, {ended:?}:\n{}", self.log());
            if self.get("/readyz").await.is_some_and(|(status, _)| status == 200) {
                return;
            }
            crate::support::run::pause(Duration::from_millis(20)).await;
        }
        panic!("not ready within 30 s:\n{}", self.log());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// A signal by its name: `STOP` and `CONT` make the process stand still for a while.
    pub(crate) fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.pid().to_string());
        let sent = std::process::Command::new("kill").args([signal, pid]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM, and the end; its exit code.
    pub(crate) async fn stop(mut self, bound: Duration) -> i32 {
        self.terminate();
        let code = self.end(bound).await.code().expect("it ended by itself");
        if code != 0 {
            say(&self.log());
        }
        code
    }

    /// The end, for whatever reason.
    pub(crate) async fn end(&mut self, bound: Duration) -> ExitStatus {
        match tokio::time::timeout(bound, self.child.wait()).await {
            Ok(ended) => ended.unwrap(),
            Err(_) => panic!("it did not end within {bound:?}:\n{}", self.log()),
        }
    }

    /// Waits until it has ended (true), or the condition holds (false).
    pub(crate) async fn ends_before(
        &mut self,
        what: &str,
        bound: Duration,
        condition: impl AsyncFn(&Weir) -> bool,
    ) -> bool {
        let deadline = tokio::time::Instant::now() + bound;
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            if condition(self).await {
                return false;
            }
            assert!(tokio::time::Instant::now() < deadline, "neither ended nor, within {bound:?}: {what}");
            crate::support::run::pause(Duration::from_millis(20)).await;
        }
    }

    /// The end by a SIGKILL that somebody else has sent, as an entry of L6.
    ///
    /// # Panics
    /// Where it has ended in another way.
    pub(crate) async fn killed(mut self, run: &Run, of: &Watched<'_>) -> Fault {
        let ended = self.end(Duration::from_secs(15)).await;
        let at = run.now();
        assert_eq!(ended.signal(), Some(9), "it ended by itself, {ended}:\n{}", self.log());
        let evidence = format!("it was ended by {ended}");
        Fault { at, what: "kill -9", evidence, committed: state(&of.committed(run).await) }
    }

    /// SIGKILL, as an entry of L6: what the group had committed by then is in it.
    pub(crate) async fn kill(mut self, run: &Run, of: &Watched<'_>) -> Fault {
        let pid = self.pid();
        self.child.kill().await.unwrap();
        let at = run.now();
        let gone = !std::path::Path::new(&format!("/proc/{pid}")).exists();
        let evidence = if gone { format!("process {pid} is gone") } else { String::new() };
        Fault { at, what: "kill -9", evidence, committed: state(&of.committed(run).await) }
    }

    /// A GET of its own listener: status and body. None where it does not answer.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        self.ask("GET", path).await
    }

    /// A POST of nothing.
    pub(crate) async fn post(&self, path: &str) -> Option<(u16, String)> {
        self.ask("POST", path).await
    }

    /// What the command line says when it asks this instance, stdout behind stderr, and its exit code.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(binary());
        command.args(arguments).env("WEIR_SERVER", format!("http://127.0.0.1:{}", self.port));
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let text = [output.stderr, output.stdout].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    }

    async fn ask(&self, method: &str, path: &str) -> Option<(u16, String)> {
        let asked = async {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok()?;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let (head, body) = answer.split_once("\r\n\r\n")?;
            Some((head.get(9..12)?.parse().ok()?, body.to_owned()))
        };
        tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?
    }

    /// The sum of a metric's series that have all of these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, text) = self.get("/metrics").await.unwrap_or_default();
        let wanted: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let mut sum = 0.0;
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let same = series.split('{').next() == Some(name)
                && wanted.iter().all(|label| series.contains(label.as_str()));
            if same {
                sum += value.parse::<f64>().unwrap_or_default();
            }
        }
        sum
    }

    /// Waits until a stage holds for this cause.
    pub(crate) async fn holds(&self, cause: &str) {
        let holds = || async { self.metric("weir_stage_held", &[("cause", cause)]).await > 0.0 };
        until(&format!("held by {cause}"), Duration::from_secs(30), holds).await;
    }

    /// The last lines of what it wrote.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("the log of weir ends with:\n{}", self.log()));
        }
    }
}

/// A group whose commits matter to a test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched<'a> {
    pub(crate) kafka: &'a Kafka,
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) partitions: i32,
}

impl Watched<'_> {
    /// What is committed now; asks again while the coordinator moves.
    pub(crate) async fn committed(&self, run: &Run) -> Vec<Sample> {
        let mut found = Vec::new();
        let mut last = String::new();
        for _ in 0..50 {
            match self.kafka.committed(run, self.group, self.topic, self.partitions) {
                Ok(samples) => {
                    found = samples;
                    last.clear();
                    break;
                }
                Err(error) => last = error,
            }
        }
        assert!(last.is_empty(), "{last}");
        found
    }

    /// Waits until everything that the topic holds is committed.
    pub(crate) async fn all_committed(&self, run: &Run, ends: &HashMap<i32, i64>) {
        self.all_committed_within(run, ends, Duration::from_secs(15)).await;
    }

    /// The same, where something else has to happen first.
    pub(crate) async fn all_committed_within(&self, run: &Run, ends: &HashMap<i32, i64>, bound: Duration) {
        let done = || async {
            let committed = self.committed(run).await;
            let offset = |partition: &i32| committed.iter().find(|sample| sample.partition == *partition);
            ends.iter().all(|(partition, end)| offset(partition).is_some_and(|sample| sample.offset >= *end))
        };
        until("everything committed", bound, done).await;
    }
}
