//! SYNOD.MULTI ROLLBACK: calls of which none is done if one of them fails.
//!
//! The calls run with a journal, as those of a `Prepare` do; if one answers with an error, what was
//! there is put back, and nothing was published.
//!
//! Not here: what a journal does not keep. The session refuses to queue what changes settings,
//! scripts or whole databases.

use wire::{Args, ArgsBuf, Reply};

use crate::context::{Asker, Context, Scope};
use crate::shard::{Effects, Shard, execute};

/// The first of these replies that is an error: its place, and its text without the dash.
pub(super) fn first_error(replies: &[Vec<u8>]) -> Option<(usize, &str)> {
    let errors = replies.iter().enumerate();
    errors.filter_map(|(at, reply)| Some((at, error_text(reply)?))).next()
}

fn error_text(reply: &[u8]) -> Option<&str> {
    let text = reply.strip_prefix(b"-")?.trim_ascii_end();
    // Errors may quote what a client sent, and that need not be text.
    Some(str_prefix(text))
}

fn str_prefix(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// What EXEC answers when the call at this place of its queue failed. What a gateway puts for a
/// client is no call of that client: its error stands alone.
pub fn rolled_back(at: usize, args: Args<'_>, error: &str) -> String {
    const SHOWN_BYTES_MAX: usize = 64;
    if args.is(0, "synod.put") {
        return error.to_owned();
    }
    let shown = |arg: &[u8]| {
        let arg = &arg[..arg.len().min(SHOWN_BYTES_MAX)];
        String::from_utf8_lossy(arg).into_owned()
    };
    let name = shown(args.at(0)).to_uppercase();
    let key = args.get(1).map(|key| format!(" {}", shown(key))).unwrap_or_default();
    let number = at + 1;
    format!("EXECABORT Transaction rolled back because of command {number} ({name}{key}): {error}")
}

impl Shard {
    /// Runs the calls of an EXEC; if one of them fails, it is as if none had run.
    pub(crate) fn exec_or_undo(
        &mut self,
        asker: Asker,
        calls: &[(u8, ArgsBuf)],
        reply: &mut Reply<'_>,
        effects: &mut Effects,
    ) {
        self.dbs.iter_mut().for_each(|db| db.journal_begin());
        let (start, mut inner) = (reply.mark(), Effects::default());
        let mut failure = None;
        reply.array(calls.len());
        let mut cx = Context::write(self, &mut inner, asker);
        cx.scope = Scope::Exec;
        for (at, (db, args)) in calls.iter().enumerate() {
            cx.db = usize::from(*db);
            let mark = reply.mark();
            execute(&mut cx, args.args(), reply);
            if let Some(error) = error_text(reply.since(mark)) {
                failure = Some(rolled_back(at, args.args(), error));
                break;
            }
        }
        match failure {
            Some(failure) => {
                self.take_writes();
                reply.rewind(start);
                reply.error(&failure);
            }
            None => {
                self.dbs.iter_mut().for_each(|db| drop(db.journal_end()));
                effects.publish.append(&mut inner.publish);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::ArgsBuf;

    use crate::testing::{Client, split};

    fn exec(client: &mut Client, lines: &[&str]) -> String {
        let args = |line: &&str| -> ArgsBuf { split(line).iter().map(Vec::as_slice).collect() };
        client.exec_or_undo(lines.iter().map(|line| (0, args(line))).collect())
    }

    #[test]
    fn one_that_fails_undoes_all_and_is_named() {
        let mut client = Client::new();
        client.check_all(&[("set text x px 5000", "+OK\r\n"), ("rpush l 1 2", ":2\r\n")]);
        client.check("config set notify-keyspace-events KEA", "+OK\r\n");
        client.effects.publish.clear();
        let before = client.run("synod.fetch text l");
        let aborted = exec(
            &mut client,
            &["set text y", "lpop l 2", "del l", "set new 1", "flushall", "incr text", "get text"],
        );
        assert_eq!(
            aborted,
            "*7\r\n+OK\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n:0\r\n+OK\r\n+OK\r\n:1\r\n$1\r\n1\r\n"
        );
        client.check_all(&[("set text x px 5000", "+OK\r\n"), ("rpush l 1 2", ":2\r\n")]);
        let before = (before, client.run("synod.fetch text l"));
        client.effects.publish.clear();
        let aborted = exec(&mut client, &["set text y", "del l", "set new 1", "rpush text 1"]);
        let text = "-EXECABORT Transaction rolled back because of command 4 (RPUSH text): WRONGTYPE \
                    Operation against a key holding the wrong kind of value\r\n";
        assert_eq!(aborted, text);
        assert_eq!(client.run("synod.fetch text l"), before.1);
        assert_eq!(client.effects.publish, [], "nothing happened");
        client.check_all(&[("exists new", ":0\r\n"), ("dbsize", ":2\r\n")]);
        client.reload();
        assert_eq!(client.run("synod.fetch text l"), before.1);
    }

    #[test]
    fn a_waiter_is_not_served_by_what_was_undone() {
        let mut client = Client::new();
        client.origin = Some(crate::op::Origin { node: 1, number: 1 });
        client.check("blpop q 0", "");
        client.origin = None;
        let aborted = exec(&mut client, &["rpush q x", "incr q"]);
        assert!(aborted.starts_with("-EXECABORT"), "{aborted}");
        assert!(client.effects.late.is_empty());
        client.check("exists q", ":0\r\n");
        exec(&mut client, &["rpush q y"]);
        assert_eq!(client.effects.late.len(), 1);
    }
}
