//! How fast is the log on this disk? Run it on the disk that will hold the data:
//! `cargo run --release -p storage --example wal_bench -- FOLDER [SECONDS]`.
//!
//! Each line is one size of batch, made of entries of 256 bytes: commits a second, their median and
//! 99th percentile, entries a second, and CPU nanoseconds for each entry (this process, kernel
//! included; the segments are made ready by a thread beside it, as a node does).

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use storage::GroupId;
use storage::disk::RealDisk;
use storage::wal::{Options, Prepare, Record, Wal};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "wal-bench".to_string());
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let disk = Arc::new(RealDisk::new(&folder)?);
    let (mut wal, _) = Wal::open(disk, Options::default())?;
    let (jobs, work) = mpsc::channel::<Prepare>();
    let (done, results) = mpsc::channel();
    std::thread::spawn(move || work.into_iter().all(|job| done.send(job.run(&mut || {})).is_ok()));
    let data = [7; 256];
    let mut index = wal_last(&mut wal)?;
    for entries in [1, 13, 215, 3_449] {
        let (begin, cpu) = (Instant::now(), cpu_time()?);
        let mut times = Vec::new();
        while begin.elapsed() < Duration::from_secs(seconds) {
            for _ in 0..entries {
                index += 1;
                let group = GroupId(0);
                wal.append(&Record::Entry { group, term: 1, index, kind: 0, data: &data })?;
            }
            if times.len() % 64 == 63 {
                wal.trim(GroupId(0), index - entries, 1)?;
            }
            let before = Instant::now();
            wal.commit()?;
            times.push(before.elapsed());
            for prepared in results.try_iter() {
                wal.accept(prepared)?;
            }
            if let Some(job) = wal.prepare() {
                jobs.send(job)?;
            }
        }
        let (spent, cpu) = (begin.elapsed().as_secs_f64(), cpu_time()? - cpu);
        times.sort();
        let (count, rate) = (times.len(), times.len() as f64 / spent);
        eprintln!(
            "{:>8} bytes: {rate:>6.0} commits/s, p50 {:>4} us, p99 {:>5} us, {:>8.0} entries/s, \
             {:>6.0} ns CPU each",
            entries * 304,
            times[count / 2].as_micros(),
            times[count * 99 / 100].as_micros(),
            rate * entries as f64,
            cpu.as_nanos() as f64 / (count as u64 * entries) as f64,
        );
    }
    Ok(())
}

/// Begins with an empty log, whatever an earlier run left.
fn wal_last(wal: &mut Wal) -> Result<u64, storage::Error> {
    wal.reset_group(GroupId(0))?;
    wal.commit()?;
    Ok(0)
}

/// User and system time of this process.
fn cpu_time() -> Result<Duration, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
