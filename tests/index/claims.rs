//! A reference names only bytes that are final: the index refuses every other claim.

use footage::pack::reference::FragmentSet;
use tempfile::TempDir;
use vigie::index::damage::Lost;
use vigie::index::dedup::{Claim, Refers};
use vigie::index::{Change, Index, IndexError, Reason};

use crate::{at, begin_run, configure, open_pack, pack_id};

const FRAGMENTS: u32 = 10;

fn set(numbers: impl IntoIterator<Item = u32>) -> FragmentSet {
    numbers.into_iter().collect()
}

fn refers(pack: u8, lent: FragmentSet, hosts: &[u8]) -> Change {
    let hosts = hosts.iter().copied().map(pack_id).collect();
    Change::Refers(Refers { pack: pack_id(pack), bytes: 1_000, fragments: FRAGMENTS, lent, lent_bytes: 0, hosts })
}

fn claim(pack: u8, lends: FragmentSet, host: u8, fragments: FragmentSet) -> Change {
    Change::Claim(Claim { pack: pack_id(pack), lends, hosts: vec![(pack_id(host), fragments)] })
}

fn seal(pack: u8) -> Change {
    Change::SealPack { pack: pack_id(pack), bytes: 1_000 }
}

fn condemn(pack: u8) -> Change {
    Change::Condemn { packs: vec![pack_id(pack)], at: at(50), reason: Reason::Expired }
}

fn damage(pack: u8, lost: Lost) -> Change {
    Change::Damage { pack: pack_id(pack), end: at(20), lost, segments: Vec::new(), gaps: Vec::new() }
}

/// Packs 1 to 4 of one camera. 1 is sealed and whole; of 2, sealed, the first five fragments lie in 1; 3 and 4 are open.
async fn index(dir: &TempDir) -> Index {
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    let open = |pack| open_pack("town/a", 1, pack, i64::from(pack));
    let changes = vec![
        configure(&["town/a"]),
        begin_run("town/a", 1, 0),
        open(1),
        refers(1, FragmentSet::EMPTY, &[]),
        seal(1),
        open(2),
        claim(2, set(0..5), 1, set(0..5)),
        refers(2, set(0..5), &[1]),
        seal(2),
        open(3),
        open(4),
    ];
    index.write(changes).await.unwrap();
    index
}

/// What the index answers to the last of these changes, the others being accepted.
async fn check(changes: Vec<Change>, accepted: bool) {
    let dir = TempDir::new().unwrap();
    let index = index(&dir).await;
    let (last, before) = changes.split_last().expect("there is one");
    for change in before {
        index.write(vec![change.clone()]).await.unwrap();
    }
    let hosts = index.hosts(pack_id(3)).await.unwrap();
    let answer = index.write(vec![last.clone()]).await;
    match accepted {
        true => assert!(answer.is_ok(), "{last:?}: {answer:?}"),
        false => {
            assert!(matches!(answer, Err(IndexError::Refused(_) | IndexError::Unknown(_))), "{last:?}: {answer:?}");
            assert_eq!(index.hosts(pack_id(3)).await.unwrap(), hosts, "a claim that is refused leaves nothing behind");
        }
    }
}

#[tokio::test]
async fn only_what_a_sealed_pack_holds_itself_can_be_claimed() {
    check(vec![claim(3, set(0..10), 1, set(0..10))], true).await;
    check(vec![claim(3, set(5..10), 2, set(5..10))], true).await;
    check(vec![claim(3, set(0..10), 2, set(0..10))], false).await;
    check(vec![claim(3, set([4]), 2, set([4]))], false).await;
    check(vec![claim(3, set([0]), 1, set([10]))], false).await;
    check(vec![claim(3, set([0]), 4, set([0]))], false).await;
    check(vec![claim(3, set([0]), 3, set([0]))], false).await;
    check(vec![claim(3, set([0]), 9, set([0]))], false).await;
}

#[tokio::test]
async fn nothing_is_claimed_of_a_pack_that_is_damaged_or_goes() {
    check(vec![damage(1, std::iter::once(3..4).collect()), claim(3, set([0]), 1, set([0]))], false).await;
    check(vec![condemn(1), claim(3, set([0]), 1, set([0]))], false).await;
}

#[tokio::test]
async fn a_sealed_pack_keeps_what_it_holds_itself() {
    check(vec![claim(1, set([0]), 2, set([7]))], false).await;
    check(vec![refers(1, set([0]), &[2])], false).await;
    check(vec![refers(2, set(0..6), &[1])], false).await;
    check(vec![condemn(2), refers(2, set(0..6), &[1])], false).await;
    // Some may come back, and what lies elsewhere may lie in another pack.
    check(vec![refers(2, set(2..4), &[1])], true).await;
    check(vec![claim(2, set(2..4), 1, set(6..8))], true).await;
    check(vec![refers(2, set(2..4), &[1]), refers(2, set(0..5), &[1])], false).await;
}

#[tokio::test]
async fn an_open_pack_may_refer_and_be_whole_again_until_it_is_sealed() {
    check(vec![claim(3, set(0..10), 1, set(0..10)), refers(3, FragmentSet::EMPTY, &[])], true).await;
    check(vec![refers(3, FragmentSet::EMPTY, &[]), refers(3, set(0..10), &[1])], true).await;
    check(vec![refers(3, FragmentSet::EMPTY, &[]), seal(3), claim(3, set(0..10), 1, set(0..10))], false).await;
}

#[tokio::test]
async fn a_condemned_host_keeps_its_referrers_until_they_are_freed() {
    let dir = TempDir::new().unwrap();
    let index = index(&dir).await;
    let hosts = async || index.hosts(pack_id(2)).await.unwrap();
    index.write(vec![condemn(1), refers(2, FragmentSet::EMPTY, &[])]).await.unwrap();
    assert_eq!(hosts().await, [pack_id(1)], "those that come after are to find what it holds now");
    let freed = |referrers| Change::Freed { host: pack_id(1), referrers };
    index.write(vec![freed(vec![pack_id(4)])]).await.unwrap();
    assert_eq!(hosts().await, [pack_id(1)], "another pack was freed");
    index.write(vec![freed(vec![pack_id(2)])]).await.unwrap();
    assert!(hosts().await.is_empty());
}

#[tokio::test]
async fn a_host_that_stays_and_any_host_of_an_open_pack_are_dropped_at_once() {
    let dir = TempDir::new().unwrap();
    let index = index(&dir).await;
    index.write(vec![refers(3, set(0..5), &[1]), refers(2, FragmentSet::EMPTY, &[])]).await.unwrap();
    assert!(index.hosts(pack_id(2)).await.unwrap().is_empty());
    assert_eq!(index.hosts(pack_id(3)).await.unwrap(), [pack_id(1)]);
    index.write(vec![condemn(1), refers(3, FragmentSet::EMPTY, &[])]).await.unwrap();
    assert!(index.hosts(pack_id(3)).await.unwrap().is_empty());
}
