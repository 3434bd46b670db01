//! `vigie rebuild-index`.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_lost_is_rebuilt_row_for_row() {
    let site = Site::recorded().await;
    let before = site.rows().await;
    assert_eq!((before.packs.len(), before.segments.len(), before.gaps.len(), before.runs.len()), (2, 2, 1, 2));
    let path = gateway::index_path(&site.config);
    for _ in 0..2 {
        std::fs::remove_file(&path).unwrap();
        let (code, out, err) = site.vigie(&["rebuild-index"]).await;
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("2 packs in the store") && out.contains("there was no old index"), "{out}");
        assert_eq!(site.rows().await, before);
    }
    assert_eq!(site.vigie(&["fsck", "--read-data"]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_can_be_read_hands_on_what_no_pack_holds() {
    let site = Site::recorded().await;
    let camera = key("town/gate");
    let lost = Gap { start: at(30), end: at(40), cause: GapCause::Corrupt, lost_packets: 0 };
    let fact = Fact::PackLost { pack: PackId([1; 16]), start: at(30), end: at(40) };
    let event = Change::Event(Event::of_camera(at(41), &camera, fact));
    let open = Change::OpenGap { camera: camera.clone(), start: at(40), cause: GapCause::GatewayStopped };
    site.report(vec![Change::PutGap { camera, gap: lost }, event, open]).await;
    let before = site.rows().await;
    assert_eq!((before.gaps.len(), before.events.len()), (3, 1));
    for _ in 0..2 {
        let (code, out, err) = site.vigie(&["rebuild-index"]).await;
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("taken over from the old index: 2 events"), "{out}");
        assert_eq!(site.rows().await, before);
    }
    let kept = std::fs::read_dir(&site.config.data_dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(kept.filter(|name| name.starts_with("index.sqlite.old-") && name.ends_with('Z')).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_is_replaced_and_kept() {
    let site = Site::recorded().await;
    let before = site.rows().await;
    let path = gateway::index_path(&site.config);
    std::fs::write(&path, "no database at all").unwrap();
    let (code, out, err) = site.vigie(&["rebuild-index"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("start empty: the index is damaged"), "{out}");
    assert_eq!(site.rows().await, before);
    let kept = out.lines().find_map(|line| line.strip_prefix("the old index is kept as ")).unwrap();
    assert_eq!(std::fs::read(kept).unwrap(), b"no database at all");
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilding_goes_past_what_it_cannot_read_and_says_so() {
    let site = Site::recorded().await;
    let before = site.rows().await;
    std::fs::write(site.object(1), "not a pack").unwrap();
    let (code, out, err) = site.vigie(&["rebuild-index"]).await;
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains(&format!("{}.mp4: left out: ", pack_id(1))), "{err}");
    assert_eq!(site.rows().await.packs, before.packs[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilding_takes_in_the_spool_and_cameras_that_no_configuration_names() {
    let site = Site::empty();
    {
        let opened = site.open().await;
        let row = CameraRow { key: key("town/old"), ..gateway::camera_rows(&site.config).remove(0) };
        opened.index.write(vec![Change::Configure(vec![row])]).await.unwrap();
        let _growing = grow(&opened.spool, &key("town/old"), 1, 0..6, &[]).await;
        opened.spool.flush().await;
        opened.index.close().await;
    }
    std::fs::remove_file(gateway::index_path(&site.config)).unwrap();
    let (code, out, err) = site.vigie(&["rebuild-index"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("1 to be sealed at the next start") && out.contains("camera town/old is known"), "{out}");
    let rows = site.rows().await;
    let known: Vec<_> = rows.cameras.iter().map(|c| (c.key.to_string(), c.configured)).collect();
    assert_eq!(known, [("town/gate".to_owned(), true), ("town/old".to_owned(), false)]);
    assert_eq!(rows.segments[0].range, TimeRange::new(at(0), at(6)).unwrap());
    assert_eq!(site.vigie(&["fsck"]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_in_use_is_not_rebuilt() {
    let site = Site::recorded().await;
    let held = gateway::lock(&site.config).unwrap();
    let (code, _, err) = site.vigie(&["rebuild-index"]).await;
    assert!(code == 1 && err.contains("in use by another Vigie"), "{code} {err}");
    drop(held);
    assert_eq!(site.vigie(&["rebuild-index"]).await.0, 0);
}
