//! What was measured, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::options::{Distribution, Options, Target};
use super::tally::Measured;
use super::workload::Workload;

/// One workload's result. Its fields are the JSON that `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    target: &'static str,
    addr: Vec<String>,
    workload: &'static str,
    clients: u32,
    pipeline: u32,
    value_size: u32,
    keys: u64,
    distribution: &'static str,
    /// `closed`, or `open` where times run from when a call was due.
    load: &'static str,
    rate: Option<f64>,
    seconds: f64,
    /// Successes only.
    ops: u64,
    ops_per_second: f64,
    /// Successes in each second. Those behind the planned end hold only what was late.
    ops_by_second: Vec<u64>,
    errors: u64,
    errors_by_text: BTreeMap<String, u64>,
    lost: u64,
    latency_us: Latency,
    generator_cpu_us_per_op: f64,
}

/// Microseconds; zero if nothing succeeded.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Report {
    pub(super) fn new(options: &Options, workload: Workload, measured: &Measured) -> Report {
        let (tally, times) = (&measured.tally, &measured.tally.times);
        let seconds = measured.elapsed.as_secs_f64();
        let mut ops_by_second = tally.by_second.clone();
        // Nobody was answered in the last ones.
        ops_by_second.resize(ops_by_second.len().max(seconds.ceil() as usize), 0);
        let at = |percentile| times.value_at_percentile(percentile) as f64 / 1e3;
        Report {
            target: match options.target {
                Target::Redis => "redis",
                Target::Etcd => "etcd",
            },
            addr: options.addr.clone(),
            workload: workload.name(),
            clients: options.clients,
            pipeline: options.pipeline,
            value_size: options.value_size,
            keys: options.keys.get(),
            distribution: match options.distribution {
                Distribution::Uniform => "uniform",
                Distribution::Zipf => "zipf",
            },
            load: if options.rate.is_some() { "open" } else { "closed" },
            rate: options.rate,
            seconds,
            ops: tally.succeeded(),
            ops_per_second: tally.succeeded() as f64 / seconds.max(1e-9),
            ops_by_second,
            errors: tally.failed(),
            errors_by_text: tally.errors.clone(),
            lost: tally.lost,
            latency_us: Latency {
                min: times.min() as f64 / 1e3,
                mean: times.mean() / 1e3,
                p50: at(50.0),
                p90: at(90.0),
                p99: at(99.0),
                p999: at(99.9),
                max: times.max() as f64 / 1e3,
            },
            generator_cpu_us_per_op: measured.own_cpu.as_secs_f64() * 1e6
                / tally.ended().max(1) as f64,
        }
    }

    /// One line of JSON.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("a report has only names and numbers")
    }

    /// A paragraph.
    pub(super) fn text(&self) -> String {
        let Report { workload, clients, pipeline, value_size, keys, distribution, .. } = self;
        let (addr, latency) = (self.addr.join(","), self.latency_us);
        let mut text = format!(
            "{workload} on {} at {addr}: {clients} clients, pipeline {pipeline}, {value_size}-byte \
             values, {keys} keys ({distribution})\n",
            self.target,
        );
        let add = |text: &mut String, line: String| {
            writeln!(text, "  {line}").expect("a string takes any text");
        };
        let speed = format!(
            "{} ops/s   {} ops in {:.1} s   {} errors   {} lost",
            grouped(self.ops_per_second as u64),
            grouped(self.ops),
            self.seconds,
            grouped(self.errors),
            grouped(self.lost)
        );
        add(&mut text, speed);
        let times = [
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("p99.9", latency.p999),
            ("max", latency.max),
        ];
        let times: Vec<String> =
            times.iter().map(|(name, us)| format!("{name} {:.3}", us / 1e3)).collect();
        add(&mut text, format!("ms: {}", times.join("   ")));
        add(
            &mut text,
            match self.rate {
                Some(rate) => {
                    format!("open load at {rate} ops/s: times run from when a call was due")
                }
                None => {
                    "closed load: times run from sending, a stall counts once a client".to_owned()
                }
            },
        );
        add(&mut text, format!("generator: {:.2} us CPU per op", self.generator_cpu_us_per_op));
        for (error, count) in &self.errors_by_text {
            add(&mut text, format!("{} times: {error}", grouped(*count)));
        }
        text
    }
}

/// A number with a comma at each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_set_apart() {
        let table = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in table {
            assert_eq!(grouped(number), text);
        }
    }
}
