//! One run of one test: its seed, its clock, its name for topics and groups, its folder, and the one place that waits.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// One run of one test.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Unique to this run: good for topic, group and pipeline names.
    pub(crate) name: String,
    /// All that is random in the test derives from this.
    pub(crate) seed: u64,
    start: Instant,
    wall: SystemTime,
}

impl Run {
    /// Starts a run and prints its seed. `SEED=` in the environment repeats an earlier one.
    pub(crate) fn new(test: &str) -> Run {
        let base = seed();
        let seed =
            test.bytes().fold(base, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        say(&format!("SEED={base} ({test})"));
        let wall = weir::telemetry::clock::wall();
        let stamp =
            wall.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64 ^ u64::from(std::process::id()) << 20;
        Run { name: format!("{test}-{:07x}", stamp & 0xfff_ffff), seed, start: Instant::now(), wall }
    }

    /// A generator for one purpose, so that two purposes do not disturb each other's numbers.
    pub(crate) fn rng(&self, purpose: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Time since the start of the run.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A wall time (milliseconds since 1970) on the clock of `now`.
    pub(crate) fn at_wall(&self, millis: i64) -> Duration {
        let wall = UNIX_EPOCH + Duration::from_millis(millis.max(0).cast_unsigned());
        wall.duration_since(self.wall).unwrap_or_default()
    }
}

/// A line to the test's output.
#[expect(clippy::print_stdout, reason = "the one place where the rig prints: captured by the test runner")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// A variable of the environment.
#[expect(clippy::disallowed_methods, reason = "the one place where the rig reads the environment")]
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match env("SEED") {
        Some(seed) => seed.parse().expect("SEED is a number"),
        None => fastrand::u64(..),
    })
}

/// Waits until the condition holds; fails the test, naming it, when the bound has passed. The one place that sleeps.
pub(crate) async fn until<F, Fut>(what: &str, bound: Duration, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let deadline = Instant::now() + bound;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {bound:?}: {what}");
        pause(Duration::from_millis(20)).await;
    }
}

/// Time that is part of what a test does (a rate, a receiver's delay, how long a fault lasts); never a guess at how long
/// something takes.
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The root of the source tree.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that goes with its owner.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("weir-it-{name}"));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}
