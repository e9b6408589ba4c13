//! Which requests of a command share a transaction of their Safe. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{cli::cells::text, review::TOGETHER_MAX};

/// How a request is put to its Safe at the moment.
pub struct Proposed {
    id: String,
    /// Those that its transaction is for.
    with: BTreeSet<String>,
    signed: bool,
}

impl Proposed {
    pub fn read(id: String, proposal: &Value) -> Self {
        let list = |name: &str| proposal[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let with = list("requests").iter().map(|one| text(one, "/id")).collect();
        Self { id, with, signed: !list("confirmations").is_empty() }
    }
}

/// Which requests are in one transaction, and which are to be put into one.
#[derive(Debug, PartialEq, Eq)]
pub struct Grouping {
    pub standing: Vec<Vec<String>>,
    pub fresh: Vec<Vec<String>>,
}

impl Grouping {
    /// What somebody has signed, or put together with requests of others, stays as it is.
    pub fn of(proposed: &[Proposed]) -> Self {
        let ours: BTreeSet<String> = proposed.iter().map(|one| one.id.clone()).collect();
        let stays = |one: &&Proposed| one.signed || !one.with.is_subset(&ours);
        let (stay, free): (Vec<&Proposed>, Vec<&Proposed>) = proposed.iter().partition(stays);
        let (mut standing, mut fresh) = (BTreeSet::new(), vec![]);
        standing.extend(stay.iter().map(|one| &one.with).filter(|with| with.len() > 1));
        for chunk in free.chunks(TOGETHER_MAX).filter(|chunk| chunk.len() > 1) {
            let wanted: BTreeSet<String> = chunk.iter().map(|one| one.id.clone()).collect();
            if chunk.iter().all(|one| one.with == wanted) {
                standing.insert(&chunk[0].with);
            } else {
                fresh.push(chunk.iter().map(|one| one.id.clone()).collect());
            }
        }
        let standing = standing.into_iter().map(|with| with.iter().cloned().collect()).collect();
        Self { standing, fresh }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(id: &str, with: &[&str], signed: bool) -> Proposed {
        let with = with.iter().map(|id| (*id).to_owned()).collect();
        Proposed { id: id.into(), with, signed }
    }

    #[test]
    fn what_is_signed_or_together_with_others_stays_as_it_is() {
        let grouped = |proposed: &[Proposed]| {
            let Grouping { standing, fresh } = Grouping::of(proposed);
            let told = |groups: Vec<Vec<String>>| -> Vec<String> {
                groups.iter().map(|group| group.concat()).collect()
            };
            (told(standing), told(fresh))
        };
        let none = Vec::<String>::new;
        let alone = |id| proposed(id, &[id], false);
        assert_eq!(grouped(&[alone("a")]), (none(), none()));
        assert_eq!(grouped(&[alone("a"), alone("b")]), (none(), vec!["ab".into()]));
        let together = [proposed("a", &["a", "b"], false), proposed("b", &["a", "b"], false)];
        assert_eq!(
            grouped(&together),
            (vec!["ab".into()], none()),
            "the same again is nothing new"
        );
        let more =
            [proposed("a", &["a", "b"], false), proposed("b", &["a", "b"], false), alone("c")];
        assert_eq!(grouped(&more), (none(), vec!["abc".into()]));
        let signed =
            [proposed("a", &["a", "b"], true), proposed("b", &["a", "b"], true), alone("c")];
        assert_eq!(grouped(&signed), (vec!["ab".into()], none()), "their signatures are kept");
        let others = [proposed("a", &["a", "x"], false), alone("b"), alone("c")];
        assert_eq!(grouped(&others), (vec!["ax".into()], vec!["bc".into()]));
    }

    #[test]
    fn a_batch_has_room_for_as_many_as_a_person_can_look_through() {
        let many: Vec<Proposed> = (0..TOGETHER_MAX + 2)
            .map(|at| proposed(&format!("{at:02}"), &[&format!("{at:02}")], false))
            .collect();
        let sizes: Vec<usize> = Grouping::of(&many).fresh.iter().map(Vec::len).collect();
        assert_eq!(sizes, [TOGETHER_MAX, 2]);
    }
}
