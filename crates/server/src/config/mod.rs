//! Settings of this node that CONFIG shows and changes.
//!
//! Three kinds: real ones of this node, here; those of the keyspace, which go through the log
//! (`keyspace::Settings`); and Redis's tuning keys, which are remembered and have no effect.

mod tuning;

use std::collections::BTreeMap;

use subtle::ConstantTimeEq;
use wire::resp::Limits;

use crate::front::parser_limits;
use crate::limits::CLIENTS_MAX;
use tuning::TUNING;

/// Who is told with MOVED that another node leads. Nobody needs it: any node serves any key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirects {
    No,
    /// Connections over which a client library has asked CLUSTER SLOTS or CLUSTER SHARDS.
    #[default]
    Auto,
    /// Everybody: all clients know Redis Cluster.
    Yes,
}

impl Redirects {
    /// The setting of this name.
    pub fn of(text: &str) -> Option<Redirects> {
        let all = [Redirects::No, Redirects::Auto, Redirects::Yes];
        all.into_iter().find(|one| one.name().eq_ignore_ascii_case(text))
    }

    fn name(self) -> &'static str {
        match self {
            Redirects::No => "no",
            Redirects::Auto => "auto",
            Redirects::Yes => "yes",
        }
    }
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct Config {
    password: Vec<u8>,
    clients_max: usize,
    memory_bytes_max: u64,
    redirects: Redirects,
    /// Redis's settings that were set, by name.
    remembered: BTreeMap<&'static str, String>,
    /// Where clients reach this node.
    pub port: u16,
    /// The data directory.
    pub dir: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            password: Vec::new(),
            clients_max: CLIENTS_MAX,
            memory_bytes_max: 0,
            redirects: Redirects::default(),
            remembered: BTreeMap::new(),
            port: 7379,
            dir: String::new(),
        }
    }
}

/// Redis's settings that only a start can change, there as here.
const IMMUTABLE: &[&str] = &[
    "aclfile",
    "always-show-logo",
    "aof_rewrite_cpulist",
    "appenddirname",
    "appendfilename",
    "bgsave_cpulist",
    "bio_cpulist",
    "cluster-config-file",
    "cluster-enabled",
    "cluster-port",
    "daemonize",
    "databases",
    "dir",
    "disable-thp",
    "enable-debug-command",
    "enable-module-command",
    "enable-protected-configs",
    "io-threads",
    "io-threads-do-reads",
    "logfile",
    "pidfile",
    "port",
    "rdbchecksum",
    "replicaof",
    "server_cpulist",
    "set-proc-title",
    "slaveof",
    "socket-mark-id",
    "supervised",
    "syslog-enabled",
    "syslog-facility",
    "syslog-ident",
    "tcp-backlog",
    "unixsocket",
    "unixsocketperm",
];

/// The real settings of a node.
const OWN: &[&str] =
    &["cluster-redirects", "dir", "maxclients", "maxmemory", "port", "requirepass"];

impl Config {
    /// Sets the password; an empty one lets everybody in.
    pub fn set_password(&mut self, password: &[u8]) {
        self.password = password.to_vec();
    }

    /// Must clients authenticate?
    pub fn needs_password(&self) -> bool {
        !self.password.is_empty()
    }

    /// Is it this one? Takes the same time whatever is wrong with it.
    pub fn is_password(&self, password: &[u8]) -> bool {
        !self.needs_password() || bool::from(self.password.ct_eq(password))
    }

    /// Sets how many clients may be connected.
    pub fn set_clients_max(&mut self, clients_max: usize) {
        self.clients_max = clients_max;
    }

    /// How many clients may be connected.
    pub fn clients_max(&self) -> usize {
        self.clients_max
    }

    /// Sets who is told with MOVED that another node leads.
    pub fn set_redirects(&mut self, redirects: Redirects) {
        self.redirects = redirects;
    }

    /// Who is told with MOVED that another node leads.
    pub fn redirects(&self) -> Redirects {
        self.redirects
    }

    /// Bytes of memory past which this node takes no command that may need more; 0 for no bound.
    pub fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max
    }

    pub(crate) fn limits(&self, authenticated: bool) -> Limits {
        parser_limits(authenticated)
    }

    /// The names of the settings that are kept here.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        OWN.iter().copied().chain(TUNING.iter().map(|(name, _)| *name))
    }

    /// The value of a setting that is kept here.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        Some(match name {
            "dir" => self.dir.clone(),
            "port" => self.port.to_string(),
            "maxclients" => self.clients_max.to_string(),
            "maxmemory" => self.memory_bytes_max.to_string(),
            "cluster-redirects" => self.redirects.name().to_owned(),
            "requirepass" => String::from_utf8_lossy(&self.password).into_owned(),
            _ => {
                let (name, default) = TUNING.iter().find(|(known, _)| *known == name)?;
                self.remembered.get(name).cloned().unwrap_or_else(|| (*default).to_owned())
            }
        })
    }

    /// Changes a setting that is kept here. The error is the reason that CONFIG SET gives.
    pub(crate) fn set(&mut self, name: &str, value: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(value);
        match name {
            _ if IMMUTABLE.contains(&name) => return Err("can't set immutable config".to_owned()),
            "requirepass" => self.set_password(value),
            "maxmemory" => {
                let bytes = keyspace::parse_memory(value).map(|bytes| bytes as u64);
                self.memory_bytes_max = bytes.ok_or("argument must be a memory value")?;
            }
            "cluster-redirects" => {
                let redirects = Redirects::of(&text);
                self.redirects = redirects.ok_or("argument must be 'no', 'auto' or 'yes'")?;
            }
            "maxclients" => {
                let number = text.parse::<usize>();
                let number = number.map_err(|_| "argument couldn't be parsed into an integer")?;
                let number = Some(number).filter(|n| (1..=CLIENTS_MAX).contains(n));
                self.clients_max = number.ok_or_else(|| {
                    format!("argument must be between 1 and {CLIENTS_MAX} inclusive")
                })?;
            }
            _ => {
                let known = TUNING.iter().find(|(known, _)| *known == name);
                let (name, default) = known.ok_or("no such setting")?;
                check_shape(default, &text)?;
                self.remembered.insert(name, text.into_owned());
            }
        }
        Ok(())
    }
}

/// A setting without effect still refuses what is no value of its kind.
fn check_shape(default: &str, value: &str) -> Result<(), String> {
    let is_number = |text: &str| !text.is_empty() && text.parse::<i64>().is_ok();
    match default {
        "yes" | "no" if !matches!(value.to_ascii_lowercase().as_str(), "yes" | "no") => {
            Err("argument must be 'yes' or 'no'".to_owned())
        }
        _ if is_number(default)
            && !value.starts_with(|first: char| first.is_ascii_digit() || first == '-') =>
        {
            Err("argument couldn't be parsed into an integer".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn tuning_keys_are_remembered_and_real_ones_take_effect() {
        let mut config = Config::default();
        assert_eq!(config.get("maxmemory-policy").unwrap(), "noeviction");
        config.set("maxmemory-policy", b"allkeys-lru").unwrap();
        assert_eq!(config.get("maxmemory-policy").unwrap(), "allkeys-lru");
        assert!(config.set("activedefrag", b"perhaps").is_err());
        assert!(config.set("hz", b"often").is_err());
        assert!(config.set("port", b"1").is_err());
        assert!(config.set("daemonize", b"yes").is_err());
        config.set("requirepass", b"s").unwrap();
        assert!(config.needs_password() && config.is_password(b"s") && !config.is_password(b"x"));
        config.set("cluster-redirects", b"YES").unwrap();
        assert_eq!(config.get("cluster-redirects").unwrap(), "yes");
        assert!(config.set("cluster-redirects", b"perhaps").is_err());
        assert_eq!(config.set("nonsense", b"1"), Err("no such setting".to_owned()));
        assert!(Config::names().is_sorted_by_key(|name| name.len() > 100));
    }
}
