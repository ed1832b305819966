//! SYNOD.BACKUP: what this node keeps of the shards that it led at the point of a backup.
//!
//! BEGIN goes through the log of every shard and is no command of the session; docs/backup.md has the
//! way of a reader.

use keyspace::Reject;
use keyspace::number::integer;
use node::{BackupPart, GroupId, Moment};
use wire::Args;

use crate::front::{Flow, Front};

impl Front {
    pub(super) fn run_backup(
        &mut self,
        moment: Moment,
        key: usize,
        word: &str,
        args: Args<'_>,
    ) -> Flow {
        match word {
            "list" => self.list_backups(key),
            "read" => {
                let read = self.read_backup(moment, args);
                self.answer(key, |reply| {
                    let BackupPart { data, last } = read?;
                    reply.array(2);
                    reply.int(i64::from(last));
                    reply.bulk(&data);
                    Ok(())
                })
            }
            _ => {
                self.core.members_mut().for_each(|group| group.end_backup(&args[2]));
                self.done(key, Ok(()))
            }
        }
    }

    /// For each shard that is kept here: the name of the backup, the shard, bytes read.
    fn list_backups(&mut self, key: usize) -> Flow {
        let kept = |group: &node::Group| {
            let (id, read) = group.backup()?;
            Some((id.to_vec(), group.id().0 as usize, read))
        };
        let all: Vec<_> = self.core.members().filter_map(kept).collect();
        self.answer(key, |reply| {
            reply.array(all.len());
            for (id, shard, read) in &all {
                reply.array(3);
                reply.bulk(id);
                reply.count(*shard);
                reply.int(*read as i64);
            }
            Ok(())
        })
    }

    /// `SYNOD.BACKUP READ id shard offset`
    fn read_backup(&mut self, moment: Moment, args: Args<'_>) -> Result<BackupPart, Reject> {
        let (shard, offset) = (integer(&args[3])?, integer(&args[4])?);
        let shard =
            u32::try_from(shard).ok().filter(|at| (*at as usize) < self.core.shards().count());
        let shard = shard.ok_or(Reject::text("ERR there is no such shard"))?;
        let group = self.core.member_mut(GroupId(shard));
        let group = group.ok_or(Reject::text("NOBACKUP there is no replica of this shard here"))?;
        let offset = u64::try_from(offset).map_err(|_| Reject::NotInteger)?;
        group.read_backup(moment.now, &args[2], offset).map_err(|why| {
            let id = String::from_utf8_lossy(&args[2]);
            Reject::from(format!("NOBACKUP nothing of '{id}' for shard {shard} here: {why}"))
        })
    }
}
