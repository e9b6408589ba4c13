//! Many requests become registered in one block: each is committed once, those whose tokens die
//! first come first, and no source waits for the others (invariants I2 and I8).
//!
//! `CROWD` sets how many.

use countersign::store::journal::Verdict;

use crate::world::crowd::{APPS, Crowd, SOURCES};

const CROWD: usize = 200;
/// More are registered by the ticks after the block: by then each app may have begun with one whose
/// token dies later.
const REGISTERED_AT_ONCE: usize = 600;
/// Commits under way at the same time: not more than one instance has workers.
const AT_ONCE_MAX: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_one_block_registers_are_committed_once_and_in_order_of_deadline() {
    let count = std::env::var("CROWD").map_or(CROWD, |text| text.parse().expect("a number"));
    let crowd = Crowd::gather(count, true).await;
    let running = crowd.world.start().await;
    crowd.allow().await;
    crowd.submit(&running).await;
    assert_eq!(crowd.world.town.cloud.commit_log().len(), 0, "nothing is deep enough");
    crowd.register().await;
    crowd.wait_for("running").await;

    let served = crowd.served();
    let mut places: Vec<usize> = served.iter().map(|(_, place)| *place).collect();
    println!("{} at once, order {:?}", most_at_once(&crowd), Order::of(&places));
    let in_vain: Vec<_> = served.iter().filter(|(call, _)| call.created.is_none()).collect();
    assert!(in_vain.is_empty(), "no commit is in vain: {in_vain:?}");
    assert!(most_at_once(&crowd) <= AT_ONCE_MAX);
    Order::of(&places).check(if count > REGISTERED_AT_ONCE { APPS } else { 0 });
    places.sort_unstable();
    assert!(places.into_iter().eq(0..count), "each is committed once");
    let verdict = running.service.store.verify_journal(|_| {}).await.expect("the journal reads");
    assert!(matches!(verdict, Verdict::Intact { .. }), "{verdict:?}");
    running.stop().await;
}

fn most_at_once(crowd: &Crowd) -> usize {
    let commits = crowd.world.town.cloud.commit_log();
    commits.iter().map(|call| call.under_way).max().expect("there were commits")
}

/// How far the order of commits is from the order of deadlines.
#[derive(Debug)]
struct Order {
    /// Commits of one app that came before another one of the same app whose token dies earlier.
    swapped_in_an_app: usize,
    /// How many commits later or earlier than in order one came at most.
    moved: usize,
    /// The most commits until a source had its first, and between two of a source.
    longest_wait: usize,
}

impl Order {
    fn of(places: &[usize]) -> Self {
        let mut order = Self { swapped_in_an_app: 0, moved: 0, longest_wait: 0 };
        let mut last_of_app = [None; APPS];
        let mut last_of_source = [0; SOURCES];
        for (at, place) in places.iter().copied().enumerate() {
            let (app, source) =
                (&mut last_of_app[place % APPS], &mut last_of_source[place % SOURCES]);
            order.swapped_in_an_app += usize::from(app.is_some_and(|last| last > place));
            order.moved = order.moved.max(at.abs_diff(place));
            order.longest_wait = order.longest_wait.max(at - *source);
            (*app, *source) = (Some(place), at);
        }
        order
    }

    /// Commits of an app take turns, so their order is exact but for those that are known too late.
    /// Those of others are made beside them, and may be faster.
    fn check(&self, known_late: usize) {
        assert!(self.swapped_in_an_app <= known_late, "{self:?}");
        assert!(self.moved <= SOURCES, "{self:?}");
        assert!(self.longest_wait <= 2 * SOURCES, "{self:?}");
    }
}
