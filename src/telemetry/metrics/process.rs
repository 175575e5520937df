//! `process_*`: what Linux says of this process, read when somebody asks. Elsewhere the series are absent.

use std::collections::HashMap;
use std::fs;
use std::str::FromStr;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

/// The kernel's unit of process times. It is 100 on each platform that Weir is built for.
const TICKS_PER_SECOND: f64 = 100.0;
/// The page size of x86-64, and of aarch64 as the common distributions build it.
const PAGE_BYTES: f64 = 4096.0;

const FAMILIES: [(&str, &str, MetricType); 6] = [
    ("process_cpu_seconds_total", "User and system time.", MetricType::COUNTER),
    ("process_resident_memory_bytes", "Resident memory.", MetricType::GAUGE),
    ("process_virtual_memory_bytes", "Virtual memory.", MetricType::GAUGE),
    ("process_threads", "Threads.", MetricType::GAUGE),
    ("process_open_fds", "Open file descriptors.", MetricType::GAUGE),
    ("process_start_time_seconds", "When the process started, since 1970.", MetricType::GAUGE),
];

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub(super) struct Process {
    descriptions: Vec<Desc>,
}

impl Process {
    pub(super) fn new() -> Process {
        let descriptions = FAMILIES
            .iter()
            .filter_map(|(name, help, _)| {
                Desc::new((*name).into(), (*help).into(), Vec::new(), HashMap::new()).ok()
            })
            .collect();
        Process { descriptions }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(values) = read() else { return Vec::new() };
        FAMILIES
            .iter()
            .zip(values)
            .map(|((name, help, kind), value)| family(name, help, *kind, value))
            .collect()
    }
}

fn family(name: &str, help: &str, kind: MetricType, value: f64) -> MetricFamily {
    let mut metric = Metric::default();
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}

/// The values in the order of `FAMILIES`; `None` where there is no `/proc`.
fn read() -> Option<[f64; 6]> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets and may hold blanks: fields are counted after it. The first one
    // there, the state, is field 3 of proc(5).
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| -> Option<f64> { f64::from_str(fields.get(number - 3)?).ok() };
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let descriptors = u32::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?;
    Some([
        (field(14)? + field(15)?) / TICKS_PER_SECOND,
        field(24)? * PAGE_BYTES,
        field(23)?,
        field(20)?,
        f64::from(descriptors),
        boot + field(22)? / TICKS_PER_SECOND,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_are_those_of_this_process() {
        let [cpu, resident, virtual_, threads, descriptors, start] = read().unwrap();
        assert!(cpu >= 0.0 && threads >= 1.0 && descriptors >= 3.0, "{cpu} {threads} {descriptors}");
        assert!((1e6..1e10).contains(&resident) && virtual_ > resident, "{resident} {virtual_}");
        let now =
            crate::telemetry::clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 86_400.0..now + 5.0).contains(&start), "{start} {now}");
    }
}
