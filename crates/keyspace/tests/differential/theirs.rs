//! Their side: a redis-server that this test starts in a folder of its own, on a Unix socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use wire::Proto;
use wire::resp::{Decoder, ReplyLimits, Value, encode_call};

use crate::grammar::Call;

/// How long a reply may take, on a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    /// Read no more, but kept open: the server writes to it.
    _log: BufReader<ChildStdout>,
}

impl Server {
    /// Starts one; nothing if none is installed.
    pub(crate) fn start() -> Option<Server> {
        let name = format!("synod-differential-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        let socket = folder.join("socket");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no"]);
        command.args(["--enable-debug-command", "local", "--hz", "500"]);
        command.arg("--dir").arg(&folder).arg("--unixsocket").arg(&socket);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().ok()?;
        let mut log = BufReader::new(child.stdout.take().expect("its output is piped"));
        let (mut line, mut heard) = (String::new(), String::new());
        while !line.contains("Ready to accept connections") && !line.contains("ready to accept") {
            line.clear();
            let read = log.read_line(&mut line).expect("its output is text");
            assert!(read > 0, "redis-server ended: {heard}");
            heard.push_str(&line);
        }
        Some(Server { child, folder, _log: log })
    }

    /// A connection.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.folder.join("socket"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What fails here leaves a process or a folder behind, but says nothing about the keyspace.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

/// A client's connection.
pub(crate) struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Connection {
    fn open(socket: &Path) -> Connection {
        let stream = UnixStream::connect(socket).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
        Connection { stream, buffer: Vec::new(), start: 0 }
    }

    /// Sends calls in one go.
    pub(crate) fn send<'a>(&mut self, calls: impl Iterator<Item = &'a Call>) {
        let mut out = Vec::new();
        for call in calls {
            let words: Vec<&[u8]> = call.iter().map(Vec::as_slice).collect();
            encode_call(&mut out, &words);
        }
        self.stream.write_all(&out).expect("the server reads");
    }

    /// The bytes of the next reply.
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        let mut decoder = Decoder::new(ReplyLimits::default());
        loop {
            if let Some((_, len)) = decoder.decode(&self.buffer[self.start..]).expect("RESP") {
                let reply = self.buffer[self.start..self.start + len].to_vec();
                self.start += len;
                return reply;
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let mut chunk = [0; 64 * 1024];
            let read = self.stream.read(&mut chunk).expect("a reply in time");
            assert!(read > 0, "Redis has closed the connection");
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }

    /// The reply to one call, as a value.
    pub(crate) fn ask(&mut self, line: &str) -> Value {
        let call: Call = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        self.send(std::iter::once(&call));
        let reply = self.reply();
        let (value, _) = Decoder::new(ReplyLimits::default())
            .decode(&reply)
            .expect("RESP")
            .expect("it is whole");
        assert!(!matches!(value, Value::Error(_)), "{line}: {value:?}");
        value
    }

    /// Everything as on the first day, but the time, which is returned in milliseconds.
    pub(crate) fn begin(&mut self, proto: Proto, settings: &[&str]) -> u64 {
        let mut lines = vec!["reset", "flushall", "script flush", "function flush"];
        lines.extend(settings);
        lines.push(if proto == Proto::Resp3 { "hello 3" } else { "hello 2" });
        let split = |line: &&str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let calls: Vec<Call> = lines.iter().map(split).collect();
        self.send(calls.iter());
        for line in lines {
            let reply = self.reply();
            assert_ne!(reply.first(), Some(&b'-'), "{line}: {}", reply.escape_ascii());
        }
        let Value::Array(parts) = self.ask("time") else { panic!("TIME is an array") };
        let number = |at: usize| match &parts[at] {
            Value::Bulk(text) => {
                String::from_utf8_lossy(text).parse::<u64>().expect("TIME has numbers")
            }
            other => panic!("TIME has {other:?}"),
        };
        number(0) * 1_000 + number(1) / 1_000
    }
}
