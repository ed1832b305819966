//! Whose turn it is to take a snapshot: the groups of a node grow alike, so that all of them come to one
//! at the same time. Together they would take a busy node's processor and disk for a second or two; one
//! after the other, and each with rests (`server`), its clients hardly notice. One that somebody waits for
//! comes first, and the one before it goes as fast as that would.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::Core;
use crate::effects::{Effects, Pace};
use crate::group::Group;
use crate::message::GroupId;
use crate::request::Moment;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: VecDeque<GroupId>,
    /// Mostly one.
    saving: Vec<GroupId>,
}

impl Core {
    /// Begins the snapshot whose turn it is, if one is due, and makes the next part of what is under way.
    pub(super) fn take_snapshots(&mut self, moment: Moment, out: &mut Effects) {
        let Core { seats, turns, .. } = self;
        seats.each_awake(|seat| {
            if seat.member_mut().is_some_and(|member| member.asks_to_save(moment.now)) {
                turns.waiting.push_back(seat.id());
            }
        });
        if self.turns.waiting.is_empty() && self.turns.saving.is_empty() {
            return;
        }
        let Turns { mut waiting, mut saving } = std::mem::take(&mut self.turns);
        saving.retain(|group| self.has_member(*group, Group::is_saving));
        loop {
            let must_save = |group: &GroupId| self.has_member(*group, Group::must_save);
            let next = match saving.is_empty() {
                true => {
                    (0..waiting.len()).max_by_key(|at| (self.wanted(waiting[*at]), Reverse(*at)))
                }
                false => waiting.iter().position(must_save),
            };
            let Some(group) = next.and_then(|next| waiting.remove(next)) else { break };
            if self.member_mut(group).is_some_and(|member| member.begin_snapshot(out)) {
                saving.push(group);
            }
        }
        for group in &saving {
            // Mostly the last part is on its way to the disk.
            if !self.has_member(*group, Group::is_busy) {
                continue;
            }
            let groups = self.replicas().count() as u64;
            let next = waiting.iter().filter_map(|group| self.wanted(*group)).max();
            if let Some(member) = self.member_mut(*group) {
                member.step_snapshot(groups, next, out);
            }
        }
        self.turns = Turns { waiting, saving };
    }

    /// If somebody waits for a snapshot of the group that is to come: how fast it is to be.
    fn wanted(&self, group: GroupId) -> Option<Pace> {
        self.member(group).and_then(Group::wanted_snapshot)
    }

    fn has_member(&self, group: GroupId, is: impl Fn(&Group) -> bool) -> bool {
        self.member(group).is_some_and(is)
    }
}
