//! What is stored of packs that hold the same.

use crate::rig::{Options, Rig, bytes_of};

fn one_tenant() -> Options {
    Options {
        cameras: vec![("town/gate", 30), ("town/gate-again", 30)],
        sharing: vec![],
        dedup: true,
        elsewhere: false,
        encrypted: false,
    }
}

#[tokio::test]
async fn the_same_footage_recorded_twice_is_stored_once() {
    let mut rig = Rig::new(one_tenant()).await;
    rig.record("town/gate", 0..40).await;
    let again = rig.record("town/gate-again", 0..40).await;
    assert!(rig.table(again).await.fragments.iter().all(|f| f.place.is_some()));
    assert_eq!(rig.held_bytes().await, bytes_of(0..40));
    let savings = rig.index.savings(&"town".parse().unwrap()).await.unwrap();
    assert_eq!((savings.packs, savings.saved_bytes), (2, bytes_of(0..40)));
    rig.check().await;
}

#[tokio::test]
async fn packs_that_are_cut_elsewhere_share_what_they_share() {
    let mut rig = Rig::new(one_tenant()).await;
    rig.record("town/gate", 0..20).await;
    rig.record("town/gate", 20..40).await;
    let across = rig.record("town/gate-again", 10..44).await;
    let own: Vec<usize> = {
        let table = rig.table(across).await;
        (0..34).filter(|n| table.fragments[*n].place.is_none()).collect()
    };
    assert_eq!(own, [30, 31, 32, 33], "only what nobody had is its own");
    assert_eq!(rig.held_bytes().await, bytes_of(0..44));
    rig.check().await;
}

#[tokio::test]
async fn recordings_made_at_the_same_time_meet() {
    let mut rig = Rig::new(one_tenant()).await;
    for start in [0, 20, 40] {
        rig.seal("town/gate", start..start + 20).await;
        rig.seal("town/gate-again", start..start + 20).await;
    }
    rig.settle().await;
    assert_eq!(rig.held_bytes().await, bytes_of(0..60));
    rig.check().await;
}

#[tokio::test]
async fn what_was_stored_before_the_gateway_started_is_found_by_its_hooks() {
    let mut before = Rig::new(one_tenant()).await;
    before.record("town/gate", 0..40).await;
    before.settle().await;
    let Rig { dir, index, store, .. } = before;
    let mut rig = Rig::over(dir, index, store, one_tenant()).await;
    rig.record("town/gate-again", 0..40).await;
    assert_eq!(rig.held_bytes().await, bytes_of(0..40));
    rig.check().await;
}

#[tokio::test]
async fn a_reference_never_names_a_pack_that_refers_itself() {
    let cameras = vec![("town/a", 30), ("town/b", 30), ("town/c", 30)];
    let mut rig = Rig::new(Options { cameras, sharing: vec![], dedup: true, elsewhere: false, encrypted: false }).await;
    let first = rig.record("town/a", 0..20).await;
    rig.record("town/b", 0..20).await;
    let third = rig.record("town/c", 0..20).await;
    let hosts: Vec<_> = rig.table(third).await.hosts().iter().map(|host| host.pack).collect();
    assert_eq!(hosts, [first]);
}

#[tokio::test]
async fn tenants_share_nothing_unless_both_say_so() {
    let cameras = vec![("a/gate", 30), ("b/gate", 30)];
    let mut apart = Rig::new(Options {
        cameras: cameras.clone(),
        sharing: vec![],
        dedup: true,
        elsewhere: false,
        encrypted: false,
    })
    .await;
    apart.record("a/gate", 0..20).await;
    apart.record("b/gate", 0..20).await;
    assert_eq!(apart.held_bytes().await, 2 * bytes_of(0..20));

    let mut together =
        Rig::new(Options { cameras, sharing: vec!["a", "b"], dedup: true, elsewhere: false, encrypted: false }).await;
    together.record("a/gate", 0..20).await;
    together.record("b/gate", 0..20).await;
    assert_eq!(together.held_bytes().await, bytes_of(0..20));
    together.check().await;
}

#[tokio::test]
async fn footage_of_other_scenes_is_stored_as_it_is() {
    let mut rig = Rig::new(one_tenant()).await;
    rig.record("town/gate", 0..20).await;
    let other = rig.record("town/gate-again", 100..120).await;
    assert!(!rig.table(other).await.is_reference());
    assert_eq!(rig.held_bytes().await, bytes_of(0..20) + bytes_of(100..120));
}

#[tokio::test]
async fn a_rebuilt_index_knows_every_reference_and_every_hook() {
    let mut rig = Rig::new(one_tenant()).await;
    rig.record("town/gate", 0..20).await;
    rig.record("town/gate-again", 0..20).await;
    rig.record("town/gate-again", 20..40).await;
    rig.settle().await;
    let before = known(&rig).await;
    let rig = rig.rebuilt().await;
    assert_eq!(known(&rig).await, before);
    rig.check().await;
}

/// Of each pack: its hosts, who refers to it, and whether it is found by its own hooks.
async fn known(rig: &Rig) -> Vec<String> {
    let mut known = Vec::new();
    for row in rig.index.packs_after(None, 100).await.unwrap() {
        let referrers: Vec<_> = rig.index.referrers(row.id).await.unwrap().iter().map(|row| row.id).collect();
        let hooks = rig.table(row.id).await.hooks();
        let hooked = rig.index.packs_hooked(hooks).await.unwrap().iter().any(|found| found.id == row.id);
        let hosts = rig.index.hosts(row.id).await.unwrap();
        known.push(format!("{row:?}: in {hosts:?}, holds for {referrers:?}, hooked {hooked}"));
    }
    let savings = rig.index.savings(&"town".parse().unwrap()).await.unwrap();
    known.push(format!("{savings:?}"));
    known
}

#[tokio::test]
async fn fsck_names_a_pack_whose_host_is_gone_or_holds_something_else() {
    let mut rig = Rig::new(one_tenant()).await;
    let host = rig.record("town/gate", 0..20).await;
    let referrer = rig.record("town/gate-again", 0..20).await;
    let row = rig.index.any_pack(host).await.unwrap().unwrap();
    let object = rig.store.local_file(&row.camera, host).unwrap();
    let aside = object.with_extension("aside");
    std::fs::rename(&object, &aside).unwrap();
    let said = rig.complaints().await;
    assert!(said.iter().any(|c| c.contains("Reference") && c.contains(&referrer.to_string())), "{said:#?}");
    std::fs::rename(&aside, &object).unwrap();
    rig.check().await;
}

#[tokio::test]
async fn a_draft_that_a_crash_left_is_gone_after_the_next_start() {
    let mut rig = Rig::new(one_tenant()).await;
    let pack = rig.record("town/gate", 0..4).await;
    let draft = rig.spool.draft_path(&"town/gate".parse().unwrap(), pack).unwrap();
    std::fs::write(&draft, b"footage").unwrap();
    rig.spool.recover().await.unwrap();
    assert!(!draft.exists());
}
