//! Medians, the table, and the goals.

use std::collections::BTreeMap;
use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::Load;
use super::systems::System;

/// A row of the table: a system under a load.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    system: System,
    workload: &'static str,
    clients: u32,
    pipeline: u32,
    value_size: u32,
}

impl Cell {
    pub(crate) fn new(system: System, load: Load) -> Cell {
        let Load { workload, clients, pipeline, value_size } = load;
        Cell { system, workload, clients, pipeline, value_size }
    }
}

/// What one round found.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Sample {
    pub(crate) ops_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Of all server processes.
    pub(crate) cpu_us_per_op: f64,
    pub(crate) generator_us_per_op: f64,
    /// Error replies and calls without one.
    pub(crate) errors: u64,
}

/// A promise about two figures, or one.
#[derive(Clone, Debug, Serialize)]
struct Goal {
    what: String,
    value: f64,
    /// `>=` or `<=`.
    must_be: &'static str,
    bound: f64,
    met: bool,
}

/// A system that could not be measured, and why.
#[derive(Clone, Debug, Serialize)]
struct Missing {
    system: &'static str,
    why: String,
}

/// A row as JSON has it: medians, and the throughput of each round.
#[derive(Debug, Serialize)]
struct Row {
    system: &'static str,
    workload: &'static str,
    clients: u32,
    pipeline: u32,
    value_size: u32,
    #[serde(flatten)]
    median: Sample,
    ops_per_second_of_rounds: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Json {
    rounds: usize,
    seconds: f64,
    rows: Vec<Row>,
    goals: Vec<Goal>,
    missing: Vec<Missing>,
}

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    rounds: usize,
    seconds: f64,
    samples: BTreeMap<Cell, Vec<Sample>>,
    missing: BTreeMap<System, String>,
}

impl Report {
    pub(crate) fn new(rounds: usize, seconds: f64) -> Report {
        Report { rounds, seconds, samples: BTreeMap::new(), missing: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, cell: Cell, sample: Sample) {
        self.samples.entry(cell).or_default().push(sample);
    }

    /// This system cannot be measured.
    pub(crate) fn missing(&mut self, system: System, why: String) {
        self.missing.insert(system, why);
    }

    pub(crate) fn is_missing(&self, system: System) -> bool {
        self.missing.contains_key(&system)
    }

    /// Refuses unless everything was measured without an error and every goal is met.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let errors: u64 = self.samples.values().flatten().map(|sample| sample.errors).sum();
        let missed = self.goals().iter().filter(|goal| !goal.met).count();
        if self.missing.is_empty() && errors == 0 && missed == 0 {
            return Ok(());
        }
        let missing = self.missing.len();
        Err(format!("{missing} systems missing, {errors} calls failed, {missed} goals missed"))
    }

    /// Everything, for programs.
    pub(crate) fn json(&self) -> String {
        let row = |(cell, samples): (&Cell, &Vec<Sample>)| Row {
            system: cell.system.name(),
            workload: cell.workload,
            clients: cell.clients,
            pipeline: cell.pipeline,
            value_size: cell.value_size,
            median: medians(samples),
            ops_per_second_of_rounds: samples.iter().map(|sample| sample.ops_per_second).collect(),
        };
        let json = Json {
            rounds: self.rounds,
            seconds: self.seconds,
            rows: self.samples.iter().map(row).collect(),
            goals: self.goals(),
            missing: self
                .missing
                .iter()
                .map(|(system, why)| Missing { system: system.name(), why: why.clone() })
                .collect(),
        };
        serde_json::to_string_pretty(&json).expect("a report has only names and numbers")
    }

    /// Everything, for people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "Medians of {} rounds of {} s; the generator shares the machine.\n{}\n",
            self.rounds,
            self.seconds,
            self.table()
        );
        let mut add = |line: String| {
            writeln!(text, "{line}").expect("a string takes any text");
        };
        for Goal { what, value, must_be, bound, met } in self.goals() {
            let verdict = if met { "met" } else { "MISSED" };
            add(format!("{verdict:6}  {what}: {value:.2} ({must_be} {bound})"));
        }
        for (system, why) in &self.missing {
            add(format!("MISSING {}: {why}", system.name()));
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header([
            "system",
            "load",
            "pipe",
            "value",
            "ops/s",
            "min..max",
            "p50 ms",
            "p99 ms",
            "server us/op",
            "generator us/op",
            "failed",
        ]);
        for (cell, samples) in &self.samples {
            let median = medians(samples);
            let rates = samples.iter().map(|sample| sample.ops_per_second);
            let low = rates.clone().fold(f64::INFINITY, f64::min);
            let high = rates.fold(0.0, f64::max);
            table.add_row([
                cell.system.name().to_owned(),
                format!("{} x {}", cell.workload, cell.clients),
                cell.pipeline.to_string(),
                cell.value_size.to_string(),
                format!("{:.0}", median.ops_per_second),
                format!("{low:.0}..{high:.0}"),
                format!("{:.3}", median.p50_us / 1e3),
                format!("{:.3}", median.p99_us / 1e3),
                format!("{:.1}", median.cpu_us_per_op),
                format!("{:.1}", median.generator_us_per_op),
                median.errors.to_string(),
            ]);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// What Synod promises beside the others, as far as both were measured.
    fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for (cell, samples) in &self.samples {
            let median = medians(samples);
            let peer = |system| {
                let cell = Cell { system, ..cell.clone() };
                self.samples.get(&cell).map(|samples| medians(samples))
            };
            let name = format!("{}, pipeline {}", cell.workload, cell.pipeline);
            match cell.system {
                System::Synod1 => {
                    if let Some(redis) = peer(System::RedisAof) {
                        goals.extend(beside_redis(&name, median, redis));
                    }
                }
                System::Synod3 => {
                    if let Some(etcd) = peer(System::Etcd3) {
                        goals.extend(beside_etcd(median, etcd));
                    }
                }
                _ => {}
            }
        }
        goals
    }
}

fn beside_redis(name: &str, synod: Sample, redis: Sample) -> [Goal; 3] {
    let what = |figure: &str| format!("{name}: {figure}, synod / redis with AOF");
    [
        at_least(what("throughput"), synod.ops_per_second / redis.ops_per_second, 1.0),
        at_most(what("server CPU"), synod.cpu_us_per_op / redis.cpu_us_per_op, 1.1),
        at_most(what("p99"), synod.p99_us / redis.p99_us, 1.0),
    ]
}

fn beside_etcd(synod: Sample, etcd: Sample) -> [Goal; 3] {
    let what = |figure: &str| format!("puts, 3 nodes: {figure}, synod / etcd");
    let cpu = "puts, 3 nodes: server CPU of synod, us a put".to_owned();
    [
        at_least(what("throughput"), synod.ops_per_second / etcd.ops_per_second, 5.0),
        at_most(what("p99"), synod.p99_us / etcd.p99_us, 1.0 / 3.0),
        at_most(cpu, synod.cpu_us_per_op, 30.0),
    ]
}

fn at_least(what: String, value: f64, bound: f64) -> Goal {
    Goal { what, value, must_be: ">=", bound, met: value >= bound }
}

fn at_most(what: String, value: f64, bound: f64) -> Goal {
    Goal { what, value, must_be: "<=", bound, met: value <= bound }
}

/// The median of each figure for itself; of the failures, the sum.
fn medians(samples: &[Sample]) -> Sample {
    let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure).collect());
    Sample {
        ops_per_second: of(|sample| sample.ops_per_second),
        p50_us: of(|sample| sample.p50_us),
        p99_us: of(|sample| sample.p99_us),
        cpu_us_per_op: of(|sample| sample.cpu_us_per_op),
        generator_us_per_op: of(|sample| sample.generator_us_per_op),
        errors: samples.iter().map(|sample| sample.errors).sum(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (len, middle) if len % 2 == 1 => values[middle],
        (_, middle) => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expect) in [(vec![], 0.0), (vec![3.0, 1.0, 2.0], 2.0), (vec![4.0, 2.0], 3.0)] {
            assert_eq!(median(values), expect);
        }
    }

    #[test]
    fn what_is_missing_failed_or_too_slow_is_no_success() {
        let load = Load { workload: "set", clients: 50, pipeline: 1, value_size: 64 };
        let sample = |ops_per_second| Sample {
            ops_per_second,
            p99_us: 1.0,
            cpu_us_per_op: 1.0,
            ..Sample::default()
        };
        let mut report = Report::new(1, 1.0);
        report.add(Cell::new(System::RedisAof, load), sample(100.0));
        report.add(Cell::new(System::Synod1, load), sample(101.0));
        assert_eq!(report.verdict(), Ok(()));

        let mut slow = Report::new(1, 1.0);
        slow.add(Cell::new(System::RedisAof, load), sample(100.0));
        slow.add(Cell::new(System::Synod1, load), sample(99.0));
        assert!(slow.verdict().is_err());
        assert!(slow.text().contains("MISSED  set, pipeline 1: throughput"));

        report.add(Cell::new(System::RedisAof, load), Sample { errors: 1, ..sample(100.0) });
        assert!(report.verdict().is_err());

        let mut missing = Report::new(1, 1.0);
        missing.missing(System::Etcd3, "not installed".to_owned());
        assert!(missing.verdict().is_err());
        assert!(missing.text().contains("MISSING etcd, 3 nodes: not installed"));
    }
}
