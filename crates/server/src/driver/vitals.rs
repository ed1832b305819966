//! What the kernel says about this process, for INFO.

use std::fs::read_to_string;

use crate::front::Vitals;

/// Bytes of a page and ticks of a second, as Linux has them on all machines this runs on.
const PAGE_BYTES: u64 = 4096;
const TICKS_PER_SECOND: u64 = 100;

/// Reads what there is; what cannot be read stays as it was.
pub(super) fn refresh(vitals: &mut Vitals) {
    if let Some(pages) = field("/proc/self/statm", 1) {
        vitals.resident_bytes = pages * PAGE_BYTES;
        vitals.resident_bytes_peak = vitals.resident_bytes_peak.max(vitals.resident_bytes);
    }
    // The name of the process, in parentheses, may hold spaces: count from behind it.
    if let Ok(stat) = read_to_string("/proc/self/stat")
        && let Some((_, rest)) = stat.rsplit_once(") ")
    {
        let ticks = |at: usize| rest.split(' ').nth(at).and_then(|text| text.parse::<u64>().ok());
        let millis = |at: usize| ticks(at).map(|ticks| ticks * 1_000 / TICKS_PER_SECOND);
        vitals.cpu_user_millis = millis(11).unwrap_or(vitals.cpu_user_millis);
        vitals.cpu_system_millis = millis(12).unwrap_or(vitals.cpu_system_millis);
    }
    if vitals.memory_bytes == 0 {
        vitals.memory_bytes = field("/proc/meminfo", 1).unwrap_or_default() * 1024;
    }
}

fn field(path: &str, at: usize) -> Option<u64> {
    read_to_string(path).ok()?.split_whitespace().nth(at)?.parse().ok()
}
