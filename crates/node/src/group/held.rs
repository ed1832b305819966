//! Reads whose turn has come and that met a key which a transaction over several shards has locked, when what
//! their clients sent behind them may be in the log already. They wait in the shard, on this replica alone, and
//! run at their places among the calls that wait there: from a state that is later than they are, behind what
//! their clients have sent before and before what they have sent behind.
//!
//! A read that may meet a lock when it comes goes through the log instead, and waits there.

use std::collections::BTreeMap;

use keyspace::Asker;
use keyspace::op;
use stdx::codec::Reader;
use stdx::{Instant, mark};
use wire::Args;

use super::Group;
use crate::batch::Request;
use crate::effects::Effects;
use crate::request::{FULL, Moment, NO_LEADER, UNKNOWN, Who};

/// Who waits for them, by their numbers in the shard, and since when.
#[derive(Debug, Default)]
pub(super) struct HeldReads(BTreeMap<u64, (Request, Instant)>);

impl HeldReads {
    /// Does a client of this node wait for one?
    pub(super) fn are_owed(&self) -> bool {
        self.0.values().any(|(request, _)| matches!(request.who, Who::Client(_)))
    }
}

impl Group {
    /// A read that met a locked key waits. False if too many do.
    pub(super) fn hold(
        &mut self,
        moment: Moment,
        request: Request,
        asker: Asker,
        args: Args<'_>,
    ) -> bool {
        let number = self.number();
        let holds = self.shard.hold(number, asker, args);
        if holds {
            mark!("a read waits for a transaction");
            self.held.0.insert(number, (request, moment.now));
        }
        holds
    }

    /// The same, of a read that had waited for its turn.
    pub(super) fn hold_op(
        &mut self,
        moment: Moment,
        request: Request,
        op: &[u8],
        out: &mut Effects,
    ) {
        let (mut reader, mut spans) = (Reader::new(op), Vec::new());
        let head = op::read_head(&mut reader).expect("a read was checked when it came");
        let db = op::read_call(&mut reader, &mut spans).expect("a read was checked when it came");
        let asker = Asker { db: usize::from(db), proto: head.proto, origin: None };
        if !self.hold(moment, request, asker, Args::new(op, &spans)) {
            self.answer(request, FULL, out);
        }
    }

    /// Answers those that the shard has run.
    pub(super) fn answer_held(&mut self, out: &mut Effects) {
        for (number, reply) in std::mem::take(&mut self.shard_fx.reads) {
            if let Some((request, _)) = self.held.0.remove(&number) {
                self.answer(request, &reply, out);
            }
        }
    }

    /// What waits in the shard for a transaction, and will not be heard of here any more.
    pub(crate) fn give_up_parked(&mut self, out: &mut Effects) {
        self.give_up_held(Instant::FAR, out);
        for origin in self.shard.parked_origins() {
            if let Some(ticket) = self.waits.remove(&origin) {
                out.replies.put(ticket, UNKNOWN);
            }
        }
    }

    /// Those that wait since before this time are not executed.
    pub(super) fn give_up_held(&mut self, oldest: Instant, out: &mut Effects) {
        let late = |_: &u64, (_, since): &mut (Request, Instant)| *since < oldest;
        let late: Vec<_> = self.held.0.extract_if(.., late).collect();
        late.into_iter().for_each(|(_, (request, _))| self.answer(request, NO_LEADER, out));
    }
}
