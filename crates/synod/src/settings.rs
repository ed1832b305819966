//! The settings of a node: flags, then `SYNOD_` variables, then a TOML file, then defaults. All
//! three use the same names.

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use server::config::Redirects;

/// The port of a node, where none is given.
pub(crate) const PORT: u16 = 7379;

/// What can be set. Every field is optional here, so that the sources can be laid over each other.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Settings {
    /// Where to listen, for clients and nodes alike [default: 127.0.0.1:7379]
    #[arg(long, env = "SYNOD_LISTEN", value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The addresses of all nodes of the cluster, this one's included, with commas between
    #[arg(long, env = "SYNOD_JOIN", value_name = "HOST[:PORT],…", value_delimiter = ',')]
    join: Option<Vec<String>>,
    /// Where the node keeps its data [default: ./synod-data/node]
    #[arg(long, env = "SYNOD_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// What the nodes of a cluster prove to each other that they know
    #[arg(long, env = "SYNOD_SECRET", value_name = "TEXT", hide_env_values = true)]
    secret: Option<String>,
    /// A file with the secret
    #[arg(long, env = "SYNOD_SECRET_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// What clients must say with AUTH
    #[arg(long, env = "SYNOD_PASSWORD", value_name = "TEXT", hide_env_values = true)]
    password: Option<String>,
    /// A file with the password
    #[arg(long, env = "SYNOD_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Listen beyond loopback without a password, join without a secret
    #[arg(long, env = "SYNOD_INSECURE", num_args = 0..=1, default_missing_value = "true")]
    insecure: Option<bool>,
    /// Clients at a time [default: 10000]
    #[arg(long, env = "SYNOD_MAXCLIENTS", value_name = "N")]
    maxclients: Option<usize>,
    /// An election begins after a silence between once and twice this long [default: 300]
    #[arg(long, env = "SYNOD_ELECTION_TIMEOUT_MS", value_name = "MS")]
    election_timeout_ms: Option<u64>,
    /// How often a leader is heard [default: 50]
    #[arg(long, env = "SYNOD_HEARTBEAT_INTERVAL_MS", value_name = "MS")]
    heartbeat_interval_ms: Option<u64>,
    /// How far two clocks may drift apart, in parts per million [default: 10000]
    #[arg(long, env = "SYNOD_CLOCK_DRIFT_PPM", value_name = "PPM")]
    clock_drift_ppm: Option<u32>,
    /// How many shards a new cluster has, a power of two: the same on each node [default: 16]
    #[arg(long, env = "SYNOD_SHARDS", value_name = "N")]
    shards: Option<u32>,
    /// Who is told with MOVED that another node leads: nobody (no), connections over which a client
    /// library has asked for the map (auto), everybody (yes) [default: auto]
    #[arg(long, env = "SYNOD_CLUSTER_REDIRECTS", value_name = "WHO")]
    cluster_redirects: Option<String>,
    /// How many replicas a shard of a new cluster is to have [default: 3]
    #[arg(long, env = "SYNOD_REPLICAS", value_name = "N")]
    replicas: Option<u32>,
    /// Where clients and other nodes reach this one, if not where it listens
    #[arg(long, env = "SYNOD_ADVERTISE", value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// When a node that is dead is given up and what it held is copied elsewhere; 0: never
    /// [default: 600]
    #[arg(long, env = "SYNOD_REPLACE_AFTER_S", value_name = "SECONDS")]
    replace_after_s: Option<u64>,
    /// How fast replicas that lack much are sent snapshots, all together; 0: as fast as it goes
    /// [default: 64]
    #[arg(long, env = "SYNOD_CATCH_UP_MIB_S", value_name = "MIB/S")]
    catch_up_mib_s: Option<u64>,
}

/// The names in a file.
const NAMES: &[&str] = &[
    "listen",
    "join",
    "data",
    "secret",
    "secret-file",
    "password",
    "password-file",
    "insecure",
    "maxclients",
    "election-timeout-ms",
    "heartbeat-interval-ms",
    "clock-drift-ppm",
    "shards",
    "cluster-redirects",
    "replicas",
    "advertise",
    "replace-after-s",
    "catch-up-mib-s",
];

/// Settings that were checked.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) listen: String,
    /// Sorted, each with its port; empty for a node alone.
    pub(crate) join: Vec<String>,
    pub(crate) data: PathBuf,
    pub(crate) secret: Vec<u8>,
    pub(crate) password: Vec<u8>,
    pub(crate) maxclients: usize,
    pub(crate) election_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) clock_drift_ppm: u32,
    pub(crate) shards: Option<u32>,
    pub(crate) redirects: Redirects,
    pub(crate) replicas: Option<u32>,
    pub(crate) advertise: Option<String>,
    pub(crate) replace_after: Duration,
    /// In bytes a second.
    pub(crate) catch_up_rate: u64,
}

impl Settings {
    /// These, and where they are silent those of the file.
    pub(crate) fn over(self, file: Settings) -> Settings {
        Settings {
            listen: self.listen.or(file.listen),
            join: self.join.or(file.join),
            data: self.data.or(file.data),
            secret: self.secret.or(file.secret),
            secret_file: self.secret_file.or(file.secret_file),
            password: self.password.or(file.password),
            password_file: self.password_file.or(file.password_file),
            insecure: self.insecure.or(file.insecure),
            maxclients: self.maxclients.or(file.maxclients),
            election_timeout_ms: self.election_timeout_ms.or(file.election_timeout_ms),
            heartbeat_interval_ms: self.heartbeat_interval_ms.or(file.heartbeat_interval_ms),
            clock_drift_ppm: self.clock_drift_ppm.or(file.clock_drift_ppm),
            shards: self.shards.or(file.shards),
            cluster_redirects: self.cluster_redirects.or(file.cluster_redirects),
            replicas: self.replicas.or(file.replicas),
            advertise: self.advertise.or(file.advertise),
            replace_after_s: self.replace_after_s.or(file.replace_after_s),
            catch_up_mib_s: self.catch_up_mib_s.or(file.catch_up_mib_s),
        }
    }

    /// Reads a TOML file.
    pub(crate) fn read(path: &Path) -> Result<Settings, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        Settings::parse(&text).map_err(|error| format!("{shown}: {error}"))
    }

    /// Reads the text of a TOML file.
    pub(crate) fn parse(text: &str) -> Result<Settings, String> {
        let table: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
        if let Some(name) = table.keys().find(|name| !NAMES.contains(&name.as_str())) {
            let near = nearest(name);
            return Err(format!("unknown setting '{name}'; did you mean '{near}'?"));
        }
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// Fills in the defaults and refuses what makes no sense or is not safe.
    pub(crate) fn check(self) -> Result<Checked, String> {
        let listen = with_port(&self.listen.clone().unwrap_or_else(|| "127.0.0.1".to_owned()));
        let mut join: Vec<String> =
            self.join.iter().flatten().map(|addr| with_port(addr.trim())).collect();
        join.sort();
        join.dedup();
        let insecure = self.insecure.unwrap_or(false);
        let secret = text_or_file("secret", self.secret.as_ref(), self.secret_file.as_ref())?;
        let password =
            text_or_file("password", self.password.as_ref(), self.password_file.as_ref())?;
        if !insecure && password.is_empty() && !is_loopback(&listen)? {
            return Err(format!(
                "refusing to listen on {listen} without a password: set --password or \
                 --password-file, or give --insecure if the network itself is safe"
            ));
        }
        for addr in &join {
            if !insecure && secret.is_empty() && !is_loopback(addr).unwrap_or(false) {
                return Err(format!(
                    "refusing to join {addr} without a secret: set --secret or --secret-file to \
                     the same on every node, or give --insecure"
                ));
            }
        }
        let election = self.election_timeout_ms.unwrap_or(300);
        let heartbeat = self.heartbeat_interval_ms.unwrap_or(50);
        if heartbeat == 0 || heartbeat * 2 > election {
            return Err(format!(
                "heartbeat-interval-ms ({heartbeat}) must be at least 1 and at most half of \
                 election-timeout-ms ({election})"
            ));
        }
        let maxclients = self.maxclients.unwrap_or(server::limits::CLIENTS_MAX);
        if !(1..=server::limits::CLIENTS_MAX).contains(&maxclients) {
            let max = server::limits::CLIENTS_MAX;
            return Err(format!("maxclients ({maxclients}) must be between 1 and {max}"));
        }
        let most = server::limits::SHARDS_MAX;
        if let Some(shards) = self.shards
            && !(shards.is_power_of_two() && shards <= most)
        {
            return Err(format!("shards ({shards}) must be a power of two, at most {most}"));
        }
        let redirects = self.cluster_redirects.as_deref().unwrap_or("auto");
        let Some(redirects) = Redirects::of(redirects) else {
            return Err(format!("cluster-redirects ({redirects}) must be no, auto or yes"));
        };
        let most = server::limits::REPLICAS_MAX;
        if let Some(replicas) = self.replicas.filter(|replicas| !(1..=most).contains(replicas)) {
            return Err(format!("replicas ({replicas}) must be between 1 and {most}"));
        }
        Ok(Checked {
            listen,
            join,
            data: self.data.unwrap_or_else(|| PathBuf::from("synod-data/node")),
            secret,
            password,
            maxclients,
            election_timeout: Duration::from_millis(election),
            heartbeat_interval: Duration::from_millis(heartbeat),
            clock_drift_ppm: self.clock_drift_ppm.unwrap_or(10_000),
            shards: self.shards,
            redirects,
            replicas: self.replicas,
            advertise: self.advertise.as_deref().map(with_port),
            replace_after: Duration::from_secs(self.replace_after_s.unwrap_or(600)),
            catch_up_rate: self.catch_up_mib_s.unwrap_or(64).saturating_mul(1 << 20),
        })
    }
}

/// An address with a port: the default one, if it names none.
fn with_port(addr: &str) -> String {
    let bare_v6 = addr.matches(':').count() > 1 && !addr.starts_with('[');
    if bare_v6 {
        return format!("[{addr}]:{PORT}");
    }
    let has_port = addr.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { addr.to_owned() } else { format!("{addr}:{PORT}") }
}

fn is_loopback(addr: &str) -> Result<bool, String> {
    let addrs = addr.to_socket_addrs().map_err(|error| format!("{addr}: {error}"))?;
    Ok(addrs.into_iter().all(|addr| addr.ip().is_loopback()))
}

fn text_or_file(
    name: &str,
    text: Option<&String>,
    file: Option<&PathBuf>,
) -> Result<Vec<u8>, String> {
    match (text, file) {
        (Some(_), Some(_)) => Err(format!("give --{name} or --{name}-file, not both")),
        (Some(text), None) => Ok(text.clone().into_bytes()),
        (None, None) => Ok(Vec::new()),
        (None, Some(path)) => {
            let bytes =
                std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let text = bytes.trim_ascii();
            if text.is_empty() {
                return Err(format!("{}: the file with the {name} is empty", path.display()));
            }
            Ok(text.to_vec())
        }
    }
}

/// The known name that is most like this one.
fn nearest(name: &str) -> &'static str {
    let distance = |known: &&&str| (strsim::jaro_winkler(name, known) * 1e6) as u64;
    NAMES.iter().max_by_key(distance).copied().unwrap_or("listen")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_in_a_file_is_named_with_the_nearest_known_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("synod.toml");
        std::fs::write(&path, "lisen = \"127.0.0.1:1\"\n").unwrap();
        let error = Settings::read(&path).unwrap_err();
        assert!(error.contains("unknown setting 'lisen'; did you mean 'listen'?"), "{error}");
        std::fs::write(&path, "maxclients = \"many\"\n").unwrap();
        assert!(Settings::read(&path).unwrap_err().contains("maxclients"));
        std::fs::write(&path, "listen = \"127.0.0.1:9\"\njoin = [\"b\", \"a:1\"]\n").unwrap();
        let flags = Settings { maxclients: Some(7), ..Settings::default() };
        let checked = flags.over(Settings::read(&path).unwrap());
        let checked = Settings { insecure: Some(true), ..checked }.check().unwrap();
        assert_eq!((checked.listen.as_str(), checked.maxclients), ("127.0.0.1:9", 7));
        assert_eq!(checked.join, ["a:1", "b:7379"]);
    }

    #[test]
    fn who_is_redirected_is_one_of_three_words() {
        let checked = |word: &str| {
            Settings { cluster_redirects: Some(word.to_owned()), ..Settings::default() }.check()
        };
        assert_eq!(checked("YES").unwrap().redirects, Redirects::Yes);
        assert_eq!(Settings::default().check().unwrap().redirects, Redirects::Auto);
        assert!(checked("maybe").unwrap_err().contains("(maybe) must be no, auto or yes"));
    }

    #[test]
    fn what_is_not_safe_is_refused_until_insecure_is_said() {
        let open = Settings { listen: Some("0.0.0.0:7379".into()), ..Settings::default() };
        let error = open.clone().check().unwrap_err();
        assert!(error.contains("without a password"), "{error}");
        assert!(Settings { insecure: Some(true), ..open.clone() }.check().is_ok());
        assert!(Settings { password: Some("p".into()), ..open }.check().is_ok());
        let far = Settings { join: Some(vec!["10.0.0.1".into()]), ..Settings::default() };
        let error = far.clone().check().unwrap_err();
        assert!(error.contains("without a secret"), "{error}");
        assert!(Settings { secret: Some("s".into()), ..far }.check().is_ok());
    }

    #[test]
    fn addresses_get_the_default_port_and_times_must_fit() {
        assert_eq!(with_port("host"), "host:7379");
        assert_eq!(with_port("host:1"), "host:1");
        assert_eq!(with_port("::1"), "[::1]:7379");
        assert_eq!(with_port("[::1]:5"), "[::1]:5");
        let slow = Settings { heartbeat_interval_ms: Some(200), ..Settings::default() };
        assert!(slow.check().unwrap_err().contains("election-timeout-ms"));
    }
}
