//! The placement that a ring asks for, made from the one that is there.
//!
//! The picture: every node has a lowest and a highest number of replicas, its fair share rounded
//! down and up. Four steps:
//!
//! 1. *Keep* what is there, but for nodes that left and for replicas that are too many.
//! 2. *Fill* each shard that lacks replicas: clockwise from it, the first node in a zone that has
//!    room for one, if the node is below its lowest number; else the first that is below its highest
//!    (the bounded load of Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded
//!    Loads", SODA 2018, with no slack at all); else a chain of hand-overs makes room.
//! 3. *Level*: who is above the highest number hands over, who is below the lowest is handed to. It
//!    is the shard that meets the taker soonest on its way round the circle that changes hands.
//! 4. *Save*: if that took more than loads alone would have it, rounds of hand-overs that bring
//!    replicas back to where they were, until there are none (`savings`). No plan to a placement
//!    within these bounds then moves fewer replicas.
//!
//! So a node that comes gets its fair share and nothing else moves; what a node that goes held is
//! shared by the rest, and nothing else moves. Only where weights and zones leave no direct way does
//! it take more; and if it would take more than [`MOVES_PERCENT_MAX`], the two numbers are made
//! [`SLACK_PERCENT`] wider. What is within the wider numbers is left alone.
//!
//! Always, after it: each node within its two numbers, each shard with all its replicas, on nodes
//! of the ring, none twice, no zone over its limit. `share` says why that can always be had.
//!
//! Not here: how full nodes are in bytes. Cost: `shards × nodes` for the walks round the circle, and
//! for each hand-over `replicas of a node × nodes`.

use crate::chain::{Handover, Walk};
use crate::draft::Draft;
use crate::limits::{MOVES_PERCENT_MAX, SLACK_PERCENT};
use crate::{Error, Placement, Ring};

impl Placement {
    /// What `current` should become with these nodes.
    pub fn target(ring: &Ring, current: &Placement) -> Result<Placement, Error> {
        let loose = Draft::new(ring, current, SLACK_PERCENT)?;
        if loose.is_done() {
            return Ok(current.clone());
        }
        let mut even = Draft::new(ring, current, 0)?;
        let least = even.settle();
        if even.moves() * 100 <= least * MOVES_PERCENT_MAX {
            return even.placement(current);
        }
        let mut uneven = loose;
        uneven.settle();
        if uneven.moves() < even.moves() { uneven } else { even }.placement(current)
    }

    /// How many replicas must be given to a node, at the least, to get from `current` to a placement
    /// in which each shard has all replicas and each node its fair share, rounded down or up. It
    /// counts what nodes have too much or too little and takes no heed of zones, so even the best of
    /// plans may need more.
    pub fn least_moves(ring: &Ring, current: &Placement) -> Result<usize, Error> {
        Ok(Draft::new(ring, current, 0)?.least())
    }
}

impl Draft {
    /// Is everything as it should be?
    fn is_done(&self) -> bool {
        let within = |node: usize| (self.low[node]..=self.high[node]).contains(&self.load(node));
        let whole = |shard: usize| {
            let fits =
                |node: &usize| self.in_zone(shard, self.zone[*node], None) <= self.zone_limit;
            self.holders[shard].len() == self.replicas && self.holders[shard].iter().all(fits)
        };
        self.left == 0 && (0..self.ids.len()).all(within) && (0..self.holders.len()).all(whole)
    }

    /// Takes the steps, and returns how many moves loads alone would have.
    fn settle(&mut self) -> usize {
        let least = self.least();
        for shard in 0..self.holders.len() {
            self.fill(shard);
        }
        self.level();
        if self.moves() > least {
            self.save();
        }
        self.check();
        least
    }

    fn placement(&self, current: &Placement) -> Result<Placement, Error> {
        let ids = |set: &Vec<usize>| set.iter().map(|node| self.ids[*node]).collect();
        let sets = self.holders.iter().map(ids).collect();
        Placement::of_sets(current.shards(), current.replicas(), sets)
    }

    /// Drops what is too much, and says how many replicas must come at the least: those that lack
    /// and those that nodes have too many of, or else those that nodes have too few of.
    fn least(&mut self) -> usize {
        let nodes = 0..self.ids.len();
        let above = nodes.clone().map(|node| self.load(node).saturating_sub(self.high[node]));
        let below = nodes.map(|node| self.low[node].saturating_sub(self.load(node)));
        let (above, below) = (above.sum::<usize>(), below.sum::<usize>());
        let all = |draft: &Draft| draft.holders.iter().map(Vec::len).sum::<usize>();
        let before = all(self);
        self.drop_excess();
        let dropped = before - all(self);
        let lacking = self.holders.len() * self.replicas - all(self);
        below.max(lacking + above.saturating_sub(dropped))
    }

    /// Drops replicas of zones over their limit and of shards with too many: of those that may go,
    /// the one whose node has most above its fair share.
    fn drop_excess(&mut self) {
        for shard in 0..self.holders.len() {
            loop {
                let many = self.holders[shard].len() > self.replicas;
                let crowded = |zone| self.in_zone(shard, zone, None) > self.zone_limit;
                let set = self.holders[shard].iter().copied();
                let over: Vec<usize> =
                    set.clone().filter(|node| crowded(self.zone[*node])).collect();
                let most = |node: &usize| {
                    let above = self.load(*node) as isize - self.high[*node] as isize;
                    (above, self.rank[shard][*node])
                };
                let gone = match over.into_iter().max_by_key(most) {
                    Some(node) => node,
                    None if many => set.max_by_key(most).expect("too many are some"),
                    None => break,
                };
                self.take(shard, gone);
            }
        }
    }

    /// Gives a shard all its replicas.
    fn fill(&mut self, shard: usize) {
        if self.holders[shard].len() == self.replicas {
            return;
        }
        let mut order: Vec<usize> = (0..self.ids.len()).collect();
        order.sort_unstable_by_key(|node| self.rank[shard][*node]);
        while self.holders[shard].len() < self.replicas {
            let fits = |node: &usize| self.fits(shard, *node, None);
            let able: Vec<usize> = order.iter().copied().filter(fits).collect();
            let wants = able.iter().copied().find(|node| self.load(*node) < self.low[*node]);
            let start = wants.unwrap_or_else(|| {
                let has_room = |node: usize| self.load(node) < self.high[node];
                let end = self.chain(&able, has_room);
                let (chain, start) = end.expect("shares are such that all replicas find room");
                self.hand_over(&chain);
                start
            });
            self.put(shard, start);
        }
    }

    /// Brings every node within its two numbers.
    fn level(&mut self) {
        let above = |draft: &Draft, node: usize| draft.load(node) as isize;
        loop {
            let surplus = |node: &usize| above(self, *node) - self.high[*node] as isize;
            let fullest = (0..self.ids.len()).max_by_key(surplus);
            let Some(node) = fullest.filter(|node| surplus(node) > 0) else { break };
            let wants = |node: usize| self.load(node) < self.low[node];
            let has_room = |node: usize| self.load(node) < self.high[node];
            let end = self.chain(&[node], wants).or_else(|| self.chain(&[node], has_room));
            let (chain, _) = end.expect("shares are such that someone has room");
            self.hand_over(&chain);
        }
        loop {
            let lack = |node: &usize| self.low[*node] as isize - above(self, *node);
            let emptiest = (0..self.ids.len()).max_by_key(lack);
            let Some(taker) = emptiest.filter(|node| lack(node) > 0) else { break };
            let mut givers: Vec<usize> = (0..self.ids.len()).filter(|n| lack(n) < 0).collect();
            givers.sort_by_key(lack);
            let end = self.chain(&givers, |node| node == taker);
            let (chain, _) = end.expect("shares are such that someone can spare one");
            self.hand_over(&chain);
        }
    }

    /// The shortest chain from one of `starts` to a node that `ends` it, and where it starts.
    fn chain(
        &self,
        starts: &[usize],
        ends: impl Fn(usize) -> bool,
    ) -> Option<(Vec<Handover>, usize)> {
        let hops = |node, found: &mut Vec<Handover>| self.hops(node, found);
        let (walk, end) = Walk::new(self.ids.len(), starts, hops, ends);
        end.map(|end| walk.chain(end))
    }
}
