//! SYNOD.NODE and SYNOD.REBALANCE: who the nodes are, and what they are to hold.
//!
//! A change is agreed on by the map's group before it is answered. What follows from it, the leaders
//! do by themselves; LIST and STATUS show how far they are.

use consensus::NodeId;
use hashring::{Move, Zone, plan};
use keyspace::Reject;
use keyspace::number::parse_i64;
use node::map::Refusal;
use node::{Change, GroupId, Map, Moment, Part, Standing};
use wire::{Args, Reply};

use crate::front::client::Purpose;
use crate::front::{Flow, Front};

impl Front {
    pub(super) fn run_node(
        &mut self,
        moment: Moment,
        key: usize,
        word: &str,
        args: Args<'_>,
    ) -> Flow {
        if word == "list" {
            return self.list_nodes(moment, key);
        }
        let change = match word {
            "add" => invite(args),
            "drain" => node_of(args).map(|node| Change::Drain { node }),
            "keep" => node_of(args).map(|node| Change::Keep { node }),
            "set" => self.set(args),
            _ => self.removal(moment, args),
        };
        self.change(moment, key, change)
    }

    pub(super) fn run_rebalance(&mut self, moment: Moment, key: usize, args: Args<'_>) -> Flow {
        if args.len() == 2 && args.is(1, "status") {
            return self.rebalance_status(moment, key);
        }
        let dry = args.len() > 1 && args.is(1, "dryrun");
        let replicas = match args.from(1 + usize::from(dry)) {
            rest if rest.is_empty() => Ok(None),
            rest if rest.len() == 2 && rest.is(0, "replicas") => number(&rest[1]).map(Some),
            _ => Err(Reject::Syntax),
        };
        let change = replicas.map(|replicas| Change::Rebalance { replicas });
        if dry { self.dry_run(key, change) } else { self.change(moment, key, change) }
    }

    /// Brings a change through the map's group.
    fn change(&mut self, moment: Moment, key: usize, change: Result<Change, Reject>) -> Flow {
        let change = match change {
            Ok(_) if self.executes => {
                return self.done(key, Err(Reject::text("ERR the map can't be changed in MULTI")));
            }
            Ok(change) => change,
            Err(reject) => return self.done(key, Err(reject)),
        };
        let client = self.client(key);
        let ticket = client.next_ticket();
        client.owe(Purpose::Reply);
        client.held = true;
        self.core.change(moment, Some(ticket), change);
        Flow::Next
    }

    fn set(&self, args: Args<'_>) -> Result<Change, Reject> {
        let node = node_of(args)?;
        let known = self
            .core
            .map()
            .members()
            .get(&node)
            .ok_or_else(|| Reject::from(format!("ERR {}", Refusal::Unknown(node))))?;
        let defaults = Options { weight: known.weight, zone: known.zone.clone(), replaces: None };
        let Options { weight, zone, .. } = options(args.from(3), defaults, false)?;
        Ok(Change::Set { node, weight, zone })
    }

    /// The map does not know who still holds what; the leaders do.
    fn removal(&self, moment: Moment, args: Args<'_>) -> Result<Change, Reject> {
        let node = node_of(args)?;
        let invited = self.core.map().members().get(&node);
        let came = invited.is_some_and(|member| member.standing != Standing::Invited);
        let parts: Vec<Part> = self.core.all_parts(moment.now).collect();
        if came && !parts.iter().all(|part| part.is_told) {
            return Err(Reject::text(
                "TRYAGAIN a shard has no leader that this node knows, so it is not known who holds it",
            ));
        }
        let replicas = parts.iter().filter(|part| part.members.contains(&node)).count();
        if came && replicas > 0 {
            return Err(Reject::from(format!("ERR {}", Refusal::Holds { node, replicas })));
        }
        Ok(Change::Remove { node })
    }

    fn list_nodes(&mut self, moment: Moment, key: usize) -> Flow {
        let map = self.core.map().clone();
        let parts: Vec<Part> = self.core.all_parts(moment.now).collect();
        let nodes = self.core.nodes(moment.now);
        self.answer(key, |reply| {
            reply.array(map.members().len());
            for (id, member) in map.members() {
                let alive = nodes.iter().any(|(node, _, alive)| node == id && *alive);
                let holds = parts.iter().filter(|part| part.members.contains(id)).count();
                let shards = || parts.iter().filter(|part| part.group != GroupId::META);
                let leads = shards().filter(|part| part.leader == Some(*id)).count();
                let numbers = [
                    ("id", id.0 as usize),
                    ("weight", member.weight as usize),
                    ("replicas", holds),
                    ("wanted", map.load_of(*id)),
                    ("leads", leads),
                ];
                reply.map(numbers.len() + 4);
                for (field, value) in numbers {
                    reply.bulk(field.as_bytes());
                    reply.count(value);
                }
                let standing = member.standing.to_string();
                let alive = if alive { "alive" } else { "down" };
                let texts = [
                    ("addr", member.addr.as_str()),
                    ("zone", member.zone.as_str()),
                    ("standing", standing.as_str()),
                    ("state", alive),
                ];
                for (field, value) in texts {
                    reply.bulk(field.as_bytes());
                    reply.bulk(value.as_bytes());
                }
            }
            Ok(())
        })
    }

    /// What is not yet where the map wants it.
    fn rebalance_status(&mut self, moment: Moment, key: usize) -> Flow {
        let map = self.core.map().clone();
        let parts: Vec<Part> = self.core.all_parts(moment.now).collect();
        let lacking = |part: &Part| {
            let wanted = map.wanted_in(part.group);
            wanted.iter().filter(|node| !part.members.contains(node)).count()
        };
        let extra = |part: &Part| {
            let wanted = map.wanted_in(part.group);
            part.members.iter().filter(|node| !wanted.contains(node)).count()
        };
        // One whose leader nobody here has heard may be anywhere.
        let settled = |part: &&Part| part.is_told && part.members == map.wanted_in(part.group);
        let unsettled = parts.iter().filter(|part| !settled(part));
        let bytes: u64 = parts.iter().map(|part| part.bytes * lacking(part) as u64).sum();
        let numbers = [
            ("map", map.version()),
            ("replicas-each", map.wanted().replicas() as u64),
            ("groups", parts.len() as u64),
            ("groups-to-settle", unsettled.count() as u64),
            ("replicas-to-add", parts.iter().map(lacking).sum::<usize>() as u64),
            ("replicas-to-remove", parts.iter().map(extra).sum::<usize>() as u64),
            ("bytes-to-copy", bytes),
        ];
        self.answer(key, |reply| {
            reply.map(numbers.len());
            for (field, value) in numbers {
                reply.bulk(field.as_bytes());
                reply.int(value as i64);
            }
            Ok(())
        })
    }

    /// The moves that the change would lead to: shard, from, to; 0 where there is none.
    fn dry_run(&mut self, key: usize, change: Result<Change, Reject>) -> Flow {
        let map = self.core.map().clone();
        let moves = change.and_then(|change| moves(&map, &change));
        self.answer(key, |reply| {
            let moves = moves?;
            reply.array(moves.len());
            moves.iter().for_each(|one| put_move(reply, one));
            Ok(())
        })
    }
}

fn moves(map: &Map, change: &Change) -> Result<Vec<Move>, Reject> {
    let after = match map.changed(change) {
        Err(Refusal::Nothing(_)) => return Ok(Vec::new()),
        other => other.map_err(|refusal| Reject::from(format!("ERR {refusal}")))?,
    };
    plan(map.wanted(), after.wanted()).map_err(|error| Reject::from(format!("ERR {error}")))
}

fn put_move(reply: &mut Reply<'_>, one: &Move) {
    let number = |node: Option<hashring::NodeId>| node.map_or(0, |node| i64::from(node.0));
    reply.map(3);
    let numbers =
        [("shard", i64::from(one.shard.0)), ("from", number(one.remove)), ("to", number(one.add))];
    for (field, value) in numbers {
        reply.bulk(field.as_bytes());
        reply.int(value);
    }
}

/// What may be said of a node.
struct Options {
    weight: u32,
    zone: Zone,
    replaces: Option<NodeId>,
}

fn number(arg: &[u8]) -> Result<u32, Reject> {
    parse_i64(arg).and_then(|number| u32::try_from(number).ok()).ok_or(Reject::NotInteger)
}

fn node_of(args: Args<'_>) -> Result<NodeId, Reject> {
    number(&args[2]).map(NodeId)
}

fn options(args: Args<'_>, mut options: Options, may_replace: bool) -> Result<Options, Reject> {
    if args.len() % 2 == 1 {
        return Err(Reject::Syntax);
    }
    for at in (0..args.len()).step_by(2) {
        let value = &args[at + 1];
        if args.is(at, "weight") {
            options.weight = number(value)?;
        } else if args.is(at, "zone") {
            let zone = Zone::new(&String::from_utf8_lossy(value));
            options.zone = zone.map_err(|error| Reject::from(format!("ERR {error}")))?;
        } else if args.is(at, "replaces") && may_replace {
            options.replaces = Some(NodeId(number(value)?));
        } else {
            return Err(Reject::Syntax);
        }
    }
    Ok(options)
}

fn invite(args: Args<'_>) -> Result<Change, Reject> {
    let defaults = Options { weight: 1, zone: Zone::default(), replaces: None };
    let Options { weight, zone, replaces } = options(args.from(3), defaults, true)?;
    let addr = String::from_utf8_lossy(&args[2]).into_owned();
    Ok(Change::Invite { addr, weight, zone, replaces })
}

#[cfg(test)]
mod tests {
    use crate::front::testing::Stage;

    #[test]
    fn a_node_is_invited_set_and_forgotten_and_each_change_has_a_version() {
        let mut stage = Stage::sharded(4);
        let client = stage.open();
        stage.check_all(&[
            (client, "synod.node add 127.0.0.1:2 weight 3 zone b", ":2\r\n"),
            (client, "synod.node set 2 weight 1", ":3\r\n"),
            (
                client,
                "synod.node add 127.0.0.1:2",
                "-ERR 127.0.0.1:2 is the address of node 2 already\r\n",
            ),
            (
                client,
                "synod.node add nowhere",
                "-ERR \"nowhere\" is no address of a node: \
                host:port, 259 bytes at most\r\n",
            ),
            (client, "synod.node add 127.0.0.1:3 weight", "-ERR syntax error\r\n"),
            (
                client,
                "synod.node add 127.0.0.1:3 zone ?",
                "-ERR \"?\" is no name of a zone: 1 to \
                64 letters, digits, '-', '_', '.', ':' or '/'\r\n",
            ),
            (
                client,
                "synod.node drain 1",
                "-ERR it is the only node that is left to hold \
                anything\r\n",
            ),
            (
                client,
                "synod.node remove 1",
                "-ERR node 1 still holds 5 replicas: drain it first, \
                and wait until it is empty\r\n",
            ),
            (client, "synod.node drain 7", "-ERR there is no node 7\r\n"),
            (client, "synod.rebalance dryrun", "*0\r\n"),
            (client, "synod.rebalance", "-ERR everything is where it ought to be\r\n"),
            (
                client,
                "synod.rebalance replicas 2",
                "-ERR 2 replicas of a shard need as many \
                nodes, and there are 1\r\n",
            ),
            (client, "synod.node remove 2", ":4\r\n"),
        ]);
        let told = stage.say(client, "synod.rebalance status");
        assert!(told.contains("map\r\n:4\r\n") && told.contains("groups-to-settle\r\n:0\r\n"));
        assert!(stage.say(client, "synod.node list").contains("127.0.0.1:1"));
        stage.say(client, "multi");
        stage.say(client, "synod.node drain 1");
        let told = stage.say(client, "exec");
        assert_eq!(told, "*1\r\n-ERR the map can't be changed in MULTI\r\n");
    }
}
