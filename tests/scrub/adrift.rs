//! Repositories with references that an earlier version wrote: they name packs that do not hold the bytes themselves.

use std::sync::Arc;

use footage::media::GapCause;
use footage::pack::PackTable;
use footage::pack::reference::{Host, Place};
use footage::units::PackId;
use vigie::archive::PackRef;
use vigie::index::of_pack::refers;
use vigie::index::{Change, PackState};
use vigie::scrub::ScrubVerdict;

use crate::rig::{Options, Rig, key};
use crate::{file, scrubber, timeline};

const FIRST: &str = "town/first";
const SECOND: &str = "town/second";
const THIRD: &str = "town/third";

/// Three packs of one scene. The second refers to the first, and the third to the second for what lies in the first.
struct Damaged {
    rig: Rig,
    first: PackId,
    second: PackId,
    third: PackId,
    whole: Vec<u8>,
}

async fn damaged(encrypted: bool) -> Damaged {
    let cameras = vec![(FIRST, 9), (SECOND, 9), (THIRD, 9)];
    let mut rig = Rig::new(Options { cameras, sharing: vec![], dedup: true, elsewhere: false, encrypted }).await;
    let first = rig.record(FIRST, 0..10).await;
    let second = rig.record(SECOND, 0..14).await;
    let third = rig.record(THIRD, 0..14).await;
    let row = rig.index.any_pack(third).await.unwrap().unwrap();
    let whole = rig.whole(&row).await;
    let table = rig.table(third).await;
    let host = Arc::new(Host { pack: second, camera: key(SECOND) });
    let places = (0..14).map(|fragment| Some(Place { host: host.clone(), fragment }));
    write_as(&rig, &table.with_places(places.collect())).await;
    Damaged { rig, first, second, third, whole }
}

/// The file and the rows of a pack as this table has them, as the version that wrote such left them.
async fn write_as(rig: &Rig, table: &PackTable) {
    let pack = PackRef { id: table.header.pack, camera: table.header.camera.clone(), state: PackState::Stored };
    let draft = rig.spool.draft_path(&pack.camera, pack.id).unwrap();
    let domain = rig.keys.domain(&pack.camera.tenant);
    let bytes = rig.packs.rewrite(&pack, table, &domain, &draft).await.unwrap();
    std::fs::rename(draft, rig.store.local_file(&pack.camera, pack.id).unwrap()).unwrap();
    rig.packs.forget_table(pack.id).await;
    rig.index.write(vec![Change::Refers(refers(table, bytes))]).await.unwrap();
}

async fn mended(encrypted: bool) {
    let Damaged { rig, first, second, third, whole } = damaged(encrypted).await;
    let said = rig.complaints().await;
    assert!(said.iter().any(|c| c.contains("10 fragments") && c.contains(&third.to_string())), "{said:#?}");
    let row = rig.index.any_pack(third).await.unwrap().unwrap();
    assert!(rig.whole(&row).await == whole, "it is read to the end of the chain");

    let verdict = scrubber(&rig).examine(third).await.unwrap();
    assert!(matches!(verdict, ScrubVerdict::Mended(_)), "{verdict:?}");
    rig.check().await;
    let row = rig.index.any_pack(third).await.unwrap().unwrap();
    assert!(rig.whole(&row).await == whole, "and has the same bytes");
    assert_eq!(rig.index.hosts(third).await.unwrap(), [second], "what the second pack holds itself stays there");
    for (camera, pack) in [(FIRST, first), (SECOND, second), (THIRD, third)] {
        assert_eq!(scrubber(&rig).examine(pack).await.unwrap(), ScrubVerdict::Sound, "{camera}");
        assert_eq!(timeline(&rig, camera).await.1, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reference_to_a_reference_is_read_and_mended_to_the_same_bytes() {
    mended(false).await;
    mended(true).await;
}

#[tokio::test(start_paused = true)]
async fn what_no_pack_has_any_more_is_a_gap_and_the_rest_is_shown() {
    let Damaged { rig, first, second, third, .. } = damaged(false).await;
    // The end of the chain is gone: the first pack was destroyed, and the third does not know.
    std::fs::remove_file(file(&rig, FIRST, first)).unwrap();
    rig.packs.forget_table(first).await;
    let scrubber = scrubber(&rig);
    for pack in [first, second, third] {
        let verdict = scrubber.examine(pack).await.unwrap();
        assert!(matches!(verdict, ScrubVerdict::Lost(_)), "{verdict:?}");
    }
    for camera in [SECOND, THIRD] {
        assert_eq!(timeline(&rig, camera).await, (vec![(10, 14)], vec![(0, 10, GapCause::Corrupt)]), "{camera}");
        let clip = rig.clip(camera).await.expect("what is left is shown");
        assert!(clip.len() > 10_000);
    }
    let reported = rig.index.events(&key(THIRD).tenant, Some(&key(THIRD)), 0, 9).await.unwrap();
    assert!(
        reported.iter().any(|event| event.kind() == "footage_lost" || event.kind() == "footage_shared_damage"),
        "{reported:#?}"
    );
    // It stays so, and is no news.
    let before = rig.index.events(&key(THIRD).tenant, None, 0, 99).await.unwrap().len();
    for pack in [second, third] {
        scrubber.examine(pack).await.unwrap();
    }
    assert_eq!(rig.index.events(&key(THIRD).tenant, None, 0, 99).await.unwrap().len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_reference_whose_host_is_gone_takes_the_bytes_from_another_pack_that_has_them() {
    let Damaged { mut rig, second, third, whole, .. } = damaged(false).await;
    // A fourth pack has the same, whole: recorded while it could not be compared.
    let cameras = vec![(FIRST, 9), (SECOND, 9), (THIRD, 9), ("town/fourth", 9)];
    rig.settle().await;
    let Rig { dir, index, store, .. } = rig;
    let alone = Options { cameras, sharing: vec![], dedup: false, elsewhere: false, encrypted: false };
    let mut rig = Rig::over(dir, index, store, alone).await;
    let fourth = rig.record("town/fourth", 0..14).await;
    let table = rig.table(fourth).await;
    rig.index.write(vec![Change::Hook { pack: fourth, hooks: table.hooks() }]).await.unwrap();
    std::fs::remove_file(file(&rig, SECOND, second)).unwrap();
    rig.packs.forget_table(second).await;

    let verdict = scrubber(&rig).examine(third).await.unwrap();
    assert!(matches!(verdict, ScrubVerdict::Mended(_)), "{verdict:?}");
    let row = rig.index.any_pack(third).await.unwrap().unwrap();
    assert!(rig.whole(&row).await == whole);
    assert_eq!(timeline(&rig, THIRD).await, (vec![(0, 14)], vec![]));
}
