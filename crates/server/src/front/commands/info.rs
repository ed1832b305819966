//! INFO: sections of `name:value` lines, with the fields that clients and tools read.

use std::fmt::Write;

use consensus::Status;
use node::Moment;
use wire::Args;

use crate::front::{Flow, Front, hub, seconds};
use crate::version;

/// The sections, in the order in which they are shown.
const SECTIONS: &[&str] = &[
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "modules",
    "commandstats",
    "errorstats",
    "cluster",
    "keyspace",
    "synod",
];

/// What the machine says about the process; the driver keeps it fresh.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vitals {
    pub pid: u32,
    pub resident_bytes: u64,
    pub resident_bytes_peak: u64,
    pub memory_bytes: u64,
    pub cpu_user_millis: u64,
    pub cpu_system_millis: u64,
    /// Over the last second.
    pub operations_per_second: u64,
}

impl Front {
    pub(super) fn info(&mut self, moment: Moment, key: usize, args: Args<'_>) -> Flow {
        if !self.executes && !self.may_look(moment) {
            return Flow::Behind;
        }
        let asked: Vec<String> =
            args.from(1).iter().map(|arg| String::from_utf8_lossy(arg).to_lowercase()).collect();
        let named = |names: &[&str]| asked.iter().any(|name| names.contains(&name.as_str()));
        let all = named(&["all", "everything"]);
        let usual = all || asked.is_empty() || named(&["default"]);
        let mut text = String::new();
        for section in SECTIONS {
            let whole = if *section == "commandstats" { all } else { usual };
            if whole || named(&[section]) {
                if !text.is_empty() {
                    text.push_str("\r\n");
                }
                self.section(moment, section, &mut text);
            }
        }
        self.answer(key, |reply| {
            reply.verbatim("txt", text.as_bytes());
            Ok(())
        })
    }

    fn section(&self, moment: Moment, section: &str, out: &mut String) {
        let mut title = section.to_owned();
        title[..1].make_ascii_uppercase();
        if section == "cpu" {
            title.make_ascii_uppercase();
        }
        let _ = write!(out, "# {title}\r\n");
        let lines = match section {
            "server" => self.info_server(moment),
            "clients" => self.info_clients(),
            "memory" => self.info_memory(),
            "persistence" => self.info_persistence(),
            "stats" => self.info_stats(),
            "replication" => self.info_replication(),
            "cpu" => self.info_cpu(),
            "keyspace" => self.info_keyspace(moment),
            "cluster" => {
                let several = u8::from(self.core.shards().count() > 1);
                vec![("cluster_enabled", several.to_string())]
            }
            "synod" => self.info_synod(),
            _ => Vec::new(),
        };
        for (name, value) in lines {
            let _ = write!(out, "{name}:{value}\r\n");
        }
        if section == "commandstats" {
            self.stats.put_commands(out);
        }
        if section == "errorstats" {
            for (code, count) in &self.stats.errors_by_code {
                let _ = write!(out, "errorstat_{code}:count={count}\r\n");
            }
        }
    }

    fn info_server(&self, moment: Moment) -> Vec<(&'static str, String)> {
        let uptime = self.uptime(moment).as_secs();
        vec![
            ("redis_version", version::REDIS.to_owned()),
            ("synod_version", version::SYNOD.to_owned()),
            ("redis_git_sha1", "00000000".to_owned()),
            ("redis_git_dirty", "0".to_owned()),
            ("redis_build_id", "0".to_owned()),
            ("redis_mode", "standalone".to_owned()),
            ("os", std::env::consts::OS.to_owned()),
            ("arch_bits", usize::BITS.to_string()),
            ("multiplexing_api", "epoll".to_owned()),
            ("process_id", self.vitals.pid.to_string()),
            ("run_id", self.run_id.clone()),
            ("tcp_port", self.config.port.to_string()),
            ("server_time_usec", (moment.wall.0 * 1_000).to_string()),
            ("uptime_in_seconds", uptime.to_string()),
            ("uptime_in_days", (uptime / 86_400).to_string()),
            ("hz", "10".to_owned()),
            ("configured_hz", "10".to_owned()),
            ("lru_clock", (seconds(moment.wall) & 0xff_ffff).to_string()),
            ("executable", String::new()),
            ("config_file", String::new()),
            ("io_threads_active", "0".to_owned()),
        ]
    }

    fn info_clients(&self) -> Vec<(&'static str, String)> {
        let blocked = self.clients().filter(|(_, client)| client.waits()).count();
        vec![
            ("connected_clients", self.open.to_string()),
            ("cluster_connections", "0".to_owned()),
            ("maxclients", self.config.clients_max().to_string()),
            ("client_recent_max_input_buffer", "0".to_owned()),
            ("client_recent_max_output_buffer", "0".to_owned()),
            ("blocked_clients", blocked.to_string()),
            ("tracking_clients", "0".to_owned()),
            ("clients_in_timeout_table", "0".to_owned()),
        ]
    }

    fn info_memory(&self) -> Vec<(&'static str, String)> {
        let used = self.vitals.resident_bytes;
        let policy = self.config.get("maxmemory-policy").unwrap_or_default();
        let maxmemory = self.config.get("maxmemory").unwrap_or_default();
        // Every shard knows the same ones.
        let scripts = self.core.members().next().map(|group| group.shard().scripts());
        let (cached_bytes, cached, functions, libraries) = scripts.map_or((0, 0, 0, 0), |known| {
            (known.cached_bytes(), known.cached(), known.functions(), known.libraries())
        });
        let vm_bytes = |group: &node::Group| group.shard().scripts().vm_bytes();
        let vm_bytes: usize = self.core.members().map(vm_bytes).sum();
        vec![
            ("used_memory", used.to_string()),
            ("used_memory_human", human(used)),
            ("used_memory_rss", used.to_string()),
            ("used_memory_rss_human", human(used)),
            ("used_memory_peak", self.vitals.resident_bytes_peak.to_string()),
            ("used_memory_peak_human", human(self.vitals.resident_bytes_peak)),
            ("total_system_memory", self.vitals.memory_bytes.to_string()),
            ("total_system_memory_human", human(self.vitals.memory_bytes)),
            ("used_memory_vm_total", vm_bytes.to_string()),
            ("used_memory_vm_total_human", human(vm_bytes as u64)),
            ("used_memory_scripts", cached_bytes.to_string()),
            ("used_memory_scripts_human", human(cached_bytes as u64)),
            ("number_of_cached_scripts", cached.to_string()),
            ("number_of_functions", functions.to_string()),
            ("number_of_libraries", libraries.to_string()),
            ("maxmemory", maxmemory),
            ("maxmemory_policy", policy),
            ("mem_fragmentation_ratio", "1.00".to_owned()),
            ("mem_allocator", "system".to_owned()),
            ("active_defrag_running", "0".to_owned()),
            ("lazyfree_pending_objects", "0".to_owned()),
        ]
    }

    fn info_persistence(&self) -> Vec<(&'static str, String)> {
        let states = || self.core.members().map(node::Group::snapshot_state);
        let changes: u64 = states().map(|state| state.changes).sum();
        let running = states().any(|state| state.running);
        vec![
            ("loading", "0".to_owned()),
            ("async_loading", "0".to_owned()),
            ("rdb_changes_since_last_save", changes.to_string()),
            ("rdb_bgsave_in_progress", u8::from(running).to_string()),
            ("rdb_last_save_time", self.last_save().to_string()),
            ("rdb_last_bgsave_status", "ok".to_owned()),
            ("aof_enabled", "1".to_owned()),
            ("aof_rewrite_in_progress", "0".to_owned()),
            ("aof_rewrite_scheduled", "0".to_owned()),
            ("aof_last_bgrewrite_status", "ok".to_owned()),
            ("aof_last_write_status", "ok".to_owned()),
        ]
    }

    fn info_stats(&self) -> Vec<(&'static str, String)> {
        let stats = &self.stats;
        let expired = |group: &node::Group| group.shard().expired_keys();
        let expired: u64 = self.core.members().map(expired).sum();
        vec![
            ("total_connections_received", stats.connections.to_string()),
            ("total_commands_processed", stats.commands.to_string()),
            ("instantaneous_ops_per_sec", self.vitals.operations_per_second.to_string()),
            ("total_net_input_bytes", stats.input_bytes.to_string()),
            ("total_net_output_bytes", stats.output_bytes.to_string()),
            ("rejected_connections", stats.rejected.to_string()),
            ("expired_keys", expired.to_string()),
            ("evicted_keys", "0".to_owned()),
            ("pubsub_channels", self.hub.names(hub::Kind::Channel).count().to_string()),
            ("pubsub_patterns", self.hub.patterns().to_string()),
            ("latest_fork_usec", "0".to_owned()),
            ("total_forks", "0".to_owned()),
            ("total_error_replies", stats.errors.to_string()),
        ]
    }

    fn info_replication(&self) -> Vec<(&'static str, String)> {
        // Every node takes every command, so to a Redis client each is a master.
        let commit: u64 = self.core.groups().iter().map(|(_, status)| status.commit.0).sum();
        vec![
            ("role", "master".to_owned()),
            ("connected_slaves", "0".to_owned()),
            ("master_failover_state", "no-failover".to_owned()),
            ("master_replid", self.run_id.clone()),
            ("master_replid2", "0".repeat(40)),
            ("master_repl_offset", commit.to_string()),
            ("second_repl_offset", "-1".to_owned()),
            ("repl_backlog_active", "0".to_owned()),
        ]
    }

    fn info_cpu(&self) -> Vec<(&'static str, String)> {
        let shown = |millis: u64| format!("{}.{:03}000", millis / 1_000, millis % 1_000);
        vec![
            ("used_cpu_sys", shown(self.vitals.cpu_system_millis)),
            ("used_cpu_user", shown(self.vitals.cpu_user_millis)),
        ]
    }

    fn info_keyspace(&self, moment: Moment) -> Vec<(&'static str, String)> {
        const NAMES: [&str; 16] = [
            "db0", "db1", "db2", "db3", "db4", "db5", "db6", "db7", "db8", "db9", "db10", "db11",
            "db12", "db13", "db14", "db15",
        ];
        let mut shown = Vec::new();
        for (number, name) in NAMES.into_iter().enumerate() {
            let dbs = || self.core.members().map(|group| &group.shard().databases()[number]);
            let keys: usize = dbs().map(keyspace::Db::len).sum();
            let expiring: usize = dbs().map(keyspace::Db::expiring).sum();
            let first = dbs().filter_map(|db| db.due().next()).map(|(at, _)| *at).min();
            let first = first.map_or(0, |at| at.0.saturating_sub(moment.wall.0));
            if keys > 0 {
                shown.push((name, format!("keys={keys},expires={expiring},avg_ttl={first}")));
            }
        }
        shown
    }

    fn info_synod(&self) -> Vec<(&'static str, String)> {
        let first = self.core.members().next();
        let status = first.map(node::Group::status);
        let seen = |of: fn(&Status) -> u64| status.as_ref().map_or(0, of).to_string();
        let leader = |status: &Status| status.leader.map_or(0, |leader| u64::from(leader.0));
        vec![
            ("synod_cluster", self.cluster.clone()),
            ("synod_node", self.core.node().0.to_string()),
            ("synod_shards", self.core.shards().count().to_string()),
            ("synod_replicas", self.core.members().count().to_string()),
            ("synod_map", self.core.map().version().to_string()),
            ("synod_leader", seen(leader)),
            ("synod_term", seen(|status| status.term.0)),
            ("synod_commit", seen(|status| status.commit.0)),
            ("synod_applied", first.map_or(0, |group| group.applied().0).to_string()),
            ("synod_last", seen(|status| status.last.0)),
        ]
    }
}

/// A number of bytes for people, as Redis writes it.
fn human(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..1_048_576 => format!("{:.2}K", value / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.2}M", value / 1_048_576.0),
        _ => format!("{:.2}G", value / 1_073_741_824.0),
    }
}
