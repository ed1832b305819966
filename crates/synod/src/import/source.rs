//! Where a dump comes from: a file, or a server by its URL.

use std::path::PathBuf;

/// What stands behind `synod import`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Server(Server),
}

/// `redis://[[user]:password@]host[:port][/database]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Server {
    /// Host and port.
    pub(crate) addr: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// The one database that is wanted.
    pub(crate) database: Option<u64>,
}

/// Redis's port.
const PORT: u16 = 6379;

impl Source {
    /// Reads what a person wrote.
    pub(crate) fn parse(text: &str) -> Result<Source, String> {
        match text.split_once("://") {
            None => Ok(Source::File(PathBuf::from(text))),
            Some(("redis", rest)) => Server::parse(rest, PORT).map(Source::Server),
            Some(("rediss", _)) => {
                Err("rediss:// needs TLS, which Synod does not have: take a dump (redis-cli --rdb \
                     FILE) and import that"
                    .to_owned())
            }
            Some((scheme, _)) => {
                Err(format!("{scheme}:// is not known: give a file, or redis://HOST:PORT"))
            }
        }
    }
}

impl Server {
    /// A node of a cluster: `redis://HOST:PORT`, or without the scheme.
    pub(crate) fn node(text: &str) -> Result<Server, String> {
        let rest = text.strip_prefix("redis://").unwrap_or(text);
        if let Some((scheme, _)) = rest.split_once("://") {
            return Err(format!("{scheme}:// is not known: give redis://HOST:PORT"));
        }
        let server = Server::parse(rest, crate::settings::PORT)?;
        match server.database {
            Some(number) => Err(format!("all databases are meant, not only {number}")),
            None => Ok(server),
        }
    }

    fn parse(rest: &str, port: u16) -> Result<Server, String> {
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        let (host, database) = match place.split_once('/') {
            Some((host, "")) => (host, None),
            Some((host, number)) => (host, Some(number)),
            None => (place, None),
        };
        let database = database.map(|number| {
            number.parse().map_err(|_| format!("'{number}' behind the / is no database"))
        });
        if host.is_empty() {
            return Err("the URL names no host".to_owned());
        }
        let is_v6_without_port = host.ends_with(']');
        let addr = match host.rsplit_once(':') {
            Some((_, port)) if !is_v6_without_port => {
                port.parse::<u16>().map_err(|_| format!("'{port}' is no port"))?;
                host.to_owned()
            }
            _ => format!("{host}:{port}"),
        };
        let mut server = Server { addr, database: database.transpose()?, ..Server::default() };
        if let Some(credentials) = credentials {
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            server.user = Some(unescape(user)?).filter(|user| !user.is_empty());
            server.password = Some(unescape(password)?).filter(|password| !password.is_empty());
        }
        Ok(server)
    }
}

/// `%40` is `@`, and so on.
fn unescape(text: &str) -> Result<String, String> {
    let bad = || "a % in a URL stands before two hexadecimal digits".to_owned();
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or_else(bad)?;
        let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::{Server, Source};

    fn server(text: &str) -> Server {
        match Source::parse(text) {
            Ok(Source::Server(server)) => server,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn urls_and_files_are_told_apart() {
        assert_eq!(Source::parse("a/dump.rdb"), Ok(Source::File("a/dump.rdb".into())));
        assert_eq!(server("redis://host").addr, "host:6379");
        assert_eq!(server("redis://[::1]").addr, "[::1]:6379");
        let whole = server("redis://me:p%40ss:word@[::1]:7000/3");
        assert_eq!(whole.addr, "[::1]:7000");
        assert_eq!(whole.user.as_deref(), Some("me"));
        assert_eq!(whole.password.as_deref(), Some("p@ss:word"));
        assert_eq!(whole.database, Some(3));
        let no_user = server("redis://:secret@host:1/");
        assert_eq!((no_user.user, no_user.database), (None, None));
        assert_eq!(no_user.password.as_deref(), Some("secret"));
        let node = Server::node("redis://:secret@host").unwrap();
        assert_eq!((&*node.addr, node.password.as_deref()), ("host:7379", Some("secret")));
        assert_eq!(Server::node("[::1]:1").unwrap().addr, "[::1]:1");
        assert!(Server::node("redis://h/3").is_err() && Server::node("s3://h").is_err());
        for bad in
            ["rediss://h", "http://h", "redis://", "redis://h:x", "redis://h/x", "redis://%@h"]
        {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }
}
