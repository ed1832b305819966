//! Exactly once: `SYNOD.IDEM id command …` runs a command, and remembers its reply under the id.
//!
//! ```text
//! no receipt of the id ─▶ the command runs ─▶ its reply, and the receipt: in one operation
//! a receipt ──────────▶ the command it is of? ─┬─▶ its reply, and nothing else
//!                                              └─▶ another: -IDEM
//! ```
//!
//! A receipt is an entry of a database that no client can select, in the shard of the command's first
//! key. So it is locked, prepared, undone, watched, expired and saved as keys are, with no code of
//! its own: whatever makes the command's effect true makes its receipt true.
//!
//! What always holds: a receipt is never removed before its time, for then a retry would run again.
//! A shard that has no room for another takes no new ids.
//!
//! Not recorded: the empty reply of a call whose time to wait was over, and NOSCRIPT. Both say that
//! nothing was done, and that the call may come again.
//!
//! RIFL (SOSP 2015) §3: the record of completion is written in one atomic step with the effect, and
//! moves with the data. Departs from it: ids are the client's, and end by time, not by leases.

use stdx::codec::{Malformed, Reader, put_u64};
use stdx::{Millis, planted};
use wire::resp::is_null;
use wire::{Args, Proto, Reply};

use crate::command::{self, Command, Flags, Keys, Run};
use crate::context::{Context, Scope};
use crate::db::Db;
use crate::limits::{DATABASES, IDEM_BYTES_MAX, IDEM_ID_BYTES_MAX, IDEM_WINDOW};
use crate::reject::Reject;
use crate::shard::{check_call, execute};
use crate::value::Value;

/// The name of the command.
const NAME: &str = "synod.idem";

/// The database of the receipts: behind those that clients can select.
pub const RECEIPTS: u8 = DATABASES as u8;

/// A shard that has no room for a new id.
pub(crate) const FULL: Reject = Reject::text(
    "TRYAGAIN SYNOD.IDEM has no room for a new id until older ones have expired, nothing was \
     executed",
);

/// What is remembered of a call.
#[derive(Debug, PartialEq, Eq)]
struct Receipt<'a> {
    /// Of the database and the command.
    digest: u64,
    proto: Proto,
    reply: &'a [u8],
}

impl Receipt<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + self.reply.len());
        put_u64(&mut out, self.digest);
        out.push(u8::from(self.proto == Proto::Resp3));
        out.extend_from_slice(self.reply);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Receipt<'_>, Malformed> {
        let mut reader = Reader::new(bytes);
        let digest = reader.u64()?;
        let proto = if reader.byte()? == 1 { Proto::Resp3 } else { Proto::Resp2 };
        Ok(Receipt { digest, proto, reply: reader.take(reader.remaining())? })
    }

    /// Gives the reply, if it is one to this call.
    fn give(&self, digest: u64, reply: &mut Reply<'_>) -> Result<(), Reject> {
        if self.digest != digest {
            return Err(Reject::text("IDEM this id belongs to another command"));
        }
        if self.proto != reply.proto() {
            let proto = if self.proto == Proto::Resp3 { 3 } else { 2 };
            return Err(Reject::from(format!(
                "IDEM the first reply to this id was given in RESP{proto}: ask for it in RESP{proto}"
            )));
        }
        reply.raw(self.reply);
        Ok(())
    }
}

/// The id of a call of SYNOD.IDEM, and the call that it wraps.
pub fn unwrap(args: Args<'_>) -> Option<(&[u8], Args<'_>)> {
    (args.len() > 2 && args.is(0, NAME)).then(|| (args.at(1), args.from(2)))
}

/// The call that is wrapped; any other is its own.
pub fn bare(args: Args<'_>) -> Args<'_> {
    unwrap(args).map_or(args, |(_, bare)| bare)
}

/// The row of the call that is wrapped, if it may be: a command on keys, a script, or one that
/// changes nothing.
pub fn check(args: Args<'_>) -> Result<(&'static Command, Args<'_>), Reject> {
    let (id, bare) = unwrap(args).ok_or(Reject::Syntax)?;
    if id.is_empty() || id.len() > IDEM_ID_BYTES_MAX {
        let text = format!("ERR an id of SYNOD.IDEM has 1 to {IDEM_ID_BYTES_MAX} bytes");
        return Err(Reject::from(text));
    }
    let command = check_call(bare)?;
    let fits = match command.run {
        Run::Read(_) | Run::Pure(_) => true,
        Run::Write(_) => !command.name.starts_with("synod.") && !matches!(command.keys, Keys::None),
        Run::Session(_) | Run::Container => false,
    };
    if !fits {
        return Err(Reject::from(format!(
            "ERR SYNOD.IDEM can't run '{}': it takes commands on keys, and scripts",
            command.name
        )));
    }
    Ok((command, bare))
}

/// Where the keys of the wrapped call are.
pub(crate) fn keys(args: Args<'_>) -> Vec<usize> {
    let Some((_, bare)) = unwrap(args) else { return Vec::new() };
    match command::find(bare) {
        Some(command) if command.arity_fits(bare.len()) && command.name != NAME => {
            command.key_positions(bare).into_iter().map(|at| at + 2).collect()
        }
        _ => Vec::new(),
    }
}

/// Runs the wrapped call, unless it has run before.
pub(crate) fn idem(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let (command, bare) = check(args)?;
    if !matches!(command.run, Run::Write(_)) {
        execute(cx, bare, reply);
        return Ok(());
    }
    let (digest, id) = (digest(cx.db, bare), args.at(1));
    if let Some(entry) = cx.entry_in(usize::from(RECEIPTS), id) {
        let Value::Str(bytes) = &entry.value else { unreachable!("a receipt is a string") };
        return Receipt::decode(bytes).expect("a receipt is whole").give(digest, reply);
    }
    if is_full(cx.receipts()) {
        return Err(FULL);
    }
    let mark = reply.mark();
    execute(cx, bare, reply);
    if cx.blocked {
        cx.wrap_waiter(args);
        return Ok(());
    }
    if !is_final(cx, command, bare, reply.since(mark)) {
        return Ok(());
    }
    let receipt = Receipt { digest, proto: reply.proto(), reply: reply.since(mark) };
    let (value, expires) = (Value::string(&receipt.encode()), expiry(cx.now()));
    cx.insert_in(usize::from(RECEIPTS), id, value, expires);
    Ok(())
}

/// Is there no room for another receipt? The last one may be as long as its reply.
pub(crate) fn is_full(receipts: &Db) -> bool {
    receipts.metered_bytes() >= IDEM_BYTES_MAX
}

/// Until when a receipt is kept.
pub(crate) fn expiry(now: Millis) -> Millis {
    let window = if planted!("receipt-ends-early") { 400 } else { IDEM_WINDOW.as_millis() as u64 };
    Millis(now.0.saturating_add(window))
}

/// Does this reply say what became of the call? Not if there was nothing to take until its time was
/// over, or if the script is not known here.
fn is_final(cx: &Context<'_>, command: &Command, bare: Args<'_>, reply: &[u8]) -> bool {
    let waited = command.flags.has(Flags::BLOCKING) && is_null(reply);
    let unknown = reply.starts_with(b"-NOSCRIPT") && cx.shard.scripts.lack(bare);
    !waited && !unknown
}

/// Names a call: the database, and each argument behind its length; a command is the same in any case.
fn digest(db: usize, bare: Args<'_>) -> u64 {
    let mut bytes = vec![db as u8];
    for (at, arg) in bare.iter().enumerate() {
        put_u64(&mut bytes, arg.len() as u64);
        match at {
            0 => bytes.extend(arg.to_ascii_lowercase()),
            _ => bytes.extend_from_slice(arg),
        }
    }
    stdx::hash_bytes(0, &bytes)
}

impl Context<'_> {
    /// The receipts of this shard.
    fn receipts(&self) -> &Db {
        &self.shard.dbs[usize::from(RECEIPTS)]
    }

    /// The call that began to wait is wrapped by this one: that is run again. It waits for its
    /// receipt, too, which another try may get first.
    fn wrap_waiter(&mut self, args: Args<'_>) {
        if self.scope == Scope::Retry {
            return;
        }
        let origin = self.origin.expect("who waits has an origin");
        self.shard.waiters.wrap(origin, args.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Origin;
    use crate::testing::{Client, shown};

    #[test]
    fn a_retry_gets_the_first_reply_and_has_no_second_effect() {
        Client::new().check_all(&[
            ("synod.idem a incr k", ":1\r\n"),
            ("synod.idem a INCR k", ":1\r\n"),
            ("get k", "$1\r\n1\r\n"),
            ("synod.idem b incr k", ":2\r\n"),
            ("synod.idem a incr k", ":1\r\n"),
            ("synod.idem c rpush l x", ":1\r\n"),
            ("synod.idem c rpush l x", ":1\r\n"),
            ("synod.idem d lpop l", "$1\r\nx\r\n"),
            ("synod.idem d lpop l", "$1\r\nx\r\n"),
            ("synod.idem e lpop l", "$-1\r\n"),
            ("rpush l y", ":1\r\n"),
            ("synod.idem e lpop l", "$-1\r\n"),
            ("llen l", ":1\r\n"),
            ("synod.idem f eval \"return redis.call('incr', KEYS[1])\" 1 k", ":3\r\n"),
            ("synod.idem f eval \"return redis.call('incr', KEYS[1])\" 1 k", ":3\r\n"),
        ]);
    }

    #[test]
    fn an_error_is_a_reply_and_kept_as_one() {
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        Client::new().check_all(&[
            ("set k text", "+OK\r\n"),
            ("synod.idem a rpush k x", wrong),
            ("del k", ":1\r\n"),
            ("synod.idem a rpush k x", wrong),
            ("exists k", ":0\r\n"),
        ]);
    }

    #[test]
    fn an_id_belongs_to_one_command_of_one_database() {
        const OTHER: &str = "-IDEM this id belongs to another command\r\n";
        let mut client = Client::new();
        client.check_all(&[
            ("synod.idem a incr k", ":1\r\n"),
            ("synod.idem a incr other", OTHER),
            ("synod.idem a incrby k 1", OTHER),
            ("synod.idem a get k", "$1\r\n1\r\n"),
            ("select 1", "+OK\r\n"),
            ("synod.idem a incr k", OTHER),
            ("select 0", "+OK\r\n"),
            ("synod.idem a incr k", ":1\r\n"),
            ("get k", "$1\r\n1\r\n"),
        ]);
        client.proto = Proto::Resp3;
        client.check(
            "synod.idem a incr k",
            "-IDEM the first reply to this id was given in RESP2: ask for it in RESP2\r\n",
        );
    }

    #[test]
    fn what_cannot_be_run_once_is_refused() {
        let mut client = Client::new();
        for (call, name) in [
            ("multi", "multi"),
            ("exec", "exec"),
            ("publish c m", "publish"),
            ("subscribe c", "subscribe"),
            ("select 1", "select"),
            ("flushall", "flushall"),
            ("script load return", "load"),
            ("synod.idem b incr k", "synod.idem"),
            ("synod.put k -1", "synod.put"),
        ] {
            let text = format!(
                "-ERR SYNOD.IDEM can't run '{name}': it takes commands on keys, and scripts\r\n"
            );
            client.check(&format!("synod.idem a {call}"), &text);
        }
        client.check_all(&[
            ("synod.idem \"\" incr k", "-ERR an id of SYNOD.IDEM has 1 to 256 bytes\r\n"),
            ("synod.idem a incr", "-ERR wrong number of arguments for 'incr' command\r\n"),
            ("synod.idem a", "-ERR wrong number of arguments for 'synod.idem' command\r\n"),
        ]);
        let long = format!("synod.idem {} incr k", "x".repeat(257));
        client.check(&long, "-ERR an id of SYNOD.IDEM has 1 to 256 bytes\r\n");
        let inside = client.run("eval \"return redis.call('synod.idem', 'a', 'incr', 'k')\" 0");
        assert!(inside.contains("not allowed from script"), "{inside}");
    }

    #[test]
    fn receipts_outlive_their_keys_and_snapshots_and_end_with_the_window() {
        let mut client = Client::new();
        client.check_all(&[("synod.idem a incr k", ":1\r\n"), ("flushall", "+OK\r\n")]);
        client.reload();
        client.now += IDEM_WINDOW.as_millis() as u64 - 1;
        client.check_all(&[
            ("synod.idem a incr k", ":1\r\n"),
            ("dbsize", ":0\r\n"),
            ("keys *", "*0\r\n"),
        ]);
        client.now += 1;
        client.check("synod.idem a incr k", ":1\r\n");
        client.check("synod.idem b incr k", ":2\r\n");
        client.now += IDEM_WINDOW.as_millis() as u64;
        client.tick();
        assert!(client.shard.dbs[usize::from(RECEIPTS)].is_empty(), "a tick removes them");
        assert_eq!(client.shard.dbs[usize::from(RECEIPTS)].metered_bytes(), 0);
        assert_eq!(client.shard.expired_keys(), 0, "they are no keys");
    }

    #[test]
    fn a_call_that_waits_is_served_once_whoever_asks() {
        let mut client = Client::new();
        let asks = |client: &mut Client, number, line: &str| {
            client.origin = Some(Origin { node: 1, number });
            let reply = client.run(line);
            client.origin = None;
            reply
        };
        assert_eq!(asks(&mut client, 1, "synod.idem a blpop q 0"), "");
        assert_eq!(asks(&mut client, 2, "synod.idem a blpop q 0"), "");
        assert_eq!(asks(&mut client, 3, "synod.idem a blpop q 5"), "");
        client.reload();
        client.run("rpush q x y");
        let late = std::mem::take(&mut client.effects.late);
        let late: Vec<_> = late.iter().map(|one| (one.origin.number, shown(&one.reply))).collect();
        let got = "*2\r\n$1\r\nq\r\n$1\r\nx\r\n".to_owned();
        let other = "-IDEM this id belongs to another command\r\n".to_owned();
        assert_eq!(late, [(1, got.clone()), (2, got.clone()), (3, other)]);
        assert_eq!(asks(&mut client, 4, "synod.idem a blpop q 0"), shown(got.as_bytes()));
        client.check("lrange q 0 -1", "*1\r\n$1\r\ny\r\n");
        // Nothing came in time: nothing was done, and the call may come again.
        assert_eq!(asks(&mut client, 5, "synod.idem b blpop p 1"), "");
        client.now += 1_000;
        client.tick();
        assert_eq!(shown(&client.effects.late[0].reply), "*-1\r\n");
        client.run("rpush p z");
        client.check("synod.idem b blpop p 1", "*2\r\n$1\r\np\r\n$1\r\nz\r\n");
    }

    #[test]
    fn a_script_that_is_not_known_was_not_run() {
        let digest = "6b1bf486c81ceb7edf3c093f4c48582e38c0e791";
        let once = format!("synod.idem a evalsha {digest} 1 k");
        let mut client = Client::new();
        let missing = client.run(&once);
        assert!(missing.starts_with("-NOSCRIPT"), "{missing}");
        let source = "return redis.call('incr', KEYS[1])";
        let loaded = client.run(&format!("script load \"{source}\""));
        let once = format!("synod.idem a evalsha {} 1 k", loaded.lines().nth(1).unwrap());
        client.run("script flush");
        let missing = client.run(&once);
        assert!(missing.starts_with("-NOSCRIPT"), "{missing}");
        client.check(&format!("synod.idem a eval \"{source}\" 1 k"), ":1\r\n");
    }

    #[test]
    fn a_shard_without_room_takes_no_new_ids_and_keeps_the_old_ones() {
        let mut client = Client::new();
        let most = IDEM_BYTES_MAX;
        client.check("synod.idem a set k v get", "$-1\r\n");
        let value = "x".repeat(most / 4);
        client.call(&[b"set", b"big", value.as_bytes()]);
        for n in 0..4 {
            let id = format!("id{n}");
            let reply = client.call(&[b"synod.idem", id.as_bytes(), b"getex", b"big"]);
            assert!(reply.len() > value.len());
        }
        let full = "-TRYAGAIN SYNOD.IDEM has no room for a new id until older ones have expired, \
                    nothing was executed\r\n";
        client.check("synod.idem new incr n", full);
        client.check_all(&[("exists n", ":0\r\n"), ("synod.idem a set k v get", "$-1\r\n")]);
        client.reload();
        client.check("synod.idem new incr n", full);
        client.now += IDEM_WINDOW.as_millis() as u64;
        client.tick();
        client.check("synod.idem new incr n", ":1\r\n");
    }

    #[test]
    fn any_receipt_comes_back_from_its_bytes() {
        for proto in [Proto::Resp2, Proto::Resp3] {
            let receipt = Receipt { digest: 77, proto, reply: b":1\r\n" };
            assert_eq!(Receipt::decode(&receipt.encode()), Ok(receipt));
        }
        assert!(Receipt::decode(&[0; 8]).is_err());
    }
}
