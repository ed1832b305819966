//! What happens in the world, and the order in which it does.
//!
//! An event belongs to a node or a client. What was scheduled for an earlier life of a node is void.

use std::cmp::Ordering;

use crate::network::Arrival;

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Message(Arrival),
    /// A node ends a turn of its loop.
    Turn(u32),
    Timer(u32),
    LogDone(u32),
    LogAgain(u32),
    SnapshotDone(u32),
    Seal(u32),
    /// The reign of this node ends, for no good reason.
    EndReign(u32),
    /// A node that handed over is cut off before it knows that it was heard.
    CutOff(u32),
    ToNode {
        node: u32,
        client: usize,
        number: u64,
        bytes: Vec<u8>,
    },
    /// The client's end of a connection is closed.
    Gone {
        node: u32,
        client: usize,
        number: u64,
    },
    ToClient {
        client: usize,
        number: u64,
        bytes: Vec<u8>,
        closes: bool,
    },
    Client(usize),
    Patience {
        client: usize,
        call: u64,
    },
    Start(u32),
    /// A node sees the end of the connection that a peer sends over.
    PeerDown {
        node: u32,
        peer: u32,
    },
    Dial,
    Nemesis,
    /// A cut of the network, of this many, is over.
    Mend(u64),
    Flap {
        victim: u32,
        left: u32,
    },
    DiskHasRoom(u32),
    /// The time of this stage of a script is up.
    Script(u64),
    /// A paused node wakes.
    Wake(u32),
    /// The power of this node fails.
    LosePower(u32),
    /// The wall clock of a node goes back or forth, so often.
    Strobe {
        node: u32,
        left: u32,
    },
    /// The operator looks at the members.
    Operate,
    /// Those that are spared all faults are asked whether they serve.
    Ask,
    /// All faults end.
    Heal,
}

impl What {
    /// The node that it happens to, if it needs one that runs.
    pub(super) fn node(&self) -> Option<u32> {
        match self {
            What::Message(arrival) => Some(arrival.target),
            What::Turn(node)
            | What::Timer(node)
            | What::LogDone(node)
            | What::LogAgain(node)
            | What::SnapshotDone(node)
            | What::Seal(node)
            | What::EndReign(node)
            | What::CutOff(node)
            | What::LosePower(node)
            | What::ToNode { node, .. }
            | What::PeerDown { node, .. }
            | What::Gone { node, .. } => Some(*node),
            _ => None,
        }
    }
}

/// Something that will happen. `life`: only to this life of its node.
pub(super) struct Scheduled {
    pub(super) at: u64,
    pub(super) sequence: u64,
    pub(super) life: u64,
    pub(super) what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}
